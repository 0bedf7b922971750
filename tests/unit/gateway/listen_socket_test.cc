// SPDX-License-Identifier: Apache-2.0
#include "gateway/listen_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace camherd::gateway {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(ListenSocketTest, TellsThePortItGot) {
  const auto sockets = Listen({"127.0.0.1:0"});
  CAMHERD_ASSERT_OK(sockets.status());
  ASSERT_EQ(sockets->size(), 1u);
  EXPECT_THAT((*sockets)[0].address(), StartsWith("127.0.0.1:"));
}

TEST(ListenSocketTest, LocalhostIsBothFamiliesOnOnePort) {
  const auto sockets = Listen({"localhost:0"});
  CAMHERD_ASSERT_OK(sockets.status());
  if (sockets->size() < 2) GTEST_SKIP() << "this host has no IPv6";
  const std::string& v4 = (*sockets)[0].address();
  EXPECT_EQ((*sockets)[1].address(),
            absl::StrCat("[::1]", v4.substr(v4.rfind(':'))));
}

TEST(ListenSocketTest, NamesTheAddressThatIsTaken) {
  const auto first = Listen({"127.0.0.1:0"});
  CAMHERD_ASSERT_OK(first.status());
  const std::string taken = (*first)[0].address();
  EXPECT_THAT(Listen({taken}).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(taken)));
}

TEST(ListenSocketTest, RefusesWhatIsNoAddress) {
  for (const char* address : {"localhost", ":80", "a:b", "::1:80", "h:70000"}) {
    EXPECT_THAT(
        ListenHost(address).status(),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(address)));
  }
}

TEST(ListenSocketTest, KnowsLoopback) {
  EXPECT_TRUE(IsLoopbackHost("localhost"));
  EXPECT_TRUE(IsLoopbackHost("127.8.9.1"));
  EXPECT_TRUE(IsLoopbackHost("::1"));
  EXPECT_FALSE(IsLoopbackHost("0.0.0.0"));
  EXPECT_FALSE(IsLoopbackHost("10.0.0.1"));
  EXPECT_FALSE(IsLoopbackHost("localhost.evil.example"));
}

}  // namespace
}  // namespace camherd::gateway
