// SPDX-License-Identifier: Apache-2.0
#include "services/capture/socket_read_ahead.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "services/capture/socket_guard.h"

namespace camherd::capture {
namespace {

// Two connected sockets, of which the first does not block.
class Pair {
 public:
  explicit Pair(int type) {
    EXPECT_EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds_), 0);
  }
  ~Pair() {
    close(fds_[0]);
    Hang();
  }

  int fd() const { return fds_[0]; }
  void Send(const std::string& bytes) const {
    EXPECT_EQ(send(fds_[1], bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
  }
  void Hang() {
    if (fds_[1] >= 0) close(fds_[1]);
    fds_[1] = -1;
  }
  // Bytes that the kernel still has.
  int InKernel() const {
    int count = 0;
    EXPECT_EQ(ioctl(fd(), FIONREAD, &count), 0);
    return count;
  }
  bool Ready() const {
    pollfd one = {fd(), POLLIN, 0};
    return poll(&one, 1, 0) == 1 && (one.revents & POLLIN) != 0;
  }
  // What recv gives; empty at the end.
  std::string Receive(size_t size) const {
    std::string bytes(size, '\0');
    const ssize_t count = recv(fd(), bytes.data(), size, 0);
    bytes.resize(count < 0 ? 0 : static_cast<size_t>(count));
    return bytes;
  }

 private:
  int fds_[2] = {-1, -1};
};

AddressPolicy Policy() {
  return AddressPolicy::Create({.allow_networks = {}, .allow_loopback = true})
      .value();
}

TEST(SocketReadAheadTest, SmallPiecesComeFromOneLargeRead) {
  const Pair pair(SOCK_STREAM);
  pair.Send("$abcdefghi");
  SocketGuard guard(Policy());
  SocketReadAhead ahead;
  const SocketGuard::Scope scope(guard, &ahead);
  EXPECT_EQ(pair.Receive(1), "$");
  EXPECT_EQ(pair.InKernel(), 0);
  EXPECT_TRUE(pair.Ready());
  EXPECT_EQ(pair.Receive(3), "abc");
  EXPECT_EQ(pair.Receive(100), "defghi");
  EXPECT_FALSE(pair.Ready());
  pair.Send("jk");
  EXPECT_TRUE(pair.Ready());
  EXPECT_EQ(pair.Receive(100), "jk");
  EXPECT_EQ(guard.received_bytes(), 12);
}

TEST(SocketReadAheadTest, WhatIsThereStaysThereBetweenScopes) {
  const Pair pair(SOCK_STREAM);
  pair.Send("abcd");
  SocketGuard guard(Policy());
  SocketReadAhead ahead;
  {
    const SocketGuard::Scope scope(guard, &ahead);
    EXPECT_EQ(pair.Receive(1), "a");
  }
  EXPECT_FALSE(pair.Ready());
  const SocketGuard::Scope scope(guard, &ahead);
  EXPECT_EQ(pair.Receive(8), "bcd");
}

TEST(SocketReadAheadTest, OutsideAScopeNothingIsReadAhead) {
  const Pair pair(SOCK_STREAM);
  pair.Send("abcd");
  EXPECT_EQ(pair.Receive(1), "a");
  EXPECT_EQ(pair.InKernel(), 3);
}

TEST(SocketReadAheadTest, AnotherSocketIsLeftAlone) {
  const Pair camera(SOCK_STREAM);
  const Pair other(SOCK_STREAM);
  camera.Send("abcd");
  other.Send("wxyz");
  SocketGuard guard(Policy());
  SocketReadAhead ahead;
  const SocketGuard::Scope scope(guard, &ahead);
  EXPECT_EQ(camera.Receive(1), "a");
  EXPECT_EQ(other.Receive(1), "w");
  EXPECT_EQ(other.InKernel(), 3);
  EXPECT_EQ(camera.Receive(3), "bcd");
}

TEST(SocketReadAheadTest, DatagramsAreLeftAlone) {
  const Pair pair(SOCK_DGRAM);
  pair.Send("ab");
  pair.Send("cd");
  SocketGuard guard(Policy());
  SocketReadAhead ahead;
  const SocketGuard::Scope scope(guard, &ahead);
  // A datagram that is not read whole has no rest.
  EXPECT_EQ(pair.Receive(1), "a");
  EXPECT_EQ(pair.Receive(8), "cd");
}

TEST(SocketReadAheadTest, AnEmptySocketAndAnEndAreToldAsEver) {
  Pair pair(SOCK_STREAM);
  SocketGuard guard(Policy());
  SocketReadAhead ahead;
  const SocketGuard::Scope scope(guard, &ahead);
  char byte = 0;
  EXPECT_EQ(recv(pair.fd(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, EAGAIN);
  pair.Send("ab");
  pair.Hang();
  EXPECT_EQ(pair.Receive(1), "a");
  EXPECT_EQ(pair.Receive(1), "b");
  EXPECT_EQ(recv(pair.fd(), &byte, 1, 0), 0);
}

TEST(SocketReadAheadTest, ALargeRequestTakesNoDetour) {
  const Pair pair(SOCK_STREAM);
  const std::string bytes(100000, 'x');
  pair.Send(bytes);
  SocketGuard guard(Policy());
  SocketReadAhead ahead;
  const SocketGuard::Scope scope(guard, &ahead);
  std::string all;
  while (all.size() < bytes.size()) all += pair.Receive(80000);
  EXPECT_EQ(all, bytes);
}

}  // namespace
}  // namespace camherd::capture
