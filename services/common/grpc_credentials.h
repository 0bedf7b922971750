// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/common/grpc_security.h"

namespace camherd {

// Whether `authorization`, of a call's metadata, is one of the tokens; they are
// compared by digest, so that what can be learnt from the time that it takes is
// nothing about a token. Thread-safe.
using OpensFn = std::function<bool(absl::string_view authorization)>;
OpensFn MakeTokenCheck(const std::vector<std::string>& tokens);

// What a server asks of those who call, as `security` says: TLS with a
// certificate of the authority, and one of the tokens in `authorization:
// Bearer`. A call without it is UNAUTHENTICATED before it reaches its service;
// only the health service answers, since probes have no token; it tells them
// nothing but whether the server is serving.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(
    const GrpcSecurity& security);

}  // namespace camherd
