// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"

namespace camherd::capture {

// One message of worker.proto is one packet of a SOCK_SEQPACKET socket: its
// borders are the kernel's, and it arrives whole or not at all.
//
// Both ends, as file descriptors that the caller closes; kResourceExhausted.
struct WorkerSocketPair {
  int supervisor = -1;
  int worker = -1;
};
absl::StatusOr<WorkerSocketPair> MakeWorkerSocketPair();

// kUnavailable: the other end is gone; where `wait` is false also
// kResourceExhausted: no room just now.
absl::Status SendToWorkerSocket(int fd,
                                const google::protobuf::MessageLite& message,
                                bool wait);

// False: the other end is gone. kDataLoss: a packet that is no such message;
// where `wait` is false also kNotFound: nothing is there.
absl::StatusOr<bool> ReceiveFromWorkerSocket(
    int fd, google::protobuf::MessageLite& message, bool wait);

}  // namespace camherd::capture
