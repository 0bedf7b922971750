// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "services/common/grpc_security.h"

namespace camherd {

// What a server asks of those who call, as `security` says: TLS with a
// certificate of the authority, and one of the tokens in `authorization:
// Bearer`. A call without it is UNAUTHENTICATED before it reaches its service;
// only the health service answers, since probes have no token.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(
    const GrpcSecurity& security);

}  // namespace camherd
