// SPDX-License-Identifier: Apache-2.0
#include "services/capture/socket_guard.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>

#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kCamera[] = "127.0.0.1";
constexpr char kOther[] = "127.0.0.2";
constexpr char kForbidden[] = "127.0.0.3";

// A socket on a port of its own, or without an address.
class Socket {
 public:
  explicit Socket(int type, const char* address = nullptr)
      : fd_(socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    if (address == nullptr) return;
    sockaddr_in in = To(address, 0);
    socklen_t size = sizeof(in);
    auto* generic = reinterpret_cast<sockaddr*>(&in);
    EXPECT_EQ(bind(fd_, generic, size), 0);
    if ((type & SOCK_STREAM) != 0) {
      EXPECT_EQ(listen(fd_, 8), 0);
    }
    EXPECT_EQ(getsockname(fd_, generic, &size), 0);
    port_ = ntohs(in.sin_port);
  }
  ~Socket() { close(fd_); }

  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int Connect(const char* address, int port) const {
    const sockaddr_in in = To(address, port);
    return connect(fd_, reinterpret_cast<const sockaddr*>(&in), sizeof(in));
  }
  ssize_t SendTo(const char* address, int port) const {
    const sockaddr_in in = To(address, port);
    return sendto(fd_, "x", 1, 0, reinterpret_cast<const sockaddr*>(&in),
                  sizeof(in));
  }
  ssize_t SendMessageTo(const char* address, int port) const {
    sockaddr_in in = To(address, port);
    msghdr message = {};
    message.msg_name = &in;
    message.msg_namelen = sizeof(in);
    return sendmsg(fd_, &message, 0);
  }
  // How many connections or datagrams have come and not been taken.
  int Waiting() const {
    int count = 0;
    if (IsStream()) {
      for (int taken; (taken = accept(fd_, nullptr, nullptr)) >= 0; ++count) {
        close(taken);
      }
    } else {
      char byte = 0;
      while (recv(fd_, &byte, 1, MSG_DONTWAIT) >= 0) ++count;
    }
    return count;
  }
  int port() const { return port_; }

 private:
  bool IsStream() const {
    int type = 0;
    socklen_t size = sizeof(type);
    getsockopt(fd_, SOL_SOCKET, SO_TYPE, &type, &size);
    return type == SOCK_STREAM;
  }
  static sockaddr_in To(const char* address, int port) {
    sockaddr_in in = {};
    in.sin_family = AF_INET;
    in.sin_port = htons(static_cast<uint16_t>(port));
    EXPECT_EQ(inet_pton(AF_INET, address, &in.sin_addr), 1);
    return in;
  }

  const int fd_;
  int port_ = 0;
};

AddressPolicy Policy() {
  return AddressPolicy::Create({.allow_networks = {"127.0.0.1", "127.0.0.2"},
                                .allow_loopback = false})
      .value();
}

TEST(SocketGuardTest, ADeniedAddressIsNotConnectedTo) {
  const Socket listener(SOCK_STREAM | SOCK_NONBLOCK, kForbidden);
  SocketGuard guard(Policy());
  {
    const SocketGuard::Scope scope(guard);
    const Socket socket(SOCK_STREAM);
    EXPECT_EQ(socket.Connect(kForbidden, listener.port()), -1);
    EXPECT_EQ(errno, EACCES);
  }
  EXPECT_EQ(listener.Waiting(), 0);
  EXPECT_THAT(guard.refusal(), StatusIs(absl::StatusCode::kPermissionDenied,
                                        HasSubstr(kForbidden)));
}

TEST(SocketGuardTest, AnAllowedAddressIsConnectedTo) {
  const Socket listener(SOCK_STREAM | SOCK_NONBLOCK, kCamera);
  SocketGuard guard(Policy());
  const SocketGuard::Scope scope(guard);
  const Socket socket(SOCK_STREAM);
  EXPECT_EQ(socket.Connect(kCamera, listener.port()), 0);
  EXPECT_THAT(guard.refusal(), IsOk());
  EXPECT_EQ(listener.Waiting(), 1);
}

TEST(SocketGuardTest, DatagramsGoToTheCameraOnly) {
  const Socket listener(SOCK_STREAM | SOCK_NONBLOCK, kCamera);
  const Socket camera(SOCK_DGRAM, kCamera);
  const Socket other(SOCK_DGRAM, kOther);
  SocketGuard guard(Policy());
  {
    const SocketGuard::Scope scope(guard);
    const Socket connection(SOCK_STREAM);
    ASSERT_EQ(connection.Connect(kCamera, listener.port()), 0);
    const Socket packets(SOCK_DGRAM);
    EXPECT_EQ(packets.SendTo(kCamera, camera.port()), 1);
    EXPECT_EQ(packets.SendMessageTo(kCamera, camera.port()), 0);
    EXPECT_THAT(guard.refusal(), IsOk());
    EXPECT_EQ(packets.SendTo(kOther, other.port()), -1);
    EXPECT_EQ(errno, EACCES);
    EXPECT_EQ(packets.SendMessageTo(kOther, other.port()), -1);
    EXPECT_EQ(packets.Connect(kOther, other.port()), -1);
  }
  EXPECT_EQ(camera.Waiting(), 2);
  EXPECT_EQ(other.Waiting(), 0);
  EXPECT_THAT(guard.refusal(), StatusIs(absl::StatusCode::kPermissionDenied,
                                        HasSubstr("another host")));
}

TEST(SocketGuardTest, OtherThreadsAndWhatFollowsTheScopeAreNotHeld) {
  const Socket listener(SOCK_STREAM | SOCK_NONBLOCK, kForbidden);
  SocketGuard guard(Policy());
  {
    const SocketGuard::Scope scope(guard);
    std::thread other([&] {
      const Socket socket(SOCK_STREAM);
      EXPECT_EQ(socket.Connect(kForbidden, listener.port()), 0);
    });
    other.join();
  }
  const Socket socket(SOCK_STREAM);
  EXPECT_EQ(socket.Connect(kForbidden, listener.port()), 0);
  EXPECT_EQ(listener.Waiting(), 2);
  EXPECT_THAT(guard.refusal(), IsOk());
}

TEST(SocketGuardTest, WhatComesIsCountedWithinTheScope) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  ASSERT_EQ(send(pair[0], "12345678", 8, 0), 8);
  SocketGuard guard(Policy());
  char bytes[8];
  EXPECT_EQ(recv(pair[1], bytes, 1, 0), 1);
  {
    const SocketGuard::Scope scope(guard);
    EXPECT_EQ(recv(pair[1], bytes, 3, 0), 3);
    EXPECT_EQ(recvfrom(pair[1], bytes, 4, 0, nullptr, nullptr), 4);
    EXPECT_EQ(recv(pair[1], bytes, 1, MSG_DONTWAIT), -1);
  }
  EXPECT_EQ(guard.received_bytes(), 7);
  close(pair[0]);
  close(pair[1]);
}

}  // namespace
}  // namespace camherd::capture
