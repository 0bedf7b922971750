// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "gateway/route.h"

namespace camherd::gateway {

// The description of the REST API, OpenAPI 3.1: the schemas are made of the
// messages by the rules of proto_json, and their words are the comments of
// proto/; the rest is ApiOperations().
//
// Components are named as their message; one that a request holds "...Input",
// since there no field has to be given, null counts as left out, and an unknown
// field is refused.
const std::string& OpenApiDocument();

// GET /openapi.json.
Routes OpenApiRoutes();

}  // namespace camherd::gateway
