// SPDX-License-Identifier: Apache-2.0
#include "services/capture/worker_socket.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/common/file.h"

namespace camherd::capture {
namespace {

// A URL has 2 KiB at most, a mask some more.
constexpr size_t kMaxMessage = 64 << 10;

}  // namespace

absl::StatusOr<WorkerSocketPair> MakeWorkerSocketPair() {
  std::array<int, 2> fds;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return ErrnoStatus(errno, "socketpair", "a stream worker");
  }
  return WorkerSocketPair{.supervisor = fds[0], .worker = fds[1]};
}

absl::Status SendToWorkerSocket(int fd,
                                const google::protobuf::MessageLite& message,
                                bool wait) {
  const std::string packet = message.SerializeAsString();
  if (packet.size() > kMaxMessage) {
    return absl::InternalError(absl::StrCat(
        "a message of ", packet.size(), " bytes for or from a stream worker"));
  }
  const int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
  while (send(fd, packet.data(), packet.size(), flags) < 0) {
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return absl::ResourceExhaustedError("the socket is full");
    }
    return absl::UnavailableError("the other end of the socket is gone");
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> ReceiveFromWorkerSocket(
    int fd, google::protobuf::MessageLite& message, bool wait) {
  std::array<char, kMaxMessage> packet;
  ssize_t size = 0;
  do {
    size = recv(fd, packet.data(), packet.size(), wait ? 0 : MSG_DONTWAIT);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    return absl::NotFoundError("nothing has come");
  }
  // No message is empty: each has one of its kinds.
  if (size <= 0) return false;
  if (!message.ParseFromArray(packet.data(), static_cast<int>(size))) {
    return absl::DataLossError("a packet that is no message");
  }
  return true;
}

}  // namespace camherd::capture
