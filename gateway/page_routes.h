// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "gateway/route.h"

namespace camherd::gateway {

// GET / and /static/{file}: the page. The files are part of the binary; with
// `static_dir` they are read from there at each request instead, by the same
// names, which is for working on the page.
Routes PageRoutes(const std::string& static_dir);

}  // namespace camherd::gateway
