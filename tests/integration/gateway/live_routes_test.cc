// SPDX-License-Identifier: Apache-2.0
#include "gateway/live_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/time_proto.h"
#include "tests/integration/gateway/running_gateway.h"

namespace camherd::gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kWait = absl::Seconds(10);
constexpr char kPath[] = "/api/v1/streams/demo/live.mjpeg";

void SetFrame(FakeBackends& fake, int64_t seq, const std::string& jpeg) {
  v1::GetLatestFrameResponse frame;
  frame.mutable_frame()->mutable_info()->set_frame_seq(seq);
  frame.mutable_frame()->set_jpeg(jpeg);
  fake.SetFrame(frame);
}

v1::WatchStreamsResponse Sample(int64_t seq, bool running = true) {
  v1::WatchStreamsResponse event;
  v1::Stream& stream = *event.mutable_stream();
  stream.set_stream_id("0192");
  stream.set_desired_running(running);
  *stream.mutable_last_frame_at() = ToProto(absl::FromUnixSeconds(seq));
  event.set_sample(running);
  return event;
}

// The gateway in front of one running stream with a first picture.
class LiveRoutesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    v1::Stream& stream = gateway_.fake().answers.stream;
    stream.set_stream_id("0192");
    stream.set_desired_running(true);
    SetFrame(gateway_.fake(), 1, "first");
    const absl::Duration until = Clock::Real().SteadyNow() + kWait;
    while (!gateway_.hub().peer(EventHub::kStreams).connected &&
           Clock::Real().SteadyNow() < until) {
      Clock::Real().SleepFor(absl::Milliseconds(2));
    }
  }
  void NewSample(int64_t seq, const std::string& jpeg) {
    SetFrame(gateway_.fake(), seq, jpeg);
    gateway_.fake().streams().Add(Sample(seq), "0192", true);
  }
  size_t asked() {
    return gateway_.fake().CountOf<v1::GetLatestFrameRequest>();
  }

  RunningGateway gateway_;
};

// One who watches, by HTTP/1.0.
class Viewer {
 public:
  explicit Viewer(RunningGateway& gateway, const std::string& query = "")
      : connection_(gateway.address()) {
    connection_.Send(absl::StrCat("GET ", kPath, query, " HTTP/1.0\r\n\r\n"));
  }

  // Reads until `text` has come; all that has come since the last call.
  std::string Until(const std::string& text) {
    const absl::Duration until = Clock::Real().SteadyNow() + kWait;
    while (!absl::StrContains(bytes_, text)) {
      const std::string more =
          connection_.ReadSome(until - Clock::Real().SteadyNow());
      if (more.empty()) break;
      bytes_ += more;
    }
    const size_t end = bytes_.find(text);
    if (end == std::string::npos) return std::exchange(bytes_, "");
    std::string found = bytes_.substr(0, end + text.size());
    bytes_.erase(0, found.size());
    return found;
  }
  RawConnection& connection() { return connection_; }

 private:
  RawConnection connection_;
  std::string bytes_;
};

TEST_F(LiveRoutesTest, TheFirstPictureComesAtOnceAndEachNewOneAfterIt) {
  Viewer viewer(gateway_);
  const std::string head = viewer.Until("\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("200 OK"));
  EXPECT_THAT(head, HasSubstr("multipart/x-mixed-replace; boundary=frame"));
  EXPECT_THAT(head, HasSubstr("Cache-Control: no-store"));
  const std::string first = viewer.Until("first\r\n--frame\r\n");
  EXPECT_THAT(first, StartsWith("--frame\r\nContent-Type: image/jpeg\r\n"
                                "Content-Length: 5\r\nX-Frame-Seq: 1\r\n"));
  NewSample(2, "the second");
  EXPECT_THAT(viewer.Until("the second\r\n--frame\r\n"),
              StartsWith("Content-Type: image/jpeg\r\nContent-Length: 10\r\n"));
}

TEST_F(LiveRoutesTest, ManyWhoWatchAskTheServiceOnceForEachSample) {
  std::vector<std::unique_ptr<Viewer>> viewers;
  for (int i = 0; i < 32; ++i) {
    viewers.push_back(std::make_unique<Viewer>(gateway_));
  }
  for (const auto& viewer : viewers) viewer->Until("first\r\n--frame\r\n");
  EXPECT_EQ(asked(), 1u);
  for (int seq = 2; seq <= 6; ++seq) {
    NewSample(seq, absl::StrCat("picture ", seq));
    for (const auto& viewer : viewers) {
      EXPECT_THAT(viewer->Until("\r\n--frame\r\n"),
                  HasSubstr(absl::StrCat("picture ", seq)));
    }
  }
  EXPECT_EQ(asked(), 6u);
  // Nobody watches: nothing is asked for.
  viewers.clear();
  const absl::Duration until = Clock::Real().SteadyNow() + kWait;
  while (!absl::StrContains(gateway_.Metrics(), "{kind=\"pictures\"} 0") &&
         Clock::Real().SteadyNow() < until) {
    Clock::Real().SleepFor(absl::Milliseconds(2));
  }
  NewSample(7, "unseen");
  Viewer late(gateway_);
  EXPECT_THAT(late.Until("\r\n--frame\r\n"
                         "Content"),
              HasSubstr("200 OK"));
  EXPECT_LE(asked(), 8u);
}

TEST_F(LiveRoutesTest, WhoHasTheSameWishSharesAndOthersDoNot) {
  Viewer plain(gateway_);
  Viewer wide(gateway_, "?width=640&acknowledged=true&boxes=true");
  plain.Until("first\r\n--frame\r\n");
  wide.Until("first\r\n--frame\r\n");
  EXPECT_EQ(asked(), 2u);
  const auto last = gateway_.fake().Last<v1::GetLatestFrameRequest>();
  EXPECT_EQ(last.stream(), "0192");
}

TEST_F(LiveRoutesTest, ASlowViewerSkipsPicturesAndHoldsUpNobody) {
  Viewer slow(gateway_);
  slow.Until("first");
  Viewer quick(gateway_);
  quick.Until("first\r\n--frame\r\n");
  const std::string large(1 << 20, 'x');
  constexpr int kPictures = 40;
  for (int seq = 2; seq <= kPictures; ++seq) {
    NewSample(seq, absl::StrCat(large, "end ", seq, "."));
    ASSERT_THAT(quick.Until(absl::StrCat("end ", seq, ".")),
                HasSubstr(absl::StrCat("X-Frame-Seq: ", seq)));
  }
  // What the sockets held, and then the newest.
  std::string all;
  int pictures = 0;
  do {
    all = slow.Until("end ");
    ++pictures;
    ASSERT_LE(pictures, kPictures);
  } while (slow.Until(".") != absl::StrCat(kPictures, "."));
  EXPECT_LT(pictures, kPictures / 2);
}

TEST_F(LiveRoutesTest, EndsWhenTheStreamIsStoppedOrForgotten) {
  for (const bool deleted : {false, true}) {
    Viewer viewer(gateway_);
    viewer.Until("first\r\n--frame\r\n");
    v1::WatchStreamsResponse end = Sample(1, false);
    end.set_deleted(deleted);
    gateway_.fake().streams().Add(end, "0192");
    EXPECT_TRUE(viewer.connection().ClosedWithin(kWait)) << deleted;
  }
}

TEST_F(LiveRoutesTest, AStopWaitsForNoSlowViewer) {
  SetFrame(gateway_.fake(), 1, std::string(16 << 20, 'x'));
  Viewer slow(gateway_);
  EXPECT_THAT(slow.Until("xxx"), HasSubstr("200 OK"));
  const absl::Duration begin = Clock::Real().SteadyNow();
  gateway_.server().Drain(absl::Seconds(20));
  EXPECT_LT(Clock::Real().SteadyNow() - begin, absl::Seconds(5));
}

TEST_F(LiveRoutesTest, WhatCannotBeWatchedIsAnErrorAsAnyOther) {
  EXPECT_EQ(Ask(gateway_.address(), "GET", absl::StrCat(kPath, "?no=1")).code,
            400);
  gateway_.fake().FailWith(absl::NotFoundError("stream \"demo\" is not known"));
  EXPECT_EQ(Ask(gateway_.address(), "GET", kPath).code, 404);
  gateway_.fake().FailWith(absl::OkStatus());
  gateway_.fake().answers.stream.set_desired_running(false);
  const RawAnswer stopped = Ask(gateway_.address(), "GET", kPath);
  EXPECT_EQ(stopped.code, 409);
  EXPECT_THAT(stopped.body, HasSubstr("is stopped"));
}

TEST_F(LiveRoutesTest, AStreamWithoutAPictureYetIsWatchedUntilItHasOne) {
  gateway_.fake().SetFrame(std::nullopt);
  Viewer viewer(gateway_);
  EXPECT_THAT(viewer.Until("\r\n\r\n"), HasSubstr("200 OK"));
  NewSample(1, "now");
  EXPECT_THAT(viewer.Until("now"), StartsWith("--frame\r\n"));
}

// A door with many pages and pictures open, of which some do not read.
TEST(LiveRoutesTestOfManyReaders, LeavesOrdinaryRequestsAlone) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.max_connections_per_address = 512;
  // They come at once.
  options.queue_per_lane = 256;
  RunningGateway gateway(options);
  v1::Stream& stream = gateway.fake().answers.stream;
  stream.set_stream_id("0192");
  stream.set_desired_running(true);
  const std::string large(256 << 10, 'x');
  SetFrame(gateway.fake(), 1, large);
  std::vector<std::unique_ptr<RawConnection>> pages;
  std::vector<std::unique_ptr<Viewer>> viewers;
  for (int i = 0; i < 200; ++i) {
    pages.push_back(std::make_unique<RawConnection>(gateway.address()));
    pages.back()->Send("GET /api/v1/events HTTP/1.0\r\n\r\n");
  }
  for (int i = 0; i < 32; ++i) {
    viewers.push_back(std::make_unique<Viewer>(gateway));
  }
  // Slow readers: half of them never read a byte.
  for (size_t i = 0; i < pages.size(); i += 2) {
    ASSERT_THAT(pages[i]->ReadSome(kWait), HasSubstr("200 OK"));
  }
  for (size_t i = 0; i < viewers.size(); i += 2) {
    ASSERT_THAT(viewers[i]->Until("--frame\r\nCont"), HasSubstr("200 OK"));
  }
  const absl::Duration until = Clock::Real().SteadyNow() + kWait;
  while (!absl::StrContains(gateway.Metrics(), "{kind=\"events\"} 200") &&
         Clock::Real().SteadyNow() < until) {
    Clock::Real().SleepFor(absl::Milliseconds(2));
  }
  absl::Duration slowest;
  for (int seq = 2; seq <= 20; ++seq) {
    SetFrame(gateway.fake(), seq, large);
    gateway.fake().streams().Add(Sample(seq), "0192", true);
    for (const auto& [method, target] : {std::pair{"GET", "/livez"},
                                         {"GET", "/api/v1/streams"},
                                         {"POST", "/api/v1/streams"}}) {
      const absl::Duration begin = Clock::Real().SteadyNow();
      const RawAnswer answer =
          Ask(gateway.address(), method, target,
              method[0] == 'P' ? R"({"rtsp_url":"rtsp://127.0.0.1/a"})" : "");
      slowest = std::max(slowest, Clock::Real().SteadyNow() - begin);
      EXPECT_LT(answer.code, 300) << target;
    }
  }
  EXPECT_LT(slowest, absl::Seconds(1));
  EXPECT_THAT(gateway.Metrics(), HasSubstr("{kind=\"events\"} 200"));
  EXPECT_THAT(gateway.Metrics(), HasSubstr("{kind=\"pictures\"} 32"));
  RecordProperty("slowest_ms", absl::ToDoubleMilliseconds(slowest));
}

}  // namespace
}  // namespace camherd::gateway
