// SPDX-License-Identifier: Apache-2.0
#include "services/common/shutdown_signal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

namespace camherd {
namespace {

using ::testing::HasSubstr;

TEST(ShutdownSignalTest, EitherSignalEndsTheWaitAndIsLogged) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  ShutdownSignal::Block();
  for (const int number : {SIGTERM, SIGINT}) {
    ASSERT_EQ(raise(number), 0);
    ::testing::internal::CaptureStderr();
    ShutdownSignal().Wait();
    EXPECT_THAT(::testing::internal::GetCapturedStderr(),
                HasSubstr(number == SIGTERM ? "msg=stopping signal=SIGTERM"
                                            : "msg=stopping signal=SIGINT"));
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(ShutdownSignalTest, AnIgnoredSigintIsNotWaitedFor) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  const auto handler = signal(SIGINT, SIG_IGN);
  ShutdownSignal::Block();
  ASSERT_EQ(raise(SIGINT), 0);
  ASSERT_EQ(raise(SIGTERM), 0);
  ::testing::internal::CaptureStderr();
  ShutdownSignal().Wait();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("SIGTERM"));
  signal(SIGINT, handler);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(ShutdownSignalTest, AThreadMayWait) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  ShutdownSignal::Block();
  std::thread waiter([] { ShutdownSignal().Wait(); });
  pthread_kill(waiter.native_handle(), SIGTERM);
  waiter.join();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
}  // namespace camherd
