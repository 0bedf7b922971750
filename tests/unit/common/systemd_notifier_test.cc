// SPDX-License-Identifier: Apache-2.0
#include "services/common/systemd_notifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::TempDir;
using ::testing::HasSubstr;

// The socket on which systemd hears of its services, and the environment that
// it gives them.
class SystemdNotifierTest : public ::testing::Test {
 protected:
  SystemdNotifierTest() : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    const std::string path = dir_ / "notify";
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address),
              0);
    setenv("NOTIFY_SOCKET", path.c_str(), 1);
  }
  ~SystemdNotifierTest() override {
    close(fd_);
    for (const char* name :
         {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) {
      unsetenv(name);
    }
  }

  static void AskForWatchdog(int timeout_ms, int pid = getpid()) {
    setenv("WATCHDOG_USEC", absl::StrCat(timeout_ms * 1000).c_str(), 1);
    setenv("WATCHDOG_PID", absl::StrCat(pid).c_str(), 1);
  }

  // The next message; "" if none comes for `wait_ms`.
  std::string Next(int wait_ms = 10'000) {
    pollfd ready = {.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, wait_ms) != 1) return "";
    char buffer[1024];
    const ssize_t size = recv(fd_, buffer, sizeof buffer, 0);
    return size < 0 ? "" : std::string(buffer, static_cast<size_t>(size));
  }

 private:
  const TempDir dir_;
  const int fd_;
};

TEST_F(SystemdNotifierTest, SaysReadyAndStopping) {
  SystemdNotifier notifier([] { return absl::OkStatus(); });
  EXPECT_EQ(Next(), "READY=1\nSTATUS=serving");
  notifier.Stop();
  EXPECT_EQ(Next(), "STOPPING=1\nSTATUS=stopping");
  notifier.Stop();
  EXPECT_EQ(Next(/*wait_ms=*/0), "");
}

TEST_F(SystemdNotifierTest, SaysInOneLineWhyTheServiceIsNotReady) {
  SystemdNotifier notifier([] { return absl::OkStatus(); });
  Next();
  notifier.SetReady(absl::UnavailableError("the disk is low:\n3 bytes"));
  EXPECT_EQ(Next(), "STATUS=not ready: the disk is low: 3 bytes");
  notifier.SetReady(absl::OkStatus());
  EXPECT_EQ(Next(), "STATUS=serving");
}

TEST_F(SystemdNotifierTest, FeedsTheWatchdogAgainAndAgain) {
  AskForWatchdog(/*timeout_ms=*/40);
  SystemdNotifier notifier([] { return absl::OkStatus(); });
  Next();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Next(), "WATCHDOG=1");
}

TEST_F(SystemdNotifierTest, DoesNotFeedWhileALoopIsStuck) {
  AskForWatchdog(/*timeout_ms=*/40);
  absl::Notification stuck;
  absl::Notification go_on;
  std::atomic<int> asked = 0;
  SystemdNotifier notifier([&] {
    if (++asked == 2) {
      stuck.Notify();
      go_on.WaitForNotification();
    }
    return absl::OkStatus();
  });
  Next();
  EXPECT_EQ(Next(), "WATCHDOG=1");
  stuck.WaitForNotification();
  EXPECT_EQ(Next(/*wait_ms=*/100), "");
  go_on.Notify();
  EXPECT_EQ(Next(), "WATCHDOG=1");
}

TEST_F(SystemdNotifierTest, SaysOnceWhichLoopDoesNotTurnAndDoesNotFeed) {
  AskForWatchdog(/*timeout_ms=*/40);
  std::atomic<bool> turns = false;
  ::testing::internal::CaptureStderr();
  auto notifier = std::make_unique<SystemdNotifier>([&] {
    return turns ? absl::OkStatus() : absl::UnavailableError("housekeeping");
  });
  Next();
  EXPECT_EQ(Next(), "STATUS=not alive: housekeeping");
  EXPECT_EQ(Next(/*wait_ms=*/100), "");
  turns = true;
  EXPECT_EQ(Next(), "WATCHDOG=1");
  notifier.reset();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("msg=\"not alive, the watchdog is not fed\""));
}

TEST_F(SystemdNotifierTest, AWatchdogOfAnotherProcessIsNotFed) {
  AskForWatchdog(/*timeout_ms=*/40, /*pid=*/1);
  SystemdNotifier notifier([] { return absl::OkStatus(); });
  Next();
  EXPECT_EQ(Next(/*wait_ms=*/100), "");
}

TEST_F(SystemdNotifierTest, WithoutSystemdItDoesNothing) {
  AskForWatchdog(/*timeout_ms=*/40);
  unsetenv("WATCHDOG_USEC");
  unsetenv("NOTIFY_SOCKET");
  SystemdNotifier notifier([] { return absl::OkStatus(); });
  notifier.SetReady(absl::UnavailableError("x"));
  notifier.Stop();
  EXPECT_EQ(Next(/*wait_ms=*/0), "");
}

}  // namespace
}  // namespace camherd
