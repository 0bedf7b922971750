// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "services/capture/jpeg_encoder.h"
#include "services/capture/spool_layout.h"
#include "tests/support/fake_camera.h"
#include "tests/support/fake_clock.h"
#include "tests/support/grant_of.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::FakeCamera;
using ::camherd::testing::FakeClock;
using ::camherd::testing::GrantOf;
using ::camherd::testing::TempDir;
using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(20);

// A JPEG, which is what an MJPEG camera sends.
std::shared_ptr<const std::string> AnyJpeg() {
  static const auto jpeg = [] {
    static const std::vector<uint8_t> grey(64 * 48, 100);
    Picture picture;
    picture.width = 64;
    picture.height = 48;
    picture.chroma = Picture::Chroma::k444;
    for (int i = 0; i < 3; ++i) {
      picture.planes[i] = grey.data();
      picture.strides[i] = 64;
    }
    return std::make_shared<const std::string>(
        JpegEncoder(85).Encode(picture).value().data);
  }();
  return jpeg;
}

// What a stream's supervisor would see.
class StreamWorkerTest : public ::testing::Test {
 protected:
  static StreamWorker::Options Quick() {
    StreamWorker::Options options;
    options.decode_threads = 2;
    options.retry_initial = absl::Milliseconds(20);
    options.retry_max = absl::Milliseconds(50);
    options.retry_slow = absl::Milliseconds(30);
    return options;
  }
  void Start(const StreamWorker::Options& options = Quick(),
             Clock& clock = Clock::Real()) {
    worker_ = std::make_unique<StreamWorker>(
        options, camera_.Sources(),
        [this](v1::FromWorker event) { OnEvent(event); }, clock);
  }

  void TearDown() override {
    if (worker_ != nullptr) worker_->Stop();
    absl::MutexLock lock(&mu_);
    for (const auto& [id, stream] : streams_) {
      EXPECT_TRUE(stream.ended) << id;
    }
  }

  v1::AssignStream Assignment(const std::string& id = "s1") {
    v1::AssignStream assign;
    assign.set_stream_id(id);
    assign.set_session_id("session");
    assign.set_url("rtsp://127.0.0.1:8554/demo");
    assign.set_interval_seconds(0.1);
    assign.set_sampling_mode(v1::SAMPLING_MODE_KEYFRAME);
    assign.set_spool_dir(dir_.path());
    assign.set_next_frame_seq(1);
    return assign;
  }
  void Assign(const v1::AssignStream& assign) {
    v1::ToWorker message;
    *message.mutable_assign() = assign;
    worker_->Handle(message);
  }
  void Revoke(const std::string& id = "s1") {
    v1::ToWorker message;
    message.mutable_revoke()->set_stream_id(id);
    worker_->Handle(message);
  }
  void Pause(bool paused) {
    v1::ToWorker message;
    message.mutable_pause()->set_stream_id("s1");
    message.mutable_pause()->set_paused(paused);
    message.mutable_pause()->set_reason("spool_full");
    worker_->Handle(message);
  }

  void SendPicture() {
    AccessUnit unit;
    unit.data = AnyJpeg();
    unit.keyframe = true;
    unit.arrival = Clock::Real().SteadyNow();
    unit.wall = Clock::Real().Now();
    camera_.Send(std::move(unit));
  }
  // Sends pictures until the condition holds.
  bool SendUntil(const std::function<bool()>& done) {
    const absl::Duration deadline = Clock::Real().SteadyNow() + kPatience;
    while (Clock::Real().SteadyNow() < deadline) {
      {
        absl::MutexLock lock(&mu_);
        if (done()) return true;
      }
      SendPicture();
      absl::MutexLock lock(&mu_);
      mu_.AwaitWithTimeout(absl::Condition(&done), absl::Milliseconds(30));
    }
    return false;
  }
  bool WaitFor(const std::function<bool()>& done) {
    absl::MutexLock lock(&mu_);
    return mu_.AwaitWithTimeout(absl::Condition(&done), kPatience);
  }
  bool WaitForState(v1::StreamState state) {
    return WaitFor([this, state] { return s().state.state() == state; });
  }

  struct Seen {
    v1::StateChanged state;
    std::vector<v1::StateChanged> states;
    std::vector<v1::SampleTaken> samples;
    std::map<std::string, int64_t> missed;
    std::vector<v1::FromWorker> wanted;
    size_t closed = 0;
    bool ended = false;
  };
  // REQUIRES: mu_ held.
  Seen& s(const std::string& id = "s1") { return streams_[id]; }

  void Grant(const v1::FromWorker& wanted) { worker_->Handle(GrantOf(wanted)); }

  void OnEvent(const v1::FromWorker& event) {
    if (event.has_connect_wanted() && grants_) Grant(event);
    absl::MutexLock lock(&mu_);
    Seen& seen = streams_[event.stream_id()];
    EXPECT_FALSE(seen.ended && !allow_restart_) << "an event after the end";
    switch (event.message_case()) {
      case v1::FromWorker::kState:
        seen.state = event.state();
        seen.states.push_back(event.state());
        seen.ended = false;
        break;
      case v1::FromWorker::kSample: {
        // The file has its final name by now.
        EXPECT_TRUE(std::filesystem::exists(
            FrameFile(dir_.path(), event.sample().frame().frame_seq())));
        seen.samples.push_back(event.sample());
        const auto go = [this] { return !hold_samples_; };
        mu_.Await(absl::Condition(&go));
        break;
      }
      case v1::FromWorker::kMissed:
        EXPECT_GT(event.missed().count(), 0);
        seen.missed[event.missed().reason()] += event.missed().count();
        break;
      case v1::FromWorker::kEnded:
        seen.ended = true;
        break;
      case v1::FromWorker::kConnectWanted:
        // No two tries at once.
        EXPECT_EQ(seen.closed, seen.wanted.size());
        seen.wanted.push_back(event);
        break;
      case v1::FromWorker::kConnectionClosed:
        ++seen.closed;
        EXPECT_EQ(event.connection_closed().request(),
                  seen.wanted.back().connect_wanted().request());
        break;
      case v1::FromWorker::kPong:
      case v1::FromWorker::kCrashed:
      case v1::FromWorker::kProbeStep:
      case v1::FromWorker::kProbeEnded:
      case v1::FromWorker::MESSAGE_NOT_SET:
        ADD_FAILURE() << "an empty event";
    }
  }

  // Holds the only decoding thread at the first of six samples and revokes the
  // stream; goes on when `passed` has passed, and waits for the end.
  void EndWithFiveWaiting(absl::Duration passed) {
    hold_samples_ = true;
    StreamWorker::Options options = Quick();
    options.decode_threads = 1;
    Start(options, clock_);
    camera_.AnswerOpen(Mjpeg());
    Assign(Assignment());
    ASSERT_TRUE(camera_.WaitForConnections(1));
    for (int i = 0; i < 6; ++i) {
      clock_.Advance(absl::Milliseconds(100));
      AccessUnit unit;
      unit.data = AnyJpeg();
      unit.keyframe = true;
      unit.arrival = clock_.SteadyNow();
      unit.wall = clock_.Now();
      camera_.Send(std::move(unit));
      ASSERT_TRUE(camera_.WaitUntilRead());
      ASSERT_TRUE(WaitFor([this] { return s().samples.size() == 1; }));
    }
    Revoke();
    clock_.Advance(passed);
    {
      absl::MutexLock lock(&mu_);
      hold_samples_ = false;
    }
    ASSERT_TRUE(WaitFor([this] { return s().ended; }));
    worker_->Stop();
  }

  static VideoParameters Mjpeg() {
    return {.codec = Codec::kMjpeg, .extradata = ""};
  }

  TempDir dir_;
  FakeCamera camera_;
  // Of the tests that move time themselves.
  FakeClock clock_;
  absl::Mutex mu_;
  std::map<std::string, Seen> streams_;
  bool allow_restart_ = false;
  // Each connect is granted at once.
  std::atomic<bool> grants_ = true;
  // Whoever tells of a sample waits.
  bool hold_samples_ = false;
  // Last: it ends before what its events use.
  std::unique_ptr<StreamWorker> worker_;
};

TEST_F(StreamWorkerTest, GoesOnWithTheDueTimeAfterTheLastThatWasCounted) {
  // Due times of this grid are far apart: a second of a test changes nothing.
  constexpr double kHour = 3600;
  const double now = absl::ToDoubleSeconds(Clock::Real().SteadyNow());
  v1::AssignStream assign = Assignment();
  assign.set_interval_seconds(kHour);
  // Half an hour ago one was due; three before it were not counted.
  const double due = now - kHour / 2;
  assign.set_phase_seconds(due - std::floor(due / kHour) * kHour);
  assign.set_counted_until_seconds(due - 4 * kHour);
  Start();
  camera_.AnswerOpen(Mjpeg());
  Assign(assign);
  ASSERT_TRUE(SendUntil([this] { return s().samples.size() == 1; }));
  Revoke();
  ASSERT_TRUE(WaitFor([this] { return s().ended; }));
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(s().missed.at("worker_lost"), 3);
  EXPECT_EQ(s().missed.size(), 1u);
  EXPECT_NEAR(s().samples[0].frame().offset_seconds(), kHour / 2, 30);
}

TEST_F(StreamWorkerTest, TakesTheDueTimeThatIsOpenOnlyWhereItIsNotCountedYet) {
  constexpr double kHour = 3600;
  const double now = absl::ToDoubleSeconds(Clock::Real().SteadyNow());
  v1::AssignStream assign = Assignment();
  assign.set_interval_seconds(kHour);
  const double due = now - kHour / 2;
  assign.set_phase_seconds(due - std::floor(due / kHour) * kHour);
  assign.set_counted_until_seconds(due);
  Start();
  camera_.AnswerOpen(Mjpeg());
  Assign(assign);
  int sent = 0;
  ASSERT_TRUE(SendUntil([&] { return ++sent > 20; }));
  Revoke();
  ASSERT_TRUE(WaitFor([this] { return s().ended; }));
  absl::MutexLock lock(&mu_);
  EXPECT_TRUE(s().samples.empty());
  EXPECT_TRUE(s().missed.empty());
}

TEST_F(StreamWorkerTest, GoesFromStartingToRunningToPicturesToEnded) {
  Start();
  camera_.AnswerOpen(Mjpeg());
  Assign(Assignment());
  ASSERT_TRUE(SendUntil([this] { return s().samples.size() >= 3; }));
  Revoke();
  ASSERT_TRUE(WaitFor([this] { return s().ended; }));
  absl::MutexLock lock(&mu_);
  ASSERT_GE(s().states.size(), 2u);
  EXPECT_EQ(s().states[0].state(), v1::STREAM_STATE_STARTING);
  EXPECT_EQ(s().states[1].state(), v1::STREAM_STATE_RUNNING);
  EXPECT_EQ(s().states[1].codec(), "mjpeg");
  EXPECT_EQ(s().states[1].local_ip(), "192.0.2.7");
  EXPECT_EQ(s().states[1].connects(), 1);
  for (size_t i = 0; i < s().samples.size(); ++i) {
    const v1::SampleTaken& sample = s().samples[i];
    EXPECT_EQ(sample.frame().frame_seq(), static_cast<int64_t>(i) + 1);
    EXPECT_EQ(sample.frame().width(), 64);
    EXPECT_NEAR(sample.frame().mean_luma(), (100 - 16) * 255.0 / 219.0, 1);
    EXPECT_GT(sample.received_bytes(), 0);
    EXPECT_EQ(sample.effective_mode(), v1::SAMPLING_MODE_KEYFRAME);
  }
  EXPECT_EQ(camera_.closed(), 1);
}

TEST_F(StreamWorkerTest, EachFailureToConnectHasItsStateAndIsTriedAgain) {
  Start();
  const std::pair<absl::Status, v1::StreamState> cases[] = {
      {absl::UnauthenticatedError("wrong password"),
       v1::STREAM_STATE_AUTH_FAILED},
      {absl::NotFoundError("no such path"), v1::STREAM_STATE_NOT_FOUND},
      {absl::FailedPreconditionError("no video"), v1::STREAM_STATE_NO_VIDEO},
      {absl::UnimplementedError("codec VP8"),
       v1::STREAM_STATE_UNSUPPORTED_CODEC},
      {absl::ResourceExhaustedError("453"), v1::STREAM_STATE_REFUSED},
      {absl::UnavailableError("refused"), v1::STREAM_STATE_RECONNECTING},
      {absl::DeadlineExceededError("silent"), v1::STREAM_STATE_RECONNECTING},
      {absl::PermissionDeniedError("address"), v1::STREAM_STATE_RECONNECTING},
  };
  for (const auto& [status, state] : cases) camera_.AnswerOpen(status);
  camera_.AnswerOpen(Mjpeg());
  Assign(Assignment());
  ASSERT_TRUE(camera_.WaitForConnections(9));
  ASSERT_TRUE(SendUntil([this] { return !s().samples.empty(); }));
  absl::MutexLock lock(&mu_);
  ASSERT_GE(s().states.size(), 10u);
  for (size_t i = 0; i < 8; ++i) {
    const v1::StateChanged& state = s().states[i + 1];
    EXPECT_EQ(state.state(), cases[i].second) << i;
    EXPECT_EQ(state.reason(), cases[i].first.message()) << i;
    EXPECT_GT(state.retry_after_seconds(), 0) << i;
    EXPECT_EQ(state.disconnects(), 0) << i;
  }
  EXPECT_EQ(s().states[9].state(), v1::STREAM_STATE_RUNNING);
  EXPECT_EQ(s().states[9].retry_after_seconds(), 0);
}

TEST_F(StreamWorkerTest, ALostConnectionIsCountedAndComesBack) {
  Start();
  camera_.AnswerOpen(Mjpeg());
  camera_.AnswerOpen(Mjpeg());
  Assign(Assignment());
  ASSERT_TRUE(SendUntil([this] { return !s().samples.empty(); }));
  camera_.Fail(absl::DeadlineExceededError("the camera sent no picture"));
  ASSERT_TRUE(WaitForState(v1::STREAM_STATE_RECONNECTING));
  {
    absl::MutexLock lock(&mu_);
    EXPECT_THAT(s().state.reason(), HasSubstr("no picture"));
    EXPECT_EQ(s().state.disconnects(), 1);
    s().samples.clear();
  }
  ASSERT_TRUE(SendUntil([this] { return !s().samples.empty(); }));
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(s().state.connects(), 2);
}

TEST_F(StreamWorkerTest, AFailedConnectionIsClosedBeforeTheWaitForTheNext) {
  StreamWorker::Options options = Quick();
  options.retry_initial = options.retry_soon_max = options.retry_max =
      absl::Hours(1);
  Start(options);
  camera_.AnswerOpen(Mjpeg());
  Assign(Assignment());
  ASSERT_TRUE(SendUntil([this] { return !s().samples.empty(); }));
  camera_.Fail(absl::DeadlineExceededError("the camera sent no picture"));
  ASSERT_TRUE(WaitForState(v1::STREAM_STATE_RECONNECTING));
  EXPECT_EQ(camera_.closed(), 1);
  EXPECT_EQ(camera_.connections(), 1);
}

TEST_F(StreamWorkerTest, ARefusedConnectionIsClosedBeforeTheWaitForTheNext) {
  StreamWorker::Options options = Quick();
  options.retry_slow = absl::Hours(1);
  Start(options);
  camera_.AnswerOpen(absl::UnauthenticatedError("wrong password"));
  Assign(Assignment());
  ASSERT_TRUE(WaitForState(v1::STREAM_STATE_AUTH_FAILED));
  EXPECT_EQ(camera_.closed(), 1);
}

TEST_F(StreamWorkerTest, WhatWaitsAtTheEndIsDecodedForAMoment) {
  EndWithFiveWaiting(absl::ZeroDuration());
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(s().samples.size(), 6u);
  EXPECT_EQ(s().missed["overload"], 0);
}

TEST_F(StreamWorkerTest, WhatStillWaitsAfterTheMomentIsMissedForOverload) {
  EndWithFiveWaiting(absl::Seconds(2));
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(s().samples.size(), 1u);
  EXPECT_EQ(s().missed["overload"], 5);
}

TEST_F(StreamWorkerTest, WhileTheCameraIsAwayEveryDueTimeIsMissed) {
  Start();
  for (int i = 0; i < 200; ++i) {
    camera_.AnswerOpen(absl::UnavailableError("refused"));
  }
  Assign(Assignment());
  // A due time each 0.1 s.
  ASSERT_TRUE(WaitFor([this] { return s().missed["not_connected"] >= 5; }));
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(s().missed.size(), 1u);
}

TEST_F(StreamWorkerTest, SettingTheHostsClockShiftsNeitherSamplesNorRetries) {
  Start(Quick(), clock_);
  camera_.AnswerOpen(Mjpeg());
  Assign(Assignment());
  ASSERT_TRUE(camera_.WaitForConnections(1));
  const std::map<size_t, absl::Duration> steps = {
      {5, absl::Hours(1)}, {10, -absl::Hours(3)}, {15, absl::Hours(48)}};
  std::vector<absl::Time> walls;
  for (size_t i = 0; i < 20; ++i) {
    if (const auto step = steps.find(i); step != steps.end()) {
      clock_.StepWallClock(step->second);
    }
    AccessUnit unit;
    unit.data = AnyJpeg();
    unit.keyframe = true;
    unit.arrival = clock_.SteadyNow();
    unit.wall = clock_.Now();
    walls.push_back(unit.wall);
    camera_.Send(std::move(unit));
    ASSERT_TRUE(WaitFor([&] { return s().samples.size() == i + 1; })) << i;
    clock_.Advance(absl::Milliseconds(100));
  }
  {
    absl::MutexLock lock(&mu_);
    EXPECT_TRUE(s().missed.empty());
    for (size_t i = 0; i < walls.size(); ++i) {
      const v1::FrameInfo& frame = s().samples[i].frame();
      EXPECT_EQ(frame.captured_at().seconds(), absl::ToUnixSeconds(walls[i]));
      EXPECT_NEAR(frame.offset_seconds(), 0, 0.1);
    }
  }
  camera_.AnswerOpen(Mjpeg());
  camera_.Fail(absl::UnavailableError("the connection was lost"));
  ASSERT_TRUE(WaitForState(v1::STREAM_STATE_RECONNECTING));
  clock_.StepWallClock(-absl::Hours(24));
  clock_.Advance(absl::Milliseconds(100));
  EXPECT_TRUE(camera_.WaitForConnections(2));
}

TEST_F(StreamWorkerTest, PausedItMissesForTheReasonGiven) {
  Start();
  camera_.AnswerOpen(Mjpeg());
  Assign(Assignment());
  ASSERT_TRUE(SendUntil([this] { return !s().samples.empty(); }));
  Pause(true);
  ASSERT_TRUE(SendUntil([this] { return s().missed["spool_full"] >= 3; }));
  Pause(false);
  size_t before = 0;
  {
    absl::MutexLock lock(&mu_);
    before = s().samples.size();
  }
  ASSERT_TRUE(SendUntil([&] { return s().samples.size() >= before + 2; }));
}

TEST_F(StreamWorkerTest, AnotherIntervalKeepsTheConnection) {
  Start();
  camera_.AnswerOpen(Mjpeg());
  v1::AssignStream assign = Assignment();
  assign.set_interval_seconds(3600);
  Assign(assign);
  ASSERT_TRUE(SendUntil([this] { return s().samples.size() == 1; }));
  assign.set_interval_seconds(0.1);
  Assign(assign);
  ASSERT_TRUE(SendUntil([this] { return s().samples.size() >= 4; }));
  EXPECT_EQ(camera_.connections(), 1);
}

TEST_F(StreamWorkerTest, NewPrivacyMasksKeepTheConnection) {
  Start();
  camera_.AnswerOpen(Mjpeg());
  v1::AssignStream assign = Assignment();
  Assign(assign);
  ASSERT_TRUE(SendUntil([this] { return s().samples.size() >= 2; }));
  {
    absl::MutexLock lock(&mu_);
    EXPECT_GT(s().samples.back().look().mean(), 90);
    EXPECT_EQ(s().samples.back().masks_version(), 0);
  }
  // No polygon: it covers everything.
  assign.add_privacy_masks();
  assign.set_masks_version(1);
  Assign(assign);
  ASSERT_TRUE(
      SendUntil([this] { return s().samples.back().masks_version() == 1; }));
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(s().samples.back().frame().mean_luma(), 0);
  for (const v1::SampleTaken& sample : s().samples) {
    EXPECT_EQ(sample.frame().mean_luma() > 0, sample.masks_version() == 0);
  }
  EXPECT_EQ(camera_.connections(), 1);
}

TEST_F(StreamWorkerTest, WhileTheMasksAreNotKnownNoPictureIsTaken) {
  Start();
  camera_.AnswerOpen(Mjpeg());
  v1::AssignStream assign = Assignment();
  assign.set_camera_unknown(true);
  Assign(assign);
  ASSERT_TRUE(SendUntil([this] { return s().missed["camera_unknown"] >= 3; }));
  {
    absl::MutexLock lock(&mu_);
    EXPECT_EQ(s().samples.size(), 0u);
    EXPECT_EQ(s().state.state(), v1::STREAM_STATE_RUNNING);
    EXPECT_THAT(s().state.reason(), HasSubstr("privacy masks"));
    EXPECT_EQ(s().states[0].state(), v1::STREAM_STATE_STARTING);
    EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
  }
  assign.set_camera_unknown(false);
  Assign(assign);
  ASSERT_TRUE(SendUntil([this] { return s().samples.size() >= 2; }));
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(s().state.reason(), "");
  EXPECT_EQ(camera_.connections(), 1);
}

TEST_F(StreamWorkerTest, AnotherUrlReconnectsAtOnce) {
  Start();
  camera_.AnswerOpen(Mjpeg());
  camera_.AnswerOpen(Mjpeg());
  v1::AssignStream assign = Assignment();
  Assign(assign);
  ASSERT_TRUE(SendUntil([this] { return !s().samples.empty(); }));
  assign.set_url("rtsp://127.0.0.1:8554/other");
  Assign(assign);
  ASSERT_TRUE(camera_.WaitForConnections(2));
  EXPECT_EQ(camera_.last_url(), "rtsp://127.0.0.1:8554/other");
  ASSERT_TRUE(SendUntil([this] { return s().samples.size() >= 3; }));
  absl::MutexLock lock(&mu_);
  // The session goes on: no number is used twice.
  for (size_t i = 0; i < s().samples.size(); ++i) {
    EXPECT_EQ(s().samples[i].frame().frame_seq(), static_cast<int64_t>(i) + 1);
  }
}

TEST_F(StreamWorkerTest, ItConnectsWhenItIsGrantedAndNotBefore) {
  grants_ = false;
  Start();
  camera_.AnswerOpen(absl::UnavailableError("refused"));
  camera_.AnswerOpen(Mjpeg());
  Assign(Assignment());
  ASSERT_TRUE(WaitFor([this] { return s().wanted.size() == 1; }));
  EXPECT_EQ(camera_.connections(), 0);
  v1::FromWorker first;
  {
    absl::MutexLock lock(&mu_);
    first = s().wanted[0];
    EXPECT_EQ(first.connect_wanted().host(), "127.0.0.1");
  }
  // Due times pass while it waits.
  ASSERT_TRUE(WaitFor([this] { return s().missed["not_connected"] >= 2; }));
  Grant(first);
  ASSERT_TRUE(camera_.WaitForConnections(1));
  // It failed: the slot is given back before the next try, which asks anew.
  ASSERT_TRUE(
      WaitFor([this] { return s().closed == 1 && s().wanted.size() == 2; }));
  // A grant of the first request is none of the second.
  Grant(first);
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(camera_.connections(), 1);
  EXPECT_GT(s().wanted[1].connect_wanted().request(),
            first.connect_wanted().request());
}

TEST_F(StreamWorkerTest, AnotherHostWhileItWaitsIsAskedForAnew) {
  grants_ = false;
  Start();
  v1::AssignStream assign = Assignment();
  Assign(assign);
  ASSERT_TRUE(WaitFor([this] { return s().wanted.size() == 1; }));
  assign.set_url("rtsp://192.0.2.1/other");
  Assign(assign);
  ASSERT_TRUE(WaitFor([this] { return s().wanted.size() == 2; }));
  absl::MutexLock lock(&mu_);
  EXPECT_EQ(s().closed, 1u);
  EXPECT_EQ(s().wanted[1].connect_wanted().host(), "192.0.2.1");
  EXPECT_EQ(camera_.connections(), 0);
}

TEST_F(StreamWorkerTest, AnotherTransportOrVerificationReconnects) {
  Start();
  for (int i = 0; i < 3; ++i) camera_.AnswerOpen(Mjpeg());
  v1::AssignStream assign = Assignment();
  Assign(assign);
  ASSERT_TRUE(camera_.WaitForConnections(1));
  EXPECT_FALSE(camera_.last_options().tls_verify);
  assign.set_transport(v1::TRANSPORT_UDP);
  Assign(assign);
  ASSERT_TRUE(camera_.WaitForConnections(2));
  EXPECT_EQ(camera_.last_options().transport, v1::TRANSPORT_UDP);
  assign.set_tls_verify(true);
  Assign(assign);
  ASSERT_TRUE(camera_.WaitForConnections(3));
  EXPECT_TRUE(camera_.last_options().tls_verify);
}

TEST_F(StreamWorkerTest, StreamsAreIndependent) {
  Start();
  camera_.AnswerOpen(Mjpeg());
  camera_.AnswerOpen(Mjpeg());
  Assign(Assignment("s1"));
  ASSERT_TRUE(camera_.WaitForConnections(1));
  ASSERT_TRUE(WaitFor([this] { return !s("s1").states.empty(); }));
  Assign(Assignment("s2"));
  ASSERT_TRUE(camera_.WaitForConnections(2));
  Revoke("s1");
  ASSERT_TRUE(WaitFor([this] { return s("s1").ended; }));
  ASSERT_TRUE(SendUntil([this] { return !s("s2").samples.empty(); }));
}

TEST_F(StreamWorkerTest, RevokedAndAssignedAgainItBeginsAfterTheEnd) {
  allow_restart_ = true;
  Start();
  camera_.AnswerOpen(Mjpeg());
  camera_.AnswerOpen(Mjpeg());
  Assign(Assignment());
  ASSERT_TRUE(SendUntil([this] { return !s().samples.empty(); }));
  v1::AssignStream again = Assignment();
  again.set_next_frame_seq(1000);
  Revoke();
  Assign(again);
  ASSERT_TRUE(SendUntil(
      [this] { return s().samples.back().frame().frame_seq() >= 1000; }));
}

TEST_F(StreamWorkerTest, StopIsFastWhateverTheStreamsWaitFor) {
  Start();
  grants_ = false;
  Assign(Assignment("waits for its turn"));
  ASSERT_TRUE(
      WaitFor([this] { return !s("waits for its turn").wanted.empty(); }));
  grants_ = true;
  Assign(Assignment("reads"));
  ASSERT_TRUE(camera_.WaitForConnections(1));
  const absl::Duration begin = Clock::Real().SteadyNow();
  worker_->Stop();
  worker_->Stop();
  EXPECT_LT(Clock::Real().SteadyNow() - begin, absl::Seconds(5));
  absl::MutexLock lock(&mu_);
  EXPECT_TRUE(s("waits for its turn").ended);
  EXPECT_TRUE(s("reads").ended);
}

TEST_F(StreamWorkerTest, AnUndecodablePictureIsAMiss) {
  Start();
  camera_.AnswerOpen(Mjpeg());
  Assign(Assignment());
  ASSERT_TRUE(SendUntil([this] { return !s().samples.empty(); }));
  AccessUnit unit;
  unit.data = std::make_shared<const std::string>("no JPEG");
  for (int i = 0; i < 50; ++i) {
    unit.arrival = Clock::Real().SteadyNow() + absl::Milliseconds(100 * i);
    camera_.Send(unit);
    ASSERT_TRUE(camera_.WaitUntilRead());
  }
  ASSERT_TRUE(WaitFor([this] { return s().missed["decode_error"] >= 3; }));
}

TEST_F(StreamWorkerTest, ADiskErrorIsAMissAndTheStatesReason) {
  Start();
  camera_.AnswerOpen(Mjpeg());
  v1::AssignStream assign = Assignment();
  assign.set_spool_dir(dir_ / "missing");
  Assign(assign);
  ASSERT_TRUE(SendUntil([this] { return s().missed["disk_error"] >= 2; }));
  ASSERT_TRUE(WaitFor([this] {
    return absl::StrContains(s().state.reason(), "cannot be written");
  }));
  assign.set_spool_dir(dir_.path());
  Assign(assign);
  ASSERT_TRUE(SendUntil([this] { return !s().samples.empty(); }));
  ASSERT_TRUE(WaitFor([this] { return s().state.reason().empty(); }));
}

TEST_F(StreamWorkerTest, MessagesForUnknownStreamsAreIgnored) {
  Start();
  Revoke("nobody");
  Pause(true);
  worker_->Handle(v1::ToWorker());
}

}  // namespace
}  // namespace camherd::capture
