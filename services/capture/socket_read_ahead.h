// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>

namespace camherd::capture {

// Receives from a TCP socket in large pieces for a library that asks for small
// ones. For each RTP packet libavformat polls and receives three times (the
// `$`, its header, the packet), some 2,000 calls a second for 4 Mbit/s: a
// quarter of what a camera costs. It opens the socket itself and takes no other
// means to read, so its calls of recv and poll are answered from here, for the
// thread that is in a Scope and for one socket: the first stream socket that is
// received from.
//
// Belongs to one connection: what it has read is lost with it. Used by one
// thread at a time.
class SocketReadAhead {
 public:
  SocketReadAhead();
  ~SocketReadAhead();

  SocketReadAhead(const SocketReadAhead&) = delete;
  SocketReadAhead& operator=(const SocketReadAhead&) = delete;

  // While one lives, this thread reads by way of `ahead` (null: does not). The
  // socket must stay open between a connection's first Scope and its last.
  class Scope {
   public:
    explicit Scope(SocketReadAhead* ahead);
    ~Scope();

    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
  };

  // As recv without flags.
  ssize_t Receive(int fd, void* data, size_t size);
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
