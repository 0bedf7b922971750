// SPDX-License-Identifier: Apache-2.0
// The whole worker on a real camera: sampling per interval, states, stopping.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/capture/libav_packet_source.h"
#include "services/capture/spool_layout.h"
#include "services/capture/stream_worker.h"
#include "services/common/file.h"
#include "tests/support/grant_of.h"
#include "tests/support/rtsp_server.h"
#include "tests/support/temp_dir.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::GrantOf;
using ::camherd::testing::HaveRtspCamera;
using ::camherd::testing::RtspServer;
using ::camherd::testing::TempDir;

class RtspStreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HaveRtspCamera()) {
      GTEST_SKIP() << "gst-rtsp-server is not installed";
    }
    const std::string video = dir_ / "video.mp4";
    const std::string command = absl::StrCat(
        "ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=s=320x240:r=25:d=4 "
        "-c:v libx264 -preset ultrafast -pix_fmt yuv420p '",
        video, "'");
    if (std::system(command.c_str()) != 0) {
      GTEST_SKIP() << "the ffmpeg program is not installed";
    }
    std::vector<std::string> arguments = {"--cache", dir_ / "cache"};
    for (const char* mount : {"short,gop=0.4", "long,gop=2"}) {
      arguments.push_back("--mount");
      arguments.push_back(absl::StrCat(mount, ",video=", video));
    }
    // One GOP again and again, its keyframe of some 40 packets: each sample is
    // the same picture to the last bit.
    for (const char* mount : {"clean", "lossy,loss=0.02"}) {
      arguments.push_back("--mount");
      arguments.push_back(absl::StrCat(mount, ",gop=0.4,seconds=0.4,video=",
                                       video, ",filter=noise=alls=40:allf=p"));
    }
    camera_ =
        std::make_unique<RtspServer>(CAMHERD_RTSP_DIR, "camera.py", arguments);
    ASSERT_NE(camera_->port(), 0);
    StreamWorker::Options options;
    options.retry_initial = absl::Milliseconds(50);
    options.retry_max = absl::Milliseconds(200);
    options.stall_timeout = absl::Seconds(2);
    worker_ = std::make_unique<StreamWorker>(
        options,
        MakeLibavPacketSources(AddressPolicy::Create({}).value(),
                               Clock::Real()),
        [this](v1::FromWorker event) {
          if (event.has_connect_wanted()) worker_->Handle(GrantOf(event));
          absl::MutexLock lock(&mu_);
          Seen& seen = seen_[event.stream_id()];
          if (event.has_state()) seen.state = event.state();
          if (event.has_sample()) seen.samples.push_back(event.sample());
          if (event.has_missed()) {
            seen.missed[event.missed().reason()] += event.missed().count();
          }
          if (event.has_ended()) seen.ended = true;
        },
        Clock::Real());
  }

  void Assign(const std::string& path, double interval,
              v1::Transport transport = v1::TRANSPORT_TCP,
              v1::SamplingMode mode = v1::SAMPLING_MODE_AUTO) {
    v1::ToWorker message;
    v1::AssignStream& assign = *message.mutable_assign();
    assign.set_stream_id(path);
    assign.set_session_id("session");
    assign.set_url(camera_->Url(path));
    assign.set_transport(transport);
    assign.set_sampling_mode(mode);
    assign.set_interval_seconds(interval);
    assign.set_spool_dir(dir_ / path);
    assign.set_next_frame_seq(1);
    ASSERT_TRUE(MakeDirs(dir_ / path).ok());
    worker_->Handle(message);
  }

  struct Seen {
    v1::StateChanged state;
    std::vector<v1::SampleTaken> samples;
    std::map<std::string, int64_t> missed;
    bool ended = false;
  };
  bool WaitFor(const std::function<bool()>& done) {
    absl::MutexLock lock(&mu_);
    return mu_.AwaitWithTimeout(absl::Condition(&done), absl::Seconds(30));
  }

  TempDir dir_;
  std::unique_ptr<RtspServer> camera_;
  absl::Mutex mu_;
  std::map<std::string, Seen> seen_;
  std::unique_ptr<StreamWorker> worker_;
};

TEST_F(RtspStreamTest, EachIntervalYieldsOneNewPictureWhateverTheGop) {
  Assign("short", 0.5);
  Assign("long", 0.5);
  ASSERT_TRUE(WaitFor([this] {
    return seen_["short"].samples.size() >= 10 &&
           seen_["long"].samples.size() >= 10;
  }));
  worker_->Stop();
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(seen_["short"].samples.back().effective_mode(),
            v1::SAMPLING_MODE_KEYFRAME);
  EXPECT_EQ(seen_["long"].samples.back().effective_mode(),
            v1::SAMPLING_MODE_EXACT);
  for (const auto& [path, seen] : seen_) {
    EXPECT_TRUE(seen.ended) << path;
    std::set<int64_t> pts;
    std::set<std::string> hashes;
    for (const v1::SampleTaken& sample : seen.samples) {
      const v1::FrameInfo& frame = sample.frame();
      pts.insert(frame.pts());
      const auto jpeg =
          ReadFile(FrameFile(dir_ / path, frame.frame_seq()), 1 << 20);
      ASSERT_TRUE(jpeg.ok());
      EXPECT_EQ(Sha256(*jpeg), frame.sha256());
      EXPECT_EQ(frame.width(), 320);
    }
    EXPECT_EQ(pts.size(), seen.samples.size()) << path;
    // The interval is kept.
    const auto time = [](const v1::SampleTaken& s) {
      return static_cast<double>(s.frame().captured_at().seconds()) +
             s.frame().captured_at().nanos() * 1e-9;
    };
    const size_t n = seen.samples.size();
    EXPECT_NEAR((time(seen.samples[n - 1]) - time(seen.samples[1])) /
                    static_cast<double>(n - 2),
                0.5, 0.2)
        << path;
  }
}

TEST_F(RtspStreamTest, ACameraThatDiesIsSeenAndItsDueTimesAreMissed) {
  Assign("short", 0.2);
  ASSERT_TRUE(WaitFor([this] { return seen_["short"].samples.size() >= 2; }));
  camera_->Kill(SIGKILL);
  ASSERT_TRUE(WaitFor([this] {
    return seen_["short"].state.state() == v1::STREAM_STATE_RECONNECTING &&
           seen_["short"].missed["not_connected"] >= 3;
  }));
  absl::MutexLock lock(&mu_);
  EXPECT_FALSE(seen_["short"].state.reason().empty());
  EXPECT_EQ(seen_["short"].state.disconnects(), 1);
}

TEST_F(RtspStreamTest, OverLossyUdpNoDamagedPictureIsStored) {
  Assign("clean", 0.4, v1::TRANSPORT_UDP, v1::SAMPLING_MODE_KEYFRAME);
  ASSERT_TRUE(WaitFor([this] { return seen_["clean"].samples.size() >= 3; }));
  Assign("lossy", 0.4, v1::TRANSPORT_UDP, v1::SAMPLING_MODE_KEYFRAME);
  ASSERT_TRUE(WaitFor([this] {
    const auto& missed = seen_["lossy"].missed;
    const auto corrupt = missed.find("corrupt");
    return seen_["lossy"].samples.size() >= 10 && corrupt != missed.end() &&
           corrupt->second >= 5;
  })) << seen_["lossy"].samples.size();
  worker_->Stop();
  absl::MutexLock lock(&mu_);
  const std::string picture = seen_["clean"].samples[0].frame().sha256();
  for (const char* path : {"clean", "lossy"}) {
    for (const v1::SampleTaken& sample : seen_[path].samples) {
      EXPECT_EQ(sample.frame().sha256(), picture) << path;
    }
  }
}

TEST_F(RtspStreamTest, StopIsFastWhileTheCameraHangs) {
  Assign("short", 0.2);
  ASSERT_TRUE(WaitFor([this] { return !seen_["short"].samples.empty(); }));
  camera_->Kill(SIGSTOP);
  const absl::Duration begin = Clock::Real().SteadyNow();
  worker_->Stop();
  EXPECT_LT(Clock::Real().SteadyNow() - begin, absl::Seconds(3));
  absl::MutexLock lock(&mu_);
  EXPECT_TRUE(seen_["short"].ended);
}

}  // namespace
}  // namespace camherd::capture
