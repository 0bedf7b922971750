// SPDX-License-Identifier: Apache-2.0
// With it the C library's headers define recv and poll themselves.
#undef _FORTIFY_SOURCE
#include "services/capture/socket_guard.h"

#include <dlfcn.h>
#include <poll.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace camherd::capture {
namespace {

// Of the Scope this thread is in.
thread_local SocketGuard* current = nullptr;
thread_local SocketReadAhead* read_ahead = nullptr;

// True: go on; false: errno is set.
bool MaySpeakTo(int fd, const void* address) {
  if (current == nullptr || address == nullptr) return true;
  if (current->Allows(fd, static_cast<const sockaddr*>(address))) return true;
  errno = EACCES;
  return false;
}

ssize_t Counted(ssize_t result) {
  if (current != nullptr) current->Received(result);
  return result;
}

// The function of that name that the program would have without this file.
template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

SocketGuard::Scope::Scope(SocketGuard& guard, SocketReadAhead* ahead) {
  current = &guard;
  read_ahead = ahead;
}

SocketGuard::Scope::~Scope() {
  current = nullptr;
  read_ahead = nullptr;
}

bool SocketGuard::Allows(int fd, const sockaddr* address) {
  if (address->sa_family != AF_INET && address->sa_family != AF_INET6) {
    return true;
  }
  const IpAddress ip = IpAddress::FromSockaddr(address);
  absl::Status status = policy_.Check(ip);
  int type = 0;
  socklen_t size = sizeof(type);
  getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
  if (status.ok() && type == SOCK_STREAM) {
    camera_ = ip;
  } else if (status.ok() && (!camera_ || camera_->bytes() != ip.bytes())) {
    status = absl::PermissionDeniedError(
        absl::StrCat("the camera names ", ip.ToString(),
                     " for its packets, which is another host"));
  }
  const bool allowed = status.ok();
  refusal_.Update(status);
  return allowed;
}

void SocketGuard::Received(ssize_t result) {
  if (result > 0) received_bytes_ += result;
}

}  // namespace camherd::capture

using camherd::capture::Counted;
using camherd::capture::MaySpeakTo;
using camherd::capture::Next;
using camherd::capture::read_ahead;
using camherd::capture::SocketReadAhead;

// NOLINTBEGIN(readability-identifier-naming): the names are the C library's.
extern "C" {

__attribute__((visibility("default"))) int connect(int fd,
                                                   const sockaddr* address,
                                                   socklen_t size) {
  static auto* const next =
      Next<int(int, const sockaddr*, socklen_t)>("connect");
  return MaySpeakTo(fd, address) ? next(fd, address, size) : -1;
}

__attribute__((visibility("default"))) ssize_t sendto(int fd, const void* data,
                                                      size_t length, int flags,
                                                      const sockaddr* address,
                                                      socklen_t size) {
  static auto* const next =
      Next<ssize_t(int, const void*, size_t, int, const sockaddr*, socklen_t)>(
          "sendto");
  return MaySpeakTo(fd, address) ? next(fd, data, length, flags, address, size)
                                 : -1;
}

__attribute__((visibility("default"))) ssize_t sendmsg(int fd,
                                                       const msghdr* message,
                                                       int flags) {
  static auto* const next = Next<ssize_t(int, const msghdr*, int)>("sendmsg");
  return MaySpeakTo(fd, message->msg_name) ? next(fd, message, flags) : -1;
}

__attribute__((visibility("default"))) ssize_t recv(int fd, void* data,
                                                    size_t length, int flags) {
  static auto* const next = Next<SocketReadAhead::Recv>("recv");
  return Counted(read_ahead != nullptr && flags == 0
                     ? read_ahead->Receive(fd, data, length, next)
                     : next(fd, data, length, flags));
}

__attribute__((visibility("default"))) ssize_t recvfrom(int fd, void* data,
                                                        size_t length,
                                                        int flags,
                                                        sockaddr* address,
                                                        socklen_t* size) {
  static auto* const next =
      Next<ssize_t(int, void*, size_t, int, sockaddr*, socklen_t*)>("recvfrom");
  return Counted(next(fd, data, length, flags, address, size));
}

__attribute__((visibility("default"))) int poll(pollfd* fds, nfds_t count,
                                                int timeout) {
  static auto* const next = Next<int(pollfd*, nfds_t, int)>("poll");
  if (read_ahead != nullptr && count == 1 && (fds->events & POLLIN) != 0 &&
      read_ahead->Holds(fds->fd)) {
    fds->revents = POLLIN;
    return 1;
  }
  return next(fds, count, timeout);
}

}  // extern "C"
// NOLINTEND(readability-identifier-naming)
