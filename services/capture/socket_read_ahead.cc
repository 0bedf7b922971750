// SPDX-License-Identifier: Apache-2.0
#include "services/capture/socket_read_ahead.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace camherd::capture {
namespace {

constexpr size_t kBufferBytes = 64 << 10;

}  // namespace

SocketReadAhead::SocketReadAhead() = default;
SocketReadAhead::~SocketReadAhead() = default;

bool SocketReadAhead::IsMine(int fd) {
  if (fd_ >= 0) return fd == fd_;
  int type = 0;
  socklen_t size = sizeof(type);
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      type != SOCK_STREAM) {
    return false;
  }
  fd_ = fd;
  buffer_.reset(new char[kBufferBytes]);
  return true;
}

ssize_t SocketReadAhead::Receive(int fd, void* data, size_t size, Recv* recv) {
  if (!IsMine(fd)) return recv(fd, data, size, 0);
  if (begin_ == end_) {
    if (size >= kBufferBytes) return recv(fd, data, size, 0);
    const ssize_t count = recv(fd, buffer_.get(), kBufferBytes, 0);
    if (count <= 0) return count;
    begin_ = 0;
    end_ = static_cast<size_t>(count);
  }
  const size_t count = std::min(size, end_ - begin_);
  std::memcpy(data, buffer_.get() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

}  // namespace camherd::capture
