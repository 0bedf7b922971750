// SPDX-License-Identifier: Apache-2.0
// With it the C library's headers define recv and poll themselves.
#undef _FORTIFY_SOURCE
#include "services/capture/socket_read_ahead.h"

#include <dlfcn.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace camherd::capture {
namespace {

constexpr size_t kBufferBytes = 64 << 10;

using Recv = ssize_t (*)(int, void*, size_t, int);
using Poll = int (*)(pollfd*, nfds_t, int);

// Of the C library, behind the functions of this file.
template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

Recv NextRecv() {
  static const Recv next = Next<Recv>("recv");
  return next;
}

// Of the Scope this thread is in.
thread_local SocketReadAhead* current = nullptr;

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

ssize_t SocketReadAhead::Receive(int fd, void* data, size_t size) {
  if (!IsMine(fd)) return NextRecv()(fd, data, size, 0);
  if (begin_ == end_) {
    if (size >= kBufferBytes) return NextRecv()(fd, data, size, 0);
    const ssize_t count = NextRecv()(fd, buffer_.get(), kBufferBytes, 0);
    if (count <= 0) return count;
    begin_ = 0;
    end_ = static_cast<size_t>(count);
  }
  const size_t count = std::min(size, end_ - begin_);
  std::memcpy(data, buffer_.get() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

SocketReadAhead::Scope::Scope(SocketReadAhead* ahead) { current = ahead; }
SocketReadAhead::Scope::~Scope() { current = nullptr; }

}  // namespace camherd::capture

// The names are the C library's; libavformat's calls come here first.
extern "C" __attribute__((visibility("default"))) ssize_t recv(int fd,
                                                               void* data,
                                                               size_t size,
                                                               int flags) {
  camherd::capture::SocketReadAhead* const ahead = camherd::capture::current;
  if (ahead != nullptr && flags == 0) return ahead->Receive(fd, data, size);
  return camherd::capture::NextRecv()(fd, data, size, flags);
}

extern "C" __attribute__((visibility("default"))) int poll(pollfd* fds,
                                                           nfds_t count,
                                                           int timeout) {
  static const auto next =
      camherd::capture::Next<camherd::capture::Poll>("poll");
  const camherd::capture::SocketReadAhead* const ahead =
      camherd::capture::current;
  if (ahead != nullptr && count == 1 && (fds->events & POLLIN) != 0 &&
      ahead->Holds(fds->fd)) {
    fds->revents = POLLIN;
    return 1;
  }
  return next(fds, count, timeout);
}
