// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>

namespace camherd::capture {

// Receives from a TCP socket in large pieces for a library that asks for small
// ones. For each RTP packet libavformat polls and receives three times (the
// `$`, its header, the packet), some 2,000 calls a second for 4 Mbit/s: a
// quarter of what a camera costs. SocketGuard puts it in between.
//
// Belongs to one connection: what it has read is lost with it. Takes the first
// stream socket that is received from; others pass. Used by one thread.
class SocketReadAhead {
 public:
  // The C library's recv.
  using Recv = ssize_t(int fd, void* data, size_t size, int flags);

  SocketReadAhead();
  ~SocketReadAhead();

  SocketReadAhead(const SocketReadAhead&) = delete;
  SocketReadAhead& operator=(const SocketReadAhead&) = delete;

  // As recv without flags.
  ssize_t Receive(int fd, void* data, size_t size, Recv* recv);
  // Whether that would answer from what is here.
  bool Holds(int fd) const { return fd == fd_ && begin_ < end_; }

 private:
  // Takes the socket if it is the first.
  bool IsMine(int fd);

  int fd_ = -1;
  std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace camherd::capture
