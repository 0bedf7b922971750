// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/common/grpc_client.h"

namespace camherd::testing {

// One call without generated code: sends `request`, closes, and waits for the
// end or `timeout`. `response` gets the first message.
inline grpc::Status GenericCall(const std::shared_ptr<grpc::Channel>& channel,
                                const std::string& method,
                                const std::string& request,
                                std::string* response,
                                absl::Duration timeout = absl::Seconds(10)) {
  grpc::ClientContext context;
  SetDeadline(context, timeout);
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(channel);
  auto call = stub.PrepareCall(&context, method, &queue);
  void* tag = nullptr;
  bool ok = false;
  const auto wait = [&] { return queue.Next(&tag, &ok) && ok; };
  call->StartCall(&tag);
  bool going = wait();
  const grpc::Slice slice(request);
  if (going) {
    call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), &tag);
    going = wait();
  }
  // All of them are read: gRPC holds the status back until then.
  for (bool first = true; going; first = false) {
    grpc::ByteBuffer buffer;
    call->Read(&buffer, &tag);
    going = wait();
    std::vector<grpc::Slice> slices;
    if (!going || !first || !buffer.Dump(&slices).ok()) continue;
    response->clear();
    for (const grpc::Slice& part : slices) {
      response->append(reinterpret_cast<const char*>(part.begin()),
                       part.size());
    }
  }
  grpc::Status status;
  call->Finish(&status, &tag);
  wait();
  return status;
}

}  // namespace camherd::testing
