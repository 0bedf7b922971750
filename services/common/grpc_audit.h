// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string>
#include <vector>

#include "services/common/audit_log.h"

namespace camherd {

// Writes a line for each call of `methods` (without their service's name) when
// it ends, before the caller has the answer; for one that answers with a stream
// when its first answer goes out.
//
// The caller is the one whom the call's metadata name (grpc_caller.h), if these
// can be trusted: `all_belong` says that nobody gets as far as here who does
// not belong, else the connection must be one of this machine. The address of a
// call without them is that of its peer.
//
// `log` must outlive the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>
MakeAuditInterceptors(AuditLog& log, const std::vector<std::string>& methods,
                      bool all_belong);

}  // namespace camherd
