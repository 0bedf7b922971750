// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/client_context.h>

#include <map>
#include <string>

namespace camherd {

// The person or program behind a call, as the gateway tells the services. Empty
// fields are not known. Text in metadata: whoever may call may claim anything.
struct GrpcCaller {
  std::string name = {};
  std::string role = {};
  std::string address = {};
};

// Makes the call `context` one on behalf of `caller`.
void AddCallerMetadata(const GrpcCaller& caller, grpc::ClientContext& context);

// What a call's metadata say of it.
GrpcCaller CallerOf(
    const std::multimap<grpc::string_ref, grpc::string_ref>& metadata);

}  // namespace camherd
