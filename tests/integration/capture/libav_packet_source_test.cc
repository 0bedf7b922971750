// SPDX-License-Identifier: Apache-2.0
#include "services/capture/libav_packet_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "services/capture/keyframe_kind.h"
#include "tests/support/rtsp_server.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::HaveRtspCamera;
using ::camherd::testing::IsOk;
using ::camherd::testing::RtspServer;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPassword[] = "p@ss:w/rd-canary";

std::unique_ptr<LibavPacketSource> Source(
    const std::string& url, PacketSource::Options options = {},
    const AddressPolicy::Options& policy = {}, const std::string& user = "",
    const std::string& password = "") {
  return std::make_unique<LibavPacketSource>(
      CameraUrl::Parse(url, user, password).value(), options,
      AddressPolicy::Create(policy).value(), Clock::Real());
}

PacketSource::Options Timeouts(double connect, double stall) {
  PacketSource::Options options;
  options.connect_timeout = absl::Seconds(connect);
  options.stall_timeout = absl::Seconds(stall);
  return options;
}

double SecondsOf(const std::function<void()>& call) {
  const absl::Duration begin = Clock::Real().SteadyNow();
  call();
  return absl::ToDoubleSeconds(Clock::Real().SteadyNow() - begin);
}

class BadCameraTest : public ::testing::Test {
 protected:
  // What Open answers from a camera of this fault; with a password, so that
  // no message may hold it.
  absl::Status Open(const std::vector<std::string>& fault,
                    PacketSource::Options options = Timeouts(5, 2)) {
    server_ =
        std::make_unique<RtspServer>(CAMHERD_RTSP_DIR, "misbehave.py", fault);
    EXPECT_NE(server_->port(), 0);
    source_ = Source(server_->Url("cam?token=canary"), options, {}, "admin",
                     kPassword);
    const absl::Status status = source_->Open().status();
    EXPECT_THAT(std::string(status.message()),
                AllOf(Not(HasSubstr("canary")), Not(HasSubstr("p%40ss"))));
    return status;
  }

  std::unique_ptr<RtspServer> server_;
  std::unique_ptr<LibavPacketSource> source_;
};

TEST_F(BadCameraTest, ARefusedConnectionIsUnavailableAtOnce) {
  EXPECT_THAT(Open({"refuse"}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("refused")));
}

TEST_F(BadCameraTest, ASilentCameraEndsAtTheDeadline) {
  const double seconds = SecondsOf([&] {
    EXPECT_THAT(Open({"silent"}, Timeouts(1.5, 1)),
                StatusIs(absl::StatusCode::kDeadlineExceeded,
                         HasSubstr("did not answer within 1.5s")));
  });
  EXPECT_GE(seconds, 1.4);
  EXPECT_LE(seconds, 4.0);
}

TEST_F(BadCameraTest, ACameraThatClosesIsUnavailable) {
  EXPECT_THAT(Open({"close"}), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(BadCameraTest, WhatIsNoRtspIsNotTakenForACameraWithoutVideo) {
  const absl::Status status = Open({"garbage"}, Timeouts(2, 1));
  EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status))
      << status;
}

TEST_F(BadCameraTest, StatusCodesBecomeStates) {
  EXPECT_THAT(Open({"status", "--code", "401"}),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("user name or password (401)")));
  EXPECT_THAT(Open({"status", "--code", "403"}),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("403")));
  EXPECT_THAT(Open({"status", "--code", "404"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("404")));
  for (const char* code : {"453", "455", "503"}) {
    EXPECT_THAT(
        Open({"status", "--code", code, "--method", "SETUP"}),
        StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(code)));
  }
  EXPECT_THAT(Open({"status", "--code", "500"}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("500")));
}

TEST_F(BadCameraTest, ACodecThatIsNotDecodedIsNamed) {
  EXPECT_THAT(Open({"sdp", "--encoding", "VP8"}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("vp8")));
  EXPECT_THAT(Open({"sdp", "--encoding", "AV1"}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("AV1")));
}

TEST_F(BadCameraTest, ARedirectLoopEnds) {
  const double seconds = SecondsOf([&] {
    EXPECT_THAT(Open({"redirect-loop"}, Timeouts(20, 1)),
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr("redirected more than 5 times")));
  });
  EXPECT_LE(seconds, 10);
}

TEST_F(BadCameraTest, ARedirectToAForbiddenAddressIsRefused) {
  EXPECT_THAT(
      Open({"redirect", "--target", "rtsp://169.254.169.254/cam"}),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("metadata")));
}

TEST_F(BadCameraTest, AnEndlessDescriptionEndsAtTheDeadline) {
  EXPECT_THAT(Open({"endless-sdp"}, Timeouts(1.5, 1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(BadCameraTest, CancelEndsABlockedOpenSoon) {
  RtspServer server(CAMHERD_RTSP_DIR, "misbehave.py", {"silent"});
  const auto source = Source(server.Url("cam"), Timeouts(60, 60));
  absl::Status status;
  std::thread opener([&] { status = source->Open().status(); });
  // Cancelled before, during or after it has begun: it ends all the same.
  const double seconds = SecondsOf([&] {
    source->Cancel();
    opener.join();
  });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_LE(seconds, 3);
  EXPECT_THAT(source->Read(), StatusIs(absl::StatusCode::kCancelled));
}

TEST(AddressTest, ADeniedAddressIsNotConnectedTo) {
  EXPECT_THAT(
      Source("rtsp://127.0.0.1:1/cam", {}, {.allow_loopback = false})->Open(),
      StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(Source("rtsp://169.254.169.254/latest")->Open(),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

// A camera of gst-rtsp-server.
class CameraTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!HaveRtspCamera()) return;
    dir_ = new TempDir;
    const std::string video = *dir_ / "video.mp4";
    const std::string command = absl::StrCat(
        "ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=s=320x240:r=25:d=4 "
        "-c:v libx264 -preset ultrafast -pix_fmt yuv420p '",
        video, "'");
    if (std::system(command.c_str()) != 0) return;
    setenv("CAM_PASSWORD", kPassword, 1);
    std::vector<std::string> arguments = {"--cache", *dir_ / "cache", "--auth",
                                          "digest"};
    for (const char* mount : {"h264,codec=h264,gop=1", "h265,codec=h265,gop=1",
                              "mjpeg,codec=mjpeg", "audio,codec=audio"}) {
      arguments.push_back("--mount");
      arguments.push_back(absl::StrCat(mount, ",video=", video));
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

  std::unique_ptr<LibavPacketSource> Connect(
      const std::string& path, PacketSource::Options options = {}) {
    return Source(camera_->Url(path), options, {}, "admin", kPassword);
  }

  static TempDir* dir_;
  static RtspServer* camera_;
};

TempDir* CameraTest::dir_ = nullptr;
RtspServer* CameraTest::camera_ = nullptr;

TEST_F(CameraTest, EachCodecComesAsWholeAccessUnitsWithItsKeyframes) {
  for (const auto& [path, codec] :
       {std::pair{"h264", Codec::kH264}, std::pair{"h265", Codec::kH265},
        std::pair{"mjpeg", Codec::kMjpeg}}) {
    const auto source = Connect(path);
    const absl::StatusOr<VideoParameters> parameters = source->Open();
    ASSERT_THAT(parameters, IsOk()) << path;
    EXPECT_EQ(parameters->codec, codec);
    EXPECT_EQ(source->local_ip(), "127.0.0.1");
    int keyframes = 0;
    int64_t bytes = 0;
    absl::Duration last = -absl::InfiniteDuration();
    for (int i = 0; i < 40; ++i) {
      const absl::StatusOr<AccessUnit> unit = source->Read();
      ASSERT_THAT(unit, IsOk()) << path;
      const KeyframeKind kind =
          ClassifyKeyframe(codec, *unit->data, unit->keyframe);
      keyframes += kind == KeyframeKind::kNone ? 0 : 1;
      bytes += static_cast<int64_t>(unit->data->size());
      EXPECT_GE(unit->arrival, last);
      last = unit->arrival;
    }
    EXPECT_GE(source->received_bytes(), bytes);
    if (codec == Codec::kMjpeg) {
      EXPECT_EQ(keyframes, 40);
    } else {
      EXPECT_GE(keyframes, 1) << path;
      EXPECT_LE(keyframes, 3) << path;
    }
  }
}

TEST_F(CameraTest, UdpWorksWhereItIsAskedFor) {
  PacketSource::Options options;
  options.transport = v1::TRANSPORT_UDP;
  const auto source = Connect("h264", options);
  ASSERT_THAT(source->Open(), IsOk());
  EXPECT_THAT(source->Read(), IsOk());
}

TEST_F(CameraTest, AWrongOrMissingPasswordIsUnauthenticated) {
  EXPECT_THAT(
      Source(camera_->Url("h264"), {}, {}, "admin", "wrong-canary")->Open(),
      StatusIs(
          absl::StatusCode::kUnauthenticated,
          AllOf(HasSubstr("refused the user name"), Not(HasSubstr("canary")))));
  EXPECT_THAT(Source(camera_->Url("h264"))->Open(),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("wants a user name")));
}

TEST_F(CameraTest, AnUnknownPathIsNotFound) {
  EXPECT_THAT(Connect("no-such-path")->Open(),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(CameraTest, ACameraWithSoundOnlyHasNoVideo) {
  EXPECT_THAT(
      Connect("audio")->Open(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no video")));
}

TEST_F(CameraTest, CancelEndsABlockedReadSoon) {
  const auto source = Connect("h264");
  ASSERT_THAT(source->Open(), IsOk());
  ASSERT_THAT(source->Read(), IsOk());
  camera_->Kill(SIGSTOP);
  std::thread canceller([&] { source->Cancel(); });
  const double seconds = SecondsOf([&] {
    while (source->Read().ok()) {
    }
  });
  camera_->Kill(SIGCONT);
  canceller.join();
  EXPECT_LE(seconds, 3);
}

TEST_F(CameraTest, AStallIsSeenAfterOneTimeoutNotTwo) {
  RtspServer stall(
      CAMHERD_RTSP_DIR, "misbehave.py",
      {"stall", "--target", std::to_string(camera_->port()), "--seconds", "1"});
  const auto source =
      Source(stall.Url("h264"), Timeouts(10, 2), {}, "admin", kPassword);
  ASSERT_THAT(source->Open(), IsOk());
  absl::StatusOr<AccessUnit> unit = absl::UnknownError("");
  absl::Duration last;
  do {
    last = Clock::Real().SteadyNow();
    unit = source->Read();
  } while (unit.ok());
  const double seconds =
      absl::ToDoubleSeconds(Clock::Real().SteadyNow() - last);
  EXPECT_THAT(unit, StatusIs(absl::StatusCode::kDeadlineExceeded,
                             HasSubstr("no picture for 2s")));
  EXPECT_GE(seconds, 1.9);
  EXPECT_LE(seconds, 3.5);
}

TEST_F(CameraTest, AConnectionThatIsCutIsUnavailable) {
  RtspServer cut(
      CAMHERD_RTSP_DIR, "misbehave.py",
      {"cut", "--target", std::to_string(camera_->port()), "--seconds", "1"});
  const auto source =
      Source(cut.Url("h264"), Timeouts(10, 5), {}, "admin", kPassword);
  ASSERT_THAT(source->Open(), IsOk());
  absl::StatusOr<AccessUnit> unit = absl::UnknownError("");
  do {
    unit = source->Read();
  } while (unit.ok());
  EXPECT_THAT(unit, StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace camherd::capture
