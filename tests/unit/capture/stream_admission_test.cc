// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/retry_delay.h"
#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kMiB = 1 << 20;

// A box with streams that cost what the test says, second by second.
class StreamAdmissionTest : public ::testing::Test {
 protected:
  StreamAdmissionTest() {
    options_.enabled = true;
    options_.cores = 2;
    options_.max_memory_bytes = int64_t{4} << 30;
  }

  // As `options_` are then.
  StreamAdmission& admission() {
    if (admission_ == nullptr) {
      admission_ = std::make_unique<StreamAdmission>(options_);
    }
    return *admission_;
  }

  void Add(int count, v1::SamplingMode mode, double interval_seconds,
           double gop_seconds = 2) {
    for (int i = 0; i < count; ++i) {
      streams_.push_back({.stream_id = absl::StrCat("stream-", ++started_),
                          .interval_seconds = interval_seconds,
                          .mode = mode,
                          .gop_seconds = gop_seconds,
                          .receiving = true});
    }
  }

  // `decode` and `encode` CPU seconds a sample, `receive` cores a stream.
  void Run(int seconds, double decode, double encode, double receive) {
    for (int i = 0; i < seconds; ++i) {
      for (const StreamLoad& stream : streams_) {
        if (!stream.receiving) continue;
        double& owed = owed_[stream.stream_id];
        owed += 1 / stream.interval_seconds;
        for (; owed >= 1; owed -= 1) {
          admission().SampleTaken(stream.stream_id, decode, encode, now_);
          usage_.cpu_seconds += decode + encode;
        }
        usage_.cpu_seconds += receive;
      }
      admission().Measure(usage_, streams_, now_);
      now_ += absl::Seconds(1);
    }
  }

  absl::Status Admit(v1::SamplingMode mode, double interval_seconds) {
    return admission().Admit(
        {{.stream_id = "", .interval_seconds = interval_seconds, .mode = mode}},
        streams_, now_);
  }

  // Cores that such a stream would need, by the refusal of a box so small that
  // it takes none; -1: it takes one.
  double NeedAt(v1::SamplingMode mode, double interval_seconds) {
    const std::string message(Admit(mode, interval_seconds).message());
    const size_t begin = message.find("would need ");
    if (begin == std::string::npos) return -1;
    return std::stod(message.substr(begin + sizeof("would need ") - 1));
  }

  StreamAdmission::Options options_;
  std::unique_ptr<StreamAdmission> admission_;
  std::vector<StreamLoad> streams_;
  std::map<std::string, double> owed_;
  StreamAdmission::Usage usage_;
  absl::Duration now_ = absl::Seconds(1000);
  int started_ = 0;
};

TEST_F(StreamAdmissionTest, WithNothingMeasuredAStartIsAdmitted) {
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_AUTO, 3), IsOk());
  Add(500, v1::SAMPLING_MODE_KEYFRAME, 3);
  Run(5, 1, 1, 1);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_AUTO, 3), IsOk());
}

TEST_F(StreamAdmissionTest, AStartThatTheBoxCannotCarryIsRefusedWithNumbers) {
  usage_.memory_bytes = 100 * kMiB;
  Run(1, 0, 0, 0);
  usage_.memory_bytes = (100 + 2.1 * 112) * kMiB;
  Add(112, v1::SAMPLING_MODE_KEYFRAME, 3);
  // 0.03 a sample of 3 s, and 0.0042 for receiving: 0.0142 cores a stream.
  Run(60, 0.025, 0.005, 0.0042);
  const absl::Status refused = Admit(v1::SAMPLING_MODE_KEYFRAME, 3);
  EXPECT_THAT(
      refused,
      StatusIs(absl::StatusCode::kResourceExhausted,
               "a stream at 3 s would need 0.014 cores and 2.1 MiB; 1.59 of "
               "1.6 cores (max_cpu_share 0.8 of 2) are in use by 112 streams"));
  EXPECT_TRUE(RetryDelay(refused).has_value());
  EXPECT_NEAR(admission().stats().cpu_cores, 1.59, 0.05);
  EXPECT_EQ(admission().stats().cpu_cores_limit, 1.6);
  EXPECT_EQ(admission().stats().refused.at("cpu"), 1);
  // One that needs less has room; and any, as soon as others have gone.
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 60), IsOk());
  streams_.pop_back();
  streams_.pop_back();
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 3), IsOk());
}

TEST_F(StreamAdmissionTest, OffRefusesNobodyButPastMaxStreams) {
  options_.enabled = false;
  options_.max_streams = 101;
  Add(100, v1::SAMPLING_MODE_FULL, 1);
  Run(60, 1, 1, 1);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_FULL, 1), IsOk());
  Add(1, v1::SAMPLING_MODE_FULL, 1);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_FULL, 1),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("max_streams is 101")));
  EXPECT_EQ(admission().stats().refused.at("max_streams"), 1);
}

TEST_F(StreamAdmissionTest, TheOnlyOneIsAdmittedWhateverTheLastOnesCost) {
  options_.max_cpu_share = 0.01;
  Add(3, v1::SAMPLING_MODE_FULL, 1);
  Run(60, 0.3, 0.1, 0.1);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_FULL, 1), Not(IsOk()));
  streams_.clear();
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_FULL, 1), IsOk());
}

struct NeedCase {
  const char* name;
  // What runs, at 2 s a sample: 0.04 s of decoding, 0.01 s of encoding, and
  // 0.005 cores of receiving.
  v1::SamplingMode runs;
  double gop_seconds;
  v1::SamplingMode asked;
  double interval_seconds;
  double cores;
};

class StreamNeedTest : public StreamAdmissionTest,
                       public ::testing::WithParamInterface<NeedCase> {};

TEST_P(StreamNeedTest, IsScaledToTheIntervalByItsMode) {
  const NeedCase& test = GetParam();
  options_.max_cpu_share = 0.001;
  Add(4, test.runs, 2, test.gop_seconds);
  Run(60, 0.04, 0.01, 0.005);
  EXPECT_NEAR(NeedAt(test.asked, test.interval_seconds), test.cores,
              0.03 * test.cores);
}

constexpr auto kKeyframe = v1::SAMPLING_MODE_KEYFRAME;
constexpr auto kExact = v1::SAMPLING_MODE_EXACT;
constexpr auto kFull = v1::SAMPLING_MODE_FULL;
constexpr auto kAuto = v1::SAMPLING_MODE_AUTO;

INSTANTIATE_TEST_SUITE_P(
    All, StreamNeedTest,
    ::testing::Values(
        NeedCase{"KeyframeAtTheSame", kKeyframe, 2, kKeyframe, 2, 0.030},
        NeedCase{"KeyframeTwiceAsOften", kKeyframe, 2, kKeyframe, 1, 0.055},
        // All of the video is decoded anyway.
        NeedCase{"FullTwiceAsOften", kFull, 2, kFull, 1, 0.035},
        NeedCase{"FullRarely", kFull, 2, kFull, 100, 0.0251},
        // Half a GOP a sample, until that is all of the video.
        NeedCase{"ExactRarely", kExact, 2, kExact, 4, 0.0175},
        NeedCase{"ExactOften", kExact, 2, kExact, 0.5, 0.065},
        NeedCase{"AutoWhereGopsAreShort", kKeyframe, 2, kAuto, 4, 0.0175},
        NeedCase{"AutoWhereGopsAreLong", kExact, 10, kAuto, 4, 0.0275},
        // Nothing is known of full decoding but that it costs no less.
        NeedCase{"OfAnotherMode", kKeyframe, 2, kFull, 2, 0.030}),
    [](const auto& test) { return test.param.name; });

TEST_F(StreamAdmissionTest, TheHeaviestOfItsModeCounts) {
  options_.max_cpu_share = 0.001;
  Add(3, v1::SAMPLING_MODE_KEYFRAME, 1);
  Run(30, 0.01, 0, 0);
  Add(1, v1::SAMPLING_MODE_KEYFRAME, 1);
  for (int i = 0; i < 30; ++i) {
    admission().SampleTaken("stream-4", 0.3, 0, now_);
    Run(1, 0.01, 0, 0);
  }
  EXPECT_GT(NeedAt(v1::SAMPLING_MODE_KEYFRAME, 1), 0.1);
}

TEST_F(StreamAdmissionTest, ASecondSourceNeedsAsMuchAsAStreamButIsNone) {
  Add(30, v1::SAMPLING_MODE_KEYFRAME, 1);
  Run(60, 0.02, 0.005, 0.005);
  // 0.9 of 1.6 cores, 0.03 each.
  Add(22, v1::SAMPLING_MODE_KEYFRAME, 1);
  const StreamLoad source = {.stream_id = "",
                             .interval_seconds = 1,
                             .mode = v1::SAMPLING_MODE_KEYFRAME};
  EXPECT_THAT(admission().Admit({source}, streams_, now_), IsOk());
  EXPECT_THAT(admission().Admit({source, source}, streams_, now_),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("would need 0.06 cores")));

  options_.max_streams = 2;
  StreamAdmission small(options_);
  StreamLoad second = source;
  second.second_source = true;
  EXPECT_THAT(small.Admit({source}, {source, second}, now_), IsOk());
  EXPECT_THAT(
      small.Admit({source}, {source, second, source}, now_),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("max_streams")));
}

TEST_F(StreamAdmissionTest, StreamsThatDoNotRunYetCountWithTheEstimate) {
  Add(30, v1::SAMPLING_MODE_KEYFRAME, 1);
  Run(60, 0.02, 0.005, 0.005);
  // 0.9 of 1.6 cores, 0.03 each.
  Add(22, v1::SAMPLING_MODE_KEYFRAME, 1);
  for (size_t i = 30; i < streams_.size(); ++i) streams_[i].receiving = false;
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 1), IsOk());
  Add(1, v1::SAMPLING_MODE_KEYFRAME, 1);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 1),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("1.59 of 1.6 cores")));
}

TEST_F(StreamAdmissionTest, WhatConnectsCostIsNotWhatStreamsCost) {
  Add(10, v1::SAMPLING_MODE_KEYFRAME, 1);
  Run(30, 0.01, 0.005, 0.005);
  // As many again, which cost a second of CPU each to begin with.
  Add(10, v1::SAMPLING_MODE_KEYFRAME, 1);
  usage_.cpu_seconds += 10;
  Run(5, 0.01, 0.005, 0.005);
  EXPECT_GT(admission().stats().cpu_cores, 0.4);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 1), IsOk());
  Run(30, 0.01, 0.005, 0.005);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 1), IsOk());
}

TEST_F(StreamAdmissionTest, MemoryIsLimitedToo) {
  options_.max_memory_bytes = 400 * kMiB;
  usage_.memory_bytes = 100 * kMiB;
  Run(1, 0, 0, 0);
  usage_.memory_bytes = 350 * kMiB;
  Add(10, v1::SAMPLING_MODE_KEYFRAME, 3);
  Run(20, 0.01, 0.01, 0);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 3), IsOk());
  Add(2, v1::SAMPLING_MODE_KEYFRAME, 3);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 3),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("25.0 MiB; 400 of 400 MiB"),
                             HasSubstr("are in use by 12 streams"))));
  EXPECT_EQ(admission().stats().refused.at("memory"), 1);
}

TEST_F(StreamAdmissionTest, WhileSamplesAreMissedForWantOfTimeNobodyIsAdded) {
  Add(4, v1::SAMPLING_MODE_KEYFRAME, 1);
  Run(60, 0.01, 0.01, 0);
  admission().SamplesMissed("not_connected", 1000, now_);
  admission().SamplesMissed("overload", 9, now_);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 1), IsOk());
  admission().SamplesMissed("overload", 11, now_);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 1),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("in the last minute the 4 streams that run "
                                 "missed 20 of 256 samples for want of time "
                                 "(overload 20, late 0)")));
  EXPECT_EQ(admission().stats().refused.at("missed_samples"), 1);
  Run(61, 0.01, 0.01, 0);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 1), IsOk());
}

TEST_F(StreamAdmissionTest, LateSamplesAreTheCamerasDoingWhileTheBoxIsIdle) {
  Add(4, v1::SAMPLING_MODE_KEYFRAME, 1);
  Run(60, 0.01, 0.01, 0);
  admission().SamplesMissed("late", 100, now_);
  EXPECT_THAT(Admit(v1::SAMPLING_MODE_KEYFRAME, 1), IsOk());
  Run(60, 0.2, 0.05, 0);
  admission().SamplesMissed("late", 100, now_);
  EXPECT_THAT(
      Admit(v1::SAMPLING_MODE_KEYFRAME, 1),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("late 100")));
}

}  // namespace
}  // namespace camherd::capture
