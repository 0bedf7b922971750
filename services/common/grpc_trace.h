// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string>
#include <vector>

namespace camherd {

// Makes the call `context` a span of this thread's trace (TraceScope), if there
// is one.
void AddTraceMetadata(grpc::ClientContext& context);

// A call that names its trace in its metadata is worked on in that trace, by
// the thread that begins it and by what it hands to a WorkerPool. Its end is
// logged: calls of `changes` (without their service's name) and those that fail
// as info, the others for debugging.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>
MakeTraceInterceptors(const std::vector<std::string>& changes);

}  // namespace camherd
