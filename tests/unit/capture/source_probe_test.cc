// SPDX-License-Identifier: Apache-2.0
#include "services/capture/source_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/capture/jpeg_encoder.h"
#include "tests/support/fake_camera.h"
#include "tests/support/fake_port.h"
#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::FakeCamera;
using ::camherd::testing::FakePort;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A JPEG, which is what an MJPEG camera sends.
std::string Jpeg(const std::function<uint8_t(int x, int y)>& luma) {
  constexpr int kWidth = 64;
  constexpr int kHeight = 48;
  std::vector<uint8_t> plane;
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) plane.push_back(luma(x, y));
  }
  Picture picture;
  picture.width = kWidth;
  picture.height = kHeight;
  picture.chroma = Picture::Chroma::kGray;
  picture.full_range = true;
  picture.planes[0] = plane.data();
  picture.strides[0] = kWidth;
  return JpegEncoder(85).Encode(picture).value().data;
}
std::string GoodPicture() {
  return Jpeg([](int x, int y) {
    return static_cast<uint8_t>(60 + (x * 37 + y * 11) % 120);
  });
}

// NAL units without a picture in them (H.264 table 7-1): IDR and non-IDR slice.
std::string IdrSlice() { return std::string("\0\0\0\1\x65\x88\x80", 7); }
std::string OtherSlice() { return std::string("\0\0\0\1\x41\x9a\x80", 7); }

class SourceProbeTest : public ::testing::Test {
 protected:
  SourceProbeTest() {
    options_.connect_timeout = absl::Seconds(20);
    options_.pictures_timeout = absl::Seconds(20);
    port_.bytes_a_read = 4096;
    port_.answers = {
        "RTSP/1.0 200 OK\r\nPublic: OPTIONS, DESCRIBE\r\n\r\n",
        "RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"r\"\r\n"
        "\r\n"};
  }

  absl::Status Probe(
      const std::string& url = "rtsp://u:canary@127.0.0.1:8554/a?token=canary",
      const std::function<bool()>& cancelled = [] { return false; }) {
    SourceProbe probe(options_, AddressPolicy::Create(policy_).value(),
                      port_.Connections(), camera_.Sources(), Clock::Real());
    steps_.clear();
    absl::Status status = probe.Probe(
        {.url = CameraUrl::Parse(url).value()},
        [this](v1::ProbeSourceResponse step) {
          EXPECT_THAT(step.detail(),
                      AllOf(Not(IsEmpty()), Not(HasSubstr("canary"))));
          EXPECT_THAT(step.hint(), Not(HasSubstr("canary")));
          EXPECT_GE(step.elapsed_seconds(), 0);
          EXPECT_GT(step.at().seconds(), 0);
          steps_.push_back(std::move(step));
        },
        cancelled);
    // All but the last are well; what failed says what to do.
    for (size_t i = 0; i < steps_.size(); ++i) {
      EXPECT_TRUE(steps_[i].ok() || i + 1 == steps_.size());
      EXPECT_TRUE(steps_[i].ok() || !steps_[i].hint().empty());
    }
    return status;
  }

  std::vector<v1::ProbeStep> Steps() const {
    std::vector<v1::ProbeStep> steps;
    for (const auto& step : steps_) steps.push_back(step.step());
    return steps;
  }
  const v1::ProbeSourceResponse& Last() const { return steps_.back(); }
  // The last step failed, at that step, for that reason.
  void ExpectFailure(v1::ProbeStep step, const std::string& detail,
                     const std::string& hint) {
    ASSERT_FALSE(steps_.empty());
    EXPECT_EQ(Last().step(), step) << Last().detail();
    EXPECT_FALSE(Last().ok());
    EXPECT_THAT(Last().detail(), HasSubstr(detail));
    EXPECT_THAT(Last().hint(), HasSubstr(hint));
  }

  void Send(const std::string& data, bool keyframe, double arrival) {
    AccessUnit unit;
    unit.data = std::make_shared<const std::string>(data);
    unit.keyframe = keyframe;
    unit.arrival = absl::Seconds(arrival);
    camera_.Send(std::move(unit));
  }
  void SendMjpeg(const std::string& first, const std::string& second) {
    camera_.AnswerOpen(
        VideoParameters{.codec = Codec::kMjpeg, .extradata = ""});
    Send(first, true, 1.0);
    Send(second, true, 1.04);
  }

  SourceProbe::Options options_;
  AddressPolicy::Options policy_;
  FakePort port_;
  FakeCamera camera_;
  std::vector<v1::ProbeSourceResponse> steps_;
};

TEST_F(SourceProbeTest, TellsEveryStepOfAGoodCameraInOrder) {
  SendMjpeg(GoodPicture(), GoodPicture());
  EXPECT_THAT(Probe(), IsOk());
  ASSERT_THAT(Steps(), ElementsAre(v1::PROBE_STEP_DNS, v1::PROBE_STEP_TCP,
                                   v1::PROBE_STEP_RTSP, v1::PROBE_STEP_AUTH,
                                   v1::PROBE_STEP_CODEC,
                                   v1::PROBE_STEP_KEYFRAME, v1::PROBE_STEP_GOP,
                                   v1::PROBE_STEP_DECODE, v1::PROBE_STEP_LUMA));
  EXPECT_EQ(steps_[0].detail(), "127.0.0.1");
  EXPECT_EQ(steps_[1].detail(), "port 8554 is open");
  EXPECT_EQ(steps_[2].detail(),
            "OPTIONS, DESCRIBE; DESCRIBE without a login is answered by 401; "
            "it asks for digest");
  EXPECT_EQ(steps_[3].detail(), "it lets us in by digest");
  EXPECT_EQ(steps_[4].detail(), "MJPEG");
  EXPECT_THAT(steps_[5].detail(), HasSubstr("first keyframe after 0.0"));
  EXPECT_EQ(steps_[6].detail(), "every picture is a keyframe, 0.04 s apart");
  EXPECT_EQ(steps_[7].detail(), "64 x 48 pixels");
  EXPECT_THAT(steps_[8].detail(), HasSubstr(": good"));
  for (const auto& step : steps_) {
    EXPECT_TRUE(step.ok());
    EXPECT_THAT(step.hint(), IsEmpty());
  }
  EXPECT_EQ(port_.target().port, 8554);
  EXPECT_FALSE(port_.target().tls);
  EXPECT_EQ(camera_.last_url(),
            "rtsp://u:canary@127.0.0.1:8554/a?token=canary");
  // Nothing stays open.
  EXPECT_EQ(port_.closed(), port_.connections());
  EXPECT_EQ(camera_.closed(), 1);
}

TEST_F(SourceProbeTest, ADeniedAddressIsNotConnectedTo) {
  EXPECT_THAT(Probe("rtsp://169.254.169.254/a"), IsOk());
  ExpectFailure(v1::PROBE_STEP_DNS, "cloud metadata", "allow_networks");
  EXPECT_EQ(port_.connections(), 0);
  EXPECT_EQ(camera_.connections(), 0);
  policy_.allow_loopback = false;
  EXPECT_THAT(Probe("rtsp://127.0.0.1/a"), IsOk());
  ExpectFailure(v1::PROBE_STEP_DNS, "loopback", "allow_networks");
  EXPECT_EQ(port_.connections(), 0);
}

TEST_F(SourceProbeTest, APortThatRefusesIsTheLastStep) {
  port_.opens = absl::UnavailableError("the connection was refused");
  EXPECT_THAT(Probe(), IsOk());
  EXPECT_THAT(Steps(), ElementsAre(v1::PROBE_STEP_DNS, v1::PROBE_STEP_TCP));
  ExpectFailure(v1::PROBE_STEP_TCP, "refused", "8554");
  EXPECT_EQ(camera_.connections(), 0);
}

TEST_F(SourceProbeTest, TlsIsAskedForAndTold) {
  SendMjpeg(GoodPicture(), GoodPicture());
  EXPECT_THAT(Probe("rtsps://127.0.0.1/a"), IsOk());
  EXPECT_TRUE(port_.target().tls);
  EXPECT_EQ(port_.target().port, 322);
  EXPECT_EQ(steps_[1].detail(), "port 322 is open and speaks TLS");
  port_.opens = absl::FailedPreconditionError("no TLS");
  EXPECT_THAT(Probe("rtsps://127.0.0.1/a"), IsOk());
  ExpectFailure(v1::PROBE_STEP_TCP, "no TLS", "Use rtsp://");
}

TEST_F(SourceProbeTest, WhatIsNoRtspServerIsToldSo) {
  port_.answers = {"HTTP/1.0 400 Bad Request\r\n\r\n"};
  EXPECT_THAT(Probe(), IsOk());
  ExpectFailure(v1::PROBE_STEP_RTSP, "a web server", "554");
  EXPECT_EQ(camera_.connections(), 0);
}

TEST_F(SourceProbeTest, APacketSourcesErrorsAreLoginOrCodec) {
  const struct {
    absl::Status status;
    v1::ProbeStep step;
    const char* hint;
  } cases[] = {
      {absl::UnauthenticatedError("refused (401)"), v1::PROBE_STEP_AUTH,
       "lock out"},
      {absl::NotFoundError("no such path (404)"), v1::PROBE_STEP_AUTH, "path"},
      {absl::ResourceExhaustedError("another session (453)"),
       v1::PROBE_STEP_AUTH, "sessions"},
      {absl::DeadlineExceededError("too slow"), v1::PROBE_STEP_AUTH, "slowly"},
      {absl::UnavailableError("closed at rtsp://u:canary@h/"),
       v1::PROBE_STEP_AUTH, "restart"},
      {absl::FailedPreconditionError("no video track"), v1::PROBE_STEP_CODEC,
       "sound"},
      {absl::UnimplementedError("the codec vp8"), v1::PROBE_STEP_CODEC,
       "H.264"},
  };
  for (const auto& c : cases) {
    FakePort port = port_;
    camera_.AnswerOpen(c.status);
    EXPECT_THAT(Probe(), IsOk());
    ExpectFailure(c.step, std::string(c.status.message()).substr(0, 6), c.hint);
    EXPECT_EQ(steps_.size(), c.step == v1::PROBE_STEP_AUTH ? 4u : 5u);
    port_ = port;
  }
}

TEST_F(SourceProbeTest, TheTimeBetweenKeyframesIsMeasured) {
  camera_.AnswerOpen(VideoParameters{.codec = Codec::kMpeg4, .extradata = ""});
  // A late join: the first picture is no keyframe.
  Send("p", false, 10);
  Send("i", true, 10.5);
  for (int k = 1; k < 8; ++k) Send("p", false, 10.5 + k);
  Send("i", true, 18.5);
  EXPECT_THAT(Probe(), IsOk());
  const auto& gop = steps_[6];
  EXPECT_EQ(gop.step(), v1::PROBE_STEP_GOP);
  EXPECT_TRUE(gop.ok());
  EXPECT_EQ(gop.detail(), "8.00 s between keyframes, 8 pictures");
  EXPECT_THAT(gop.hint(), HasSubstr("mode exact"));
}

TEST_F(SourceProbeTest, AGopThatIsLongerThanTheWaitIsNoFailure) {
  options_.pictures_timeout = absl::Milliseconds(300);
  Send(OtherSlice(), false, 1);
  Send(IdrSlice(), true, 1.04);
  Send(OtherSlice(), false, 1.08);
  EXPECT_THAT(Probe(), IsOk());
  const auto& gop = steps_[6];
  EXPECT_EQ(gop.step(), v1::PROBE_STEP_GOP);
  EXPECT_TRUE(gop.ok());
  EXPECT_THAT(gop.detail(), AllOf(HasSubstr("longer than 0."),
                                  HasSubstr("2 pictures and no second")));
  EXPECT_THAT(gop.hint(), HasSubstr("mode exact"));
  // There was no picture in these slices.
  ExpectFailure(v1::PROBE_STEP_DECODE, "", "bit rate");
}

TEST_F(SourceProbeTest, ACameraWithoutKeyframesIsToldSo) {
  options_.pictures_timeout = absl::Milliseconds(300);
  Send(OtherSlice(), false, 1);
  Send(OtherSlice(), false, 2);
  EXPECT_THAT(Probe(), IsOk());
  ExpectFailure(v1::PROBE_STEP_KEYFRAME, "2 pictures in 300ms, and none",
                "sampling_mode full");
}

TEST_F(SourceProbeTest, ACameraThatSendsNothingIsToldSo) {
  options_.pictures_timeout = absl::Milliseconds(300);
  EXPECT_THAT(Probe(), IsOk());
  ExpectFailure(v1::PROBE_STEP_KEYFRAME, "no picture for 300ms", "bit rate");
}

TEST_F(SourceProbeTest, AConnectionThatIsLostEndsTheProbeWhereItIs) {
  Send(OtherSlice(), false, 1);
  camera_.Fail(absl::UnavailableError("the camera ended the stream"));
  EXPECT_THAT(Probe(), IsOk());
  ExpectFailure(v1::PROBE_STEP_KEYFRAME, "ended", "keep sending");
  port_ = FakePort();
  port_.answers = {"RTSP/1.0 200 OK\r\n\r\n", "RTSP/1.0 200 OK\r\n\r\n"};
  Send(IdrSlice(), true, 1);
  camera_.Fail(absl::UnavailableError("the camera ended the stream"));
  EXPECT_THAT(Probe(), IsOk());
  ExpectFailure(v1::PROBE_STEP_GOP, "ended", "keep sending");
}

TEST_F(SourceProbeTest, TheFirstKeyframeWillDoWhereTheSecondIsDamaged) {
  SendMjpeg(GoodPicture(), "no JPEG");
  EXPECT_THAT(Probe(), IsOk());
  EXPECT_EQ(Last().step(), v1::PROBE_STEP_LUMA);
  EXPECT_TRUE(Last().ok());
}

TEST_F(SourceProbeTest, PicturesThatCannotBeDecodedFail) {
  SendMjpeg("no JPEG", "no JPEG");
  EXPECT_THAT(Probe(), IsOk());
  ExpectFailure(v1::PROBE_STEP_DECODE, "", "damaged");
}

TEST_F(SourceProbeTest, ADoubtfulPictureIsWellWithAHint) {
  const std::string dark = Jpeg([](int x, int) { return x % 12; });
  SendMjpeg(dark, dark);
  EXPECT_THAT(Probe(), IsOk());
  EXPECT_EQ(Last().step(), v1::PROBE_STEP_LUMA);
  EXPECT_TRUE(Last().ok());
  EXPECT_THAT(Last().detail(), HasSubstr("too dark"));
  EXPECT_THAT(Last().hint(), HasSubstr("too dark"));
}

TEST_F(SourceProbeTest, EndsSoonAfterTheCallerHasGone) {
  std::atomic<bool> gone = false;
  std::thread caller([&] {
    EXPECT_TRUE(camera_.WaitForConnections(1));
    EXPECT_TRUE(camera_.WaitUntilRead());
    gone = true;
  });
  EXPECT_THAT(Probe("rtsp://127.0.0.1/a", [&] { return gone.load(); }),
              StatusIs(absl::StatusCode::kCancelled));
  caller.join();
  EXPECT_EQ(Steps().size(), 5u);
  EXPECT_EQ(camera_.closed(), 1);
}

}  // namespace
}  // namespace camherd::capture
