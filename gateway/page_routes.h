// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "gateway/route.h"

namespace camherd::gateway {

// GET / and /static/{file}: the page. The files are part of the binary; with
// `static_dir` they are read from there at each request instead, by the same
// names, which is for working on the page. `map_tile_url` and `map_attribution`
// as in the configuration, checked there; empty: the map has no tiles.
Routes PageRoutes(const std::string& static_dir,
                  const std::string& map_tile_url = "",
                  const std::string& map_attribution = "");

}  // namespace camherd::gateway
