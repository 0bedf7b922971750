// SPDX-License-Identifier: Apache-2.0
#include "services/capture/connect_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/capture/reconnect_backoff.h"
#include "services/common/clock.h"

namespace camherd::capture {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = ConnectQueue::Kind;

// The news as "a granted", in their order.
std::vector<std::string> News(ConnectQueue& queue, absl::Duration now) {
  std::vector<std::string> told;
  for (const ConnectQueue::News& news : queue.TakeNews(now)) {
    const char* kind = news.kind == Kind::kGranted ? "granted"
                       : news.kind == Kind::kWaits ? "waits"
                                                   : "no session";
    told.push_back(absl::StrCat(news.stream_id, " ", kind));
  }
  return told;
}

// Who was granted in the time from `begin`, asked each 10 ms, and when.
std::vector<std::pair<absl::Duration, std::string>> Granted(
    ConnectQueue& queue, absl::Duration begin, absl::Duration time) {
  std::vector<std::pair<absl::Duration, std::string>> granted;
  for (absl::Duration at = begin; at <= begin + time;
       at += absl::Milliseconds(10)) {
    for (const ConnectQueue::News& news : queue.TakeNews(at)) {
      if (news.kind == Kind::kGranted) granted.emplace_back(at, news.stream_id);
    }
  }
  return granted;
}

int MostInASecond(std::vector<absl::Duration> times) {
  std::sort(times.begin(), times.end());
  size_t first = 0;
  int most = 0;
  for (size_t last = 0; last < times.size(); ++last) {
    while (times[last] - times[first] >= absl::Seconds(1)) ++first;
    most = std::max(most, static_cast<int>(last - first + 1));
  }
  return most;
}

TEST(ConnectQueueTest, TheFirstGoesAtOnceAndTheOthersWaitForTheirTurn) {
  ConnectQueue queue({.per_second = 10, .per_second_per_host = 10});
  queue.Want("a", 1, "h1");
  queue.Want("b", 1, "h2");
  EXPECT_THAT(News(queue, absl::ZeroDuration()),
              ElementsAre("a granted", "b waits"));
  EXPECT_EQ(queue.NextAt(), absl::Milliseconds(105));
  EXPECT_THAT(News(queue, absl::Milliseconds(104)), IsEmpty());
  EXPECT_THAT(News(queue, absl::Milliseconds(105)), ElementsAre("b granted"));
  EXPECT_EQ(queue.waiting(), 0u);
  EXPECT_EQ(queue.sessions(), 2);
}

TEST(ConnectQueueTest, NoSecondHasMoreConnectsThanTheRates) {
  ConnectQueue queue({.per_second = 20, .per_second_per_host = 2});
  for (int i = 0; i < 300; ++i) {
    queue.Want(absl::StrCat(i), 1, absl::StrCat("h", i % 30));
  }
  const auto granted = Granted(queue, absl::ZeroDuration(), absl::Seconds(25));
  ASSERT_EQ(granted.size(), 300u);
  std::vector<absl::Duration> all;
  std::map<int, std::vector<absl::Duration>> of_host;
  for (const auto& [at, id] : granted) {
    all.push_back(at);
    of_host[std::stoi(id) % 30].push_back(at);
  }
  EXPECT_LE(MostInASecond(all), 20);
  for (const auto& [host, times] : of_host) {
    EXPECT_LE(MostInASecond(times), 2) << host;
  }
}

TEST(ConnectQueueTest, AQuietTimeIsNoCreditForABurst) {
  ConnectQueue queue({.per_second = 20, .per_second_per_host = 2});
  for (int i = 0; i < 60; ++i) {
    queue.Want(absl::StrCat(i), 1, absl::StrCat("h", i));
  }
  EXPECT_EQ(News(queue, absl::Hours(1)).front(), "0 granted");
  const size_t more =
      Granted(queue, absl::Hours(1), absl::Milliseconds(990)).size();
  EXPECT_LE(more, 19u);
  EXPECT_GE(more, 15u);
}

TEST(ConnectQueueTest, AFullHostDelaysNoOther) {
  ConnectQueue queue({.per_second = 100, .per_second_per_host = 1});
  for (int i = 0; i < 50; ++i) queue.Want(absl::StrCat("slow", i), 1, "nvr");
  queue.Want("fast", 1, "camera");
  const auto granted =
      Granted(queue, absl::ZeroDuration(), absl::Milliseconds(500));
  ASSERT_EQ(granted.size(), 2u);
  EXPECT_EQ(granted[0].second, "slow0");
  EXPECT_EQ(granted[1].second, "fast");
}

TEST(ConnectQueueTest, AHostServesInTheOrderOfAsking) {
  ConnectQueue queue({.per_second = 100, .per_second_per_host = 10});
  for (const char* id : {"a", "b", "c"}) queue.Want(id, 1, "h");
  std::vector<std::string> order;
  for (const auto& [at, id] :
       Granted(queue, absl::ZeroDuration(), absl::Seconds(1)))
    order.push_back(id);
  EXPECT_THAT(order, ElementsAre("a", "b", "c"));
}

TEST(ConnectQueueTest, ASessionIsWaitedForAndGivenOnInOrder) {
  ConnectQueue queue({.per_second = 1000,
                      .per_second_per_host = 1000,
                      .sessions_per_host = 1});
  for (const char* id : {"a", "b", "c"}) queue.Want(id, 1, "h");
  EXPECT_THAT(News(queue, absl::Seconds(1)),
              ElementsAre("a granted", "b no session", "c no session"));
  EXPECT_EQ(queue.NextAt(), absl::InfiniteDuration());
  EXPECT_THAT(News(queue, absl::Hours(1)), IsEmpty());
  queue.Close("a", 1);
  EXPECT_THAT(News(queue, absl::Hours(2)), ElementsAre("b granted"));
  queue.Forget("b");
  EXPECT_THAT(News(queue, absl::Hours(3)), ElementsAre("c granted"));
}

TEST(ConnectQueueTest, WhoHopedForATurnIsToldWhenTheLastSessionGoes) {
  ConnectQueue queue(
      {.per_second = 10, .per_second_per_host = 10, .sessions_per_host = 2});
  for (const char* id : {"a", "b", "c"}) queue.Want(id, 1, "h");
  EXPECT_THAT(News(queue, absl::ZeroDuration()),
              ElementsAre("a granted", "b waits", "c waits"));
  EXPECT_THAT(News(queue, absl::Milliseconds(105)),
              ElementsAre("b granted", "c no session"));
}

TEST(ConnectQueueTest, ANewRequestEndsTheSessionOfTheOldOne) {
  ConnectQueue queue({.per_second = 1000,
                      .per_second_per_host = 1000,
                      .sessions_per_host = 1});
  queue.Want("a", 1, "h");
  EXPECT_THAT(News(queue, absl::Seconds(1)), ElementsAre("a granted"));
  queue.Want("a", 2, "other");
  queue.Want("b", 1, "h");
  EXPECT_THAT(News(queue, absl::Seconds(2)),
              ElementsAre("a granted", "b waits"));
  EXPECT_THAT(News(queue, absl::Seconds(3)), ElementsAre("b granted"));
  // What is told of the old one changes nothing.
  queue.Close("a", 1);
  EXPECT_EQ(queue.sessions(), 2);
  queue.Close("a", 2);
  queue.Close("b", 1);
  EXPECT_EQ(queue.sessions(), 0);
}

TEST(ConnectQueueTest, AskingAgainWhileItWaitsKeepsThePlace) {
  ConnectQueue queue({.per_second = 10, .per_second_per_host = 10});
  for (const char* id : {"a", "b", "c"}) queue.Want(id, 1, "h");
  News(queue, absl::ZeroDuration());
  queue.Want("b", 7, "h");
  const auto news = queue.TakeNews(absl::Seconds(1));
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].stream_id, "b");
  EXPECT_EQ(news[0].request, 7);
}

TEST(ConnectQueueTest, WhoStopsWaitingIsPassedOver) {
  ConnectQueue queue({.per_second = 10, .per_second_per_host = 10});
  for (const char* id : {"a", "b", "c"}) queue.Want(id, 1, "h");
  News(queue, absl::ZeroDuration());
  queue.StopWaiting("a");  // It has a session: that goes on.
  queue.StopWaiting("b");
  EXPECT_EQ(queue.sessions(), 1);
  EXPECT_THAT(News(queue, absl::Seconds(1)), ElementsAre("c granted"));
}

TEST(ConnectQueueTest, WhatIsUnknownIsIgnored) {
  ConnectQueue queue({});
  queue.Close("nobody", 1);
  queue.Forget("nobody");
  queue.StopWaiting("nobody");
  EXPECT_THAT(News(queue, absl::Seconds(1)), IsEmpty());
  EXPECT_EQ(queue.NextAt(), absl::InfiniteDuration());
}

TEST(ConnectQueueTest, TenThousandStreamsOfOneHostCostLittle) {
  ConnectQueue queue({.per_second = 1000,
                      .per_second_per_host = 1000,
                      .sessions_per_host = 100});
  const absl::Duration begin = Clock::Real().SteadyNow();
  constexpr int kStreams = 10000;
  for (int i = 0; i < kStreams; ++i) queue.Want(absl::StrCat(i), 1, "h");
  int granted = 0;
  std::queue<std::string> sessions;
  for (int i = 0; granted < kStreams && i < 2 * kStreams; ++i) {
    for (const auto& news : queue.TakeNews(i * absl::Milliseconds(1))) {
      if (news.kind != Kind::kGranted) continue;
      ++granted;
      sessions.push(news.stream_id);
    }
    if (sessions.size() == 100) {
      queue.Close(sessions.front(), 1);
      sessions.pop();
    }
  }
  EXPECT_EQ(granted, kStreams);
  // 10,000 times anything that grows with their number would take far longer.
  EXPECT_LE(Clock::Real().SteadyNow() - begin, absl::Seconds(5));
}

// 200 cameras behind 20 hosts that go away together, are tried all the while,
// and come back together.
TEST(ConnectQueueTest, TwoHundredCamerasThatReturnTogetherAreFoundInAMinute) {
  constexpr int kCameras = 200;
  constexpr int kHosts = 20;
  constexpr int kLimit = 10;
  for (const int outage_seconds : {10, 60, 300, 600}) {
    const absl::Duration outage = absl::Seconds(outage_seconds);
    ConnectQueue queue({.per_second = 20,
                        .per_second_per_host = 2,
                        .sessions_per_host = kLimit});
    struct Camera {
      ReconnectBackoff backoff{ReconnectBackoff::Options()};
      int64_t request = 0;
      absl::Duration wants_at;
      bool connected = false;
    };
    std::vector<Camera> cameras(kCameras);
    std::vector<absl::Duration> connects;
    std::vector<absl::Duration> found;
    std::map<int, int> sessions;
    for (absl::Duration now; now < outage + absl::Minutes(2);
         now += absl::Milliseconds(5)) {
      for (int i = 0; i < kCameras; ++i) {
        Camera& camera = cameras[i];
        if (camera.connected || camera.wants_at > now) continue;
        camera.wants_at = absl::InfiniteDuration();
        queue.Want(absl::StrCat(i), ++camera.request,
                   absl::StrCat("h", i % kHosts));
      }
      for (const ConnectQueue::News& news : queue.TakeNews(now)) {
        if (news.kind != Kind::kGranted) continue;
        connects.push_back(now);
        const int i = std::stoi(news.stream_id);
        Camera& camera = cameras[i];
        if (now >= outage) {
          camera.connected = true;
          found.push_back(now - outage);
          EXPECT_LE(++sessions[i % kHosts], kLimit);
        } else {
          queue.Close(news.stream_id, news.request);
          camera.wants_at =
              now + camera.backoff.Next(absl::StatusCode::kUnavailable, now);
        }
      }
    }
    EXPECT_LE(MostInASecond(connects), 20);
    ASSERT_EQ(found.size(), static_cast<size_t>(kCameras)) << outage_seconds;
    std::sort(found.begin(), found.end());
    const absl::Duration p95 = found[kCameras * 95 / 100];
    EXPECT_LE(p95, absl::Seconds(60)) << outage_seconds;
    EXPECT_LE(found.back(), absl::Seconds(60)) << outage_seconds;
    RecordProperty(absl::StrCat("p95_after_", outage_seconds),
                   absl::FormatDuration(p95));
  }
}

}  // namespace
}  // namespace camherd::capture
