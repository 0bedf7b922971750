// SPDX-License-Identifier: Apache-2.0
#include "services/capture/source_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/capture/libav_connection.h"
#include "services/capture/libav_packet_source.h"
#include "tests/support/rtsp_server.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

// The probe against real RTSP servers, good and bad ones.
namespace camherd::capture {
namespace {

using ::camherd::testing::HaveRtspCamera;
using ::camherd::testing::IsOk;
using ::camherd::testing::RtspServer;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kPassword[] = "p@ss:w/rd-canary";

class SourceProbeIntegrationTest : public ::testing::Test {
 protected:
  SourceProbeIntegrationTest() {
    options_.connect_timeout = absl::Seconds(5);
    options_.pictures_timeout = absl::Seconds(8);
    options_.stall_timeout = absl::Seconds(5);
  }

  // The steps of a probe, which must have run to its end.
  const std::vector<v1::ProbeSourceResponse>& Probe(
      const std::string& url, const std::string& user = "admin",
      const std::string& password = kPassword) {
    Clock& clock = Clock::Real();
    const AddressPolicy policy = AddressPolicy::Create({}).value();
    SourceProbe probe(options_, policy, MakeLibavConnections(clock),
                      MakeLibavPacketSources(policy, clock), clock);
    steps_.clear();
    EXPECT_THAT(
        probe.Probe(
            {.url = CameraUrl::Parse(url, user, password).value(),
             .tls_verify = tls_verify_},
            [this](v1::ProbeSourceResponse step) {
              for (const std::string& text : {step.detail(), step.hint()}) {
                EXPECT_THAT(text, AllOf(Not(HasSubstr("canary")),
                                        Not(HasSubstr("p%40ss"))));
              }
              steps_.push_back(std::move(step));
            },
            [] { return false; }),
        IsOk());
    EXPECT_FALSE(steps_.empty());
    return steps_;
  }
  const std::vector<v1::ProbeSourceResponse>& ProbeFault(
      const std::vector<std::string>& fault) {
    server_ =
        std::make_unique<RtspServer>(CAMHERD_RTSP_DIR, "misbehave.py", fault);
    EXPECT_NE(server_->port(), 0);
    return Probe(server_->Url("cam?token=canary"));
  }

  void ExpectFailure(v1::ProbeStep step, const std::string& detail) {
    ASSERT_FALSE(steps_.empty());
    const v1::ProbeSourceResponse& last = steps_.back();
    EXPECT_EQ(last.step(), step) << last.detail();
    EXPECT_FALSE(last.ok()) << last.detail();
    EXPECT_THAT(last.detail(), HasSubstr(detail));
    EXPECT_THAT(last.hint(), Not(IsEmpty()));
  }
  // All nine are well; returns the one of this kind.
  v1::ProbeSourceResponse Good(v1::ProbeStep wanted) {
    EXPECT_EQ(steps_.size(), 9u)
        << steps_.back().detail() << " " << steps_.back().hint();
    for (const auto& step : steps_) {
      EXPECT_TRUE(step.ok()) << step.detail();
      if (step.step() == wanted) return step;
    }
    ADD_FAILURE() << "no " << v1::ProbeStep_Name(wanted);
    return {};
  }

  SourceProbe::Options options_;
  bool tls_verify_ = true;
  std::unique_ptr<RtspServer> server_;
  std::vector<v1::ProbeSourceResponse> steps_;
};

TEST_F(SourceProbeIntegrationTest, AnUnknownHostFailsAtDns) {
  Probe("rtsp://nosuch.invalid/cam");
  ExpectFailure(v1::PROBE_STEP_DNS, "nosuch.invalid");
}

TEST_F(SourceProbeIntegrationTest, ARefusedConnectionFailsAtTcp) {
  ProbeFault({"refuse"});
  ExpectFailure(v1::PROBE_STEP_TCP, "refused");
}

TEST_F(SourceProbeIntegrationTest, ASilentCameraFailsAtRtspInTime) {
  options_.connect_timeout = absl::Seconds(1);
  const absl::Duration begin = Clock::Real().SteadyNow();
  ProbeFault({"silent"});
  ExpectFailure(v1::PROBE_STEP_RTSP, "did not answer");
  EXPECT_GE(steps_.back().elapsed_seconds(), 0.9);
  EXPECT_LE(Clock::Real().SteadyNow() - begin, absl::Seconds(4));
}

TEST_F(SourceProbeIntegrationTest, ACameraThatClosesFailsAtRtsp) {
  ProbeFault({"close"});
  ExpectFailure(v1::PROBE_STEP_RTSP, "closed");
}

TEST_F(SourceProbeIntegrationTest, WhatIsNoRtspFailsAtRtsp) {
  ProbeFault({"garbage"});
  ExpectFailure(v1::PROBE_STEP_RTSP, "no RTSP server");
}

TEST_F(SourceProbeIntegrationTest, ADescriptionWithoutEndIsGivenUp) {
  ProbeFault({"endless-sdp"});
  ExpectFailure(v1::PROBE_STEP_AUTH, "more than 4 MiB");
}

TEST_F(SourceProbeIntegrationTest, RefusalsFailAtAuthWithTheirCode) {
  for (const char* code : {"401", "403", "404", "453", "500"}) {
    ProbeFault({"status", "--code", code});
    ExpectFailure(v1::PROBE_STEP_AUTH, code);
  }
  ProbeFault({"status", "--code", "453", "--method", "SETUP"});
  ExpectFailure(v1::PROBE_STEP_AUTH, "453");
}

TEST_F(SourceProbeIntegrationTest, ARedirectToAForbiddenAddressIsRefused) {
  ProbeFault({"redirect", "--target", "rtsp://169.254.169.254/cam"});
  ExpectFailure(v1::PROBE_STEP_AUTH, "metadata");
}

TEST_F(SourceProbeIntegrationTest, ACodecThatIsNotDecodedIsNamed) {
  ProbeFault({"sdp", "--encoding", "VP8"});
  ExpectFailure(v1::PROBE_STEP_CODEC, "vp8");
}

TEST_F(SourceProbeIntegrationTest, APlayThatSendsNothingFailsAtKeyframe) {
  options_.pictures_timeout = absl::Seconds(1);
  ProbeFault({"sdp", "--encoding", "H264"});
  ExpectFailure(v1::PROBE_STEP_KEYFRAME, "");
}

TEST_F(SourceProbeIntegrationTest, APortWithoutTlsFailsAtTcp) {
  RtspServer server(CAMHERD_RTSP_DIR, "misbehave.py", {"garbage"});
  Probe(absl::StrCat("rtsps://127.0.0.1:", server.port(), "/cam"));
  ExpectFailure(v1::PROBE_STEP_TCP, "TLS");
}

// A camera of gst-rtsp-server.
class RealCameraTest : public SourceProbeIntegrationTest {
 protected:
  static void SetUpTestSuite() {
    if (!HaveRtspCamera()) return;
    dir_ = new TempDir;
    const std::string video = *dir_ / "video.mp4";
    const std::string command = absl::StrCat(
        "ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=s=320x240:r=25:d=8 "
        "-c:v libx264 -preset ultrafast -pix_fmt yuv420p '",
        video, "'");
    if (std::system(command.c_str()) != 0) return;
    setenv("CAM_PASSWORD", kPassword, 1);
    std::vector<std::string> arguments = {"--cache", *dir_ / "cache", "--auth",
                                          "digest"};
    for (const char* mount :
         {"h264,codec=h264,gop=1", "h265,codec=h265,gop=1", "mjpeg,codec=mjpeg",
          "audio,codec=audio", "long,codec=h264,gop=8",
          "dark,codec=h264,gop=1"}) {
      const std::string filter = absl::string_view(mount).substr(0, 4) == "dark"
                                     ? ",filter=lutyuv=y=16+val*0.03"
                                     : "";
      arguments.push_back("--mount");
      arguments.push_back(absl::StrCat(mount, ",video=", video, filter));
    }
    camera_ = new RtspServer(CAMHERD_RTSP_DIR, "camera.py", arguments);
  }
  static void TearDownTestSuite() {
    delete std::exchange(camera_, nullptr);
    delete std::exchange(dir_, nullptr);
  }
  void SetUp() override {
    if (camera_ == nullptr || camera_->port() == 0) {
      GTEST_SKIP() << "gst-rtsp-server or ffmpeg is not installed";
    }
  }

  static TempDir* dir_;
  static RtspServer* camera_;
};

TempDir* RealCameraTest::dir_ = nullptr;
RtspServer* RealCameraTest::camera_ = nullptr;

TEST_F(RealCameraTest, EachCodecIsWellFromDnsToLuma) {
  for (const auto& [path, codec] :
       {std::pair{"h264", "H.264"}, std::pair{"h265", "H.265"},
        std::pair{"mjpeg", "MJPEG"}}) {
    Probe(camera_->Url(path));
    EXPECT_THAT(Good(v1::PROBE_STEP_RTSP).detail(),
                AllOf(HasSubstr("GStreamer"), HasSubstr("401"),
                      HasSubstr("asks for digest")));
    EXPECT_EQ(Good(v1::PROBE_STEP_AUTH).detail(), "it lets us in by digest");
    EXPECT_EQ(Good(v1::PROBE_STEP_CODEC).detail(), codec);
    EXPECT_EQ(Good(v1::PROBE_STEP_DECODE).detail(), "320 x 240 pixels");
    EXPECT_THAT(Good(v1::PROBE_STEP_LUMA).detail(), HasSubstr(": good"));
    const std::string gop = Good(v1::PROBE_STEP_GOP).detail();
    if (std::string(path) == "mjpeg") {
      EXPECT_THAT(gop, HasSubstr("every picture is a keyframe"));
    } else {
      // One second by the camera's clock.
      EXPECT_THAT(gop, AllOf(AnyOf(HasSubstr("0.9"), HasSubstr("1.0"),
                                   HasSubstr("1.1")),
                             HasSubstr("between keyframes, 25 pictures")));
    }
    EXPECT_THAT(Good(v1::PROBE_STEP_GOP).hint(), IsEmpty());
  }
}

TEST_F(RealCameraTest, AWrongOrMissingPasswordFailsAtAuth) {
  Probe(camera_->Url("h264"), "admin", "wrong-canary");
  ExpectFailure(v1::PROBE_STEP_AUTH, "refused the user name or password");
  EXPECT_THAT(steps_.back().hint(), HasSubstr("Check user and password"));
  Probe(camera_->Url("h264"), "", "");
  ExpectFailure(v1::PROBE_STEP_AUTH, "wants a user name");
  EXPECT_THAT(steps_.back().hint(), HasSubstr("Give user and password"));
}

TEST_F(RealCameraTest, AnUnknownPathFailsAtAuth) {
  Probe(camera_->Url("no-such-path"));
  ExpectFailure(v1::PROBE_STEP_AUTH, "404");
}

TEST_F(RealCameraTest, SoundAloneFailsAtCodec) {
  Probe(camera_->Url("audio"));
  ExpectFailure(v1::PROBE_STEP_CODEC, "no video");
}

TEST_F(RealCameraTest, ALongGopIsToldWithWhatItCosts) {
  options_.pictures_timeout = absl::Seconds(2);
  Probe(camera_->Url("long"));
  const v1::ProbeSourceResponse gop = Good(v1::PROBE_STEP_GOP);
  EXPECT_THAT(gop.detail(), HasSubstr("longer than"));
  EXPECT_THAT(gop.hint(), HasSubstr("mode exact"));
}

TEST_F(RealCameraTest, ADarkPictureIsToldSo) {
  Probe(camera_->Url("dark"));
  EXPECT_THAT(Good(v1::PROBE_STEP_LUMA).detail(), HasSubstr("too dark"));
  EXPECT_THAT(Good(v1::PROBE_STEP_LUMA).hint(), Not(IsEmpty()));
}

TEST_F(RealCameraTest, ACertificateIsVerifiedAtTcp) {
  const std::string command = absl::StrCat(
      "cd '", dir_->path(),
      "' && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
      "-nodes -keyout camera.key -out camera.pem -days 30 -subj /CN=camera "
      "-addext subjectAltName=IP:127.0.0.1 >openssl.log 2>&1");
  if (std::system(command.c_str()) != 0) GTEST_SKIP() << "no openssl";
  RtspServer camera(
      CAMHERD_RTSP_DIR, "camera.py",
      {"--cache", *dir_ / "cache", "--tls-cert", *dir_ / "camera.pem",
       "--tls-key", *dir_ / "camera.key", "--mount",
       absl::StrCat("h264,codec=h264,gop=1,video=", *dir_ / "video.mp4")});
  const std::string url =
      absl::StrCat("rtsps://127.0.0.1:", camera.port(), "/h264");
  Probe(url, "", "");
  ExpectFailure(v1::PROBE_STEP_TCP, "certificate");
  EXPECT_THAT(steps_.back().hint(), HasSubstr("capture.tls_ca_file"));
  options_.tls_ca_file = *dir_ / "camera.pem";
  Probe(url, "", "");
  EXPECT_THAT(Good(v1::PROBE_STEP_TCP).detail(), HasSubstr("TLS"));
  options_.tls_ca_file = "";
  tls_verify_ = false;
  Probe(url, "", "");
  EXPECT_THAT(Good(v1::PROBE_STEP_TCP).detail(), HasSubstr("TLS"));
}

TEST_F(RealCameraTest, EndsSoonAfterTheCallerHasGone) {
  options_.pictures_timeout = absl::Seconds(60);
  Clock& clock = Clock::Real();
  const AddressPolicy policy = AddressPolicy::Create({}).value();
  SourceProbe probe(options_, policy, MakeLibavConnections(clock),
                    MakeLibavPacketSources(policy, clock), clock);
  std::atomic<bool> seen = false;
  absl::Duration gone;
  // After the first keyframe, while it waits for the second.
  EXPECT_THAT(
      probe.Probe(
          {.url = CameraUrl::Parse(camera_->Url("long"), "admin", kPassword)
                      .value()},
          [&](const v1::ProbeSourceResponse& step) {
            if (step.step() != v1::PROBE_STEP_KEYFRAME) return;
            gone = clock.SteadyNow();
            seen = true;
          },
          [&] { return seen.load(); }),
      StatusIs(absl::StatusCode::kCancelled));
  EXPECT_LE(clock.SteadyNow() - gone, absl::Seconds(3));
}

}  // namespace
}  // namespace camherd::capture
