// SPDX-License-Identifier: Apache-2.0
#include "services/capture/address_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;

absl::Status Check(const AddressPolicy::Options& options,
                   absl::string_view address) {
  return AddressPolicy::Create(options).value().Check(
      IpAddress::Parse(address).value());
}

absl::StatusOr<IpAddress> Resolve(const std::string& host,
                                  const AddressPolicy::Options& options) {
  Clock& clock = Clock::Real();
  return ResolveHost(host, AddressPolicy::Create(options).value(),
                     clock.SteadyNow() + absl::Seconds(10), clock,
                     [] { return false; });
}

TEST(AddressPolicyTest, PrivateAndPublicAddressesAreAllowed) {
  for (const char* address : {"10.1.2.3", "192.168.1.64", "172.16.0.9",
                              "203.0.113.9", "2001:db8::1", "fd12:3456::1"}) {
    EXPECT_THAT(Check({}, address), IsOk()) << address;
  }
}

TEST(AddressPolicyTest, MetadataAddressesAreNeverAllowed) {
  const AddressPolicy::Options all = {.allow_networks = {"0.0.0.0/0", "::/0"}};
  for (const char* address :
       {"169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::169.254.169.254"}) {
    EXPECT_THAT(
        Check(all, address),
        StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("metadata")))
        << address;
  }
}

TEST(AddressPolicyTest, OddNetworksNeedToBeAllowed) {
  for (const char* address :
       {"169.254.10.7", "fe80::1", "224.0.0.1", "ff02::1", "0.0.0.0", "0.1.2.3",
        "::", "255.255.255.255", "::ffff:169.254.1.1"}) {
    EXPECT_THAT(Check({}, address),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         HasSubstr("capture.allow_networks")))
        << address;
  }
  EXPECT_THAT(Check({.allow_networks = {"169.254.10.0/24"}}, "169.254.10.7"),
              IsOk());
  EXPECT_THAT(Check({.allow_networks = {"169.254.10.0/24"}}, "169.254.11.7"),
              Not(IsOk()));
  EXPECT_THAT(Check({.allow_networks = {"fe80::/10"}}, "fe80::1"), IsOk());
  EXPECT_THAT(Check({.allow_networks = {"fe80::1"}}, "fe80::2"), Not(IsOk()));
}

TEST(AddressPolicyTest, LoopbackIsAllowedOnlyWhereSaidSo) {
  for (const char* address :
       {"127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"}) {
    EXPECT_THAT(Check({}, address), IsOk()) << address;
    EXPECT_THAT(
        Check({.allow_loopback = false}, address),
        StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("loopback")))
        << address;
  }
  EXPECT_THAT(
      Check({.allow_networks = {"127.0.0.0/8"}, .allow_loopback = false},
            "127.0.0.1"),
      IsOk());
}

TEST(AddressPolicyTest, OddFormsOfAnAddressAreSeenThrough) {
  for (const char* host : {"127.1", "0x7f000001", "2130706433", "0177.0.0.1",
                           "::ffff:127.0.0.1", "localhost"}) {
    EXPECT_THAT(Resolve(host, {.allow_loopback = false}),
                StatusIs(absl::StatusCode::kPermissionDenied))
        << host;
    const absl::StatusOr<IpAddress> allowed = Resolve(host, {});
    ASSERT_THAT(allowed, IsOk()) << host;
    EXPECT_EQ(allowed->ToString(), "127.0.0.1") << host;
  }
}

TEST(AddressPolicyTest, AnUnknownHostIsUnavailableAndNamed) {
  EXPECT_THAT(Resolve("no-such-camera.invalid", {}),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("no-such-camera.invalid")));
}

TEST(AddressPolicyTest, ALookUpCanBeCancelled) {
  Clock& clock = Clock::Real();
  const absl::Status status =
      ResolveHost("another-camera.invalid", AddressPolicy::Create({}).value(),
                  clock.SteadyNow() + absl::Seconds(10), clock,
                  [] { return true; })
          .status();
  // Unless it had ended before it was asked for the first time.
  EXPECT_TRUE(absl::IsCancelled(status) || absl::IsUnavailable(status))
      << status;
}

TEST(AddressPolicyTest, ABadNetworkIsNamed) {
  for (const char* network :
       {"10.0.0.0/33", "10.0.0/8", "x", "::/129", "", "10.0.0.0/-1"}) {
    EXPECT_THAT(
        AddressPolicy::Create({.allow_networks = {network}}),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(network)));
  }
}

}  // namespace
}  // namespace camherd::capture
