// SPDX-License-Identifier: Apache-2.0
#include "services/capture/frame_picker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

AccessUnit Unit(absl::Duration arrival, bool idr, size_t bytes = 100) {
  AccessUnit unit;
  std::string data("\0\0\0\1", 4);
  data += idr ? '\x65' : '\x41';
  data.resize(bytes, 'x');
  unit.data = std::make_shared<const std::string>(std::move(data));
  unit.keyframe = idr;
  unit.arrival = arrival;
  return unit;
}

// Feeds a picker with a regular camera, plays a decoder of the given delay,
// and keeps what it was told.
class PickerTest : public ::testing::Test {
 protected:
  void Start(v1::SamplingMode mode, double interval,
             int64_t gop_max_bytes = 32 << 20, double phase = 0) {
    picker_.emplace(
        FramePicker::Create({.schedule = {.interval = absl::Seconds(interval),
                                          .phase = absl::Seconds(phase)},
                             .mode = mode,
                             .gop_max_bytes = gop_max_bytes})
            .value());
    picker_->Connected(Codec::kH264);
  }

  // `fps` pictures a second for `seconds`, every `gop`-th a keyframe.
  void Feed(double fps, int gop, double seconds) {
    const int count = static_cast<int>(seconds * fps + 0.5);
    for (int i = 0; i < count; ++i) {
      FeedUnit(Unit(now_, i % gop == 0));
      now_ += absl::Seconds(1) / fps;
    }
  }

  void FeedUnit(const AccessUnit& unit) {
    fed_[tag_] = unit.arrival;
    ++tag_;
    Take(picker_->OnAccessUnit(unit));
  }

  void Take(FramePicker::Picked picked) {
    for (const DecodeTask& task : picked.tasks) {
      if (!task.single_keyframe) {
        if (task.restart) in_decoder_ = 0;
        int64_t tag = task.first_tag;
        for (size_t i = 0; i < task.units.size(); ++i) {
          EXPECT_TRUE(decoded_.insert(tag++).second) << "decoded twice";
        }
        in_decoder_ += static_cast<int>(task.units.size());
        if (in_decoder_ > delay_) picker_->set_shown(task.sequence);
        picker_->set_delay(delay_);
      }
      if (task.sample) {
        sampled_due_.push_back(absl::ToDoubleSeconds(task.due));
        sampled_mode_.push_back(task.single_keyframe ? 'k' : 'e');
        sampled_tag_.push_back(task.first_tag +
                               static_cast<int64_t>(task.units.size()) - 1);
      }
      tasks_.push_back(task);
    }
    for (const auto& missed : picked.missed) {
      missed_[std::string(missed.reason)] += missed.count;
    }
    overflows_ += picked.gop_overflow ? 1 : 0;
    ended_ += picked.end_sequence ? 1 : 0;
    // At every moment.
    int64_t missed = 0;
    for (const auto& [reason, count] : missed_) missed += count;
    EXPECT_EQ(picker_->schedule().due_samples(),
              static_cast<int64_t>(sampled_due_.size()) + missed);
  }

  std::optional<FramePicker> picker_;
  absl::Duration now_ = absl::Milliseconds(5);
  int delay_ = 0;
  int in_decoder_ = 0;
  int64_t tag_ = 0;
  std::map<int64_t, absl::Duration> fed_;
  std::set<int64_t> decoded_;
  std::vector<DecodeTask> tasks_;
  std::vector<double> sampled_due_;
  std::vector<char> sampled_mode_;
  std::vector<int64_t> sampled_tag_;
  std::map<std::string, int64_t> missed_;
  int overflows_ = 0;
  int ended_ = 0;
};

TEST_F(PickerTest, KeyframeModeTakesTheFirstKeyframeAtOrAfterEachDueTime) {
  Start(v1::SAMPLING_MODE_KEYFRAME, 3);
  Feed(25, 25, 12.5);
  EXPECT_THAT(sampled_due_, ElementsAre(0, 3, 6, 9, 12));
  // A keyframe each second from 5 ms on.
  EXPECT_THAT(sampled_tag_, ElementsAre(0, 75, 150, 225, 300));
  EXPECT_THAT(missed_, IsEmpty());
  for (const DecodeTask& task : tasks_) EXPECT_THAT(task.units, SizeIs(1));
}

TEST_F(PickerTest, KeyframesAroundTheDueTimesCostNoSample) {
  // GOP and interval are the same, and keyframes arrive a little before or
  // after the due times.
  Start(v1::SAMPLING_MODE_KEYFRAME, 3);
  for (int i = 0; i < 20; ++i) {
    FeedUnit(Unit(
        absl::Seconds(30 + 3 * i) + absl::Milliseconds(i % 2 == 0 ? 4 : -4),
        true));
  }
  EXPECT_THAT(sampled_due_, SizeIs(20 - 1));
  EXPECT_THAT(missed_, IsEmpty());
}

TEST_F(PickerTest, KeyframeModeMissesWhatALongGopLeavesOut) {
  Start(v1::SAMPLING_MODE_KEYFRAME, 1);
  Feed(10, 30, 30);
  EXPECT_NEAR(static_cast<double>(sampled_due_.size()), 10, 1);
  EXPECT_NEAR(static_cast<double>(missed_["no_keyframe"]), 19, 2);
  EXPECT_EQ(missed_.count("late"), 0u);
}

TEST_F(PickerTest, AutoWatchesTheGopAndSettlesOnKeyframes) {
  Start(v1::SAMPLING_MODE_AUTO, 3);
  Feed(25, 50, 30);
  EXPECT_EQ(picker_->effective_mode(), v1::SAMPLING_MODE_KEYFRAME);
  EXPECT_EQ(picker_->gop(), absl::Seconds(2));
  EXPECT_THAT(sampled_due_, SizeIs(10));
  EXPECT_THAT(missed_, IsEmpty());
  // Only the first, before a GOP had been seen, needed the sequence.
  EXPECT_EQ(sampled_mode_.front(), 'e');
  EXPECT_THAT(decoded_, SizeIs(1));
  EXPECT_EQ(ended_, 1);
}

TEST_F(PickerTest, AutoTakesOneNewPicturePerIntervalWhereTheGopIsLong) {
  struct Case {
    double interval, fps;
    int gop;
  };
  for (const Case& c : {Case{1, 25, 50}, Case{3, 12.5, 60}}) {
    SCOPED_TRACE(c.interval);
    sampled_due_.clear();
    sampled_tag_.clear();
    decoded_.clear();
    tag_ = 0;
    missed_.clear();
    Start(v1::SAMPLING_MODE_AUTO, c.interval);
    now_ = absl::Milliseconds(5);
    Feed(c.fps, c.gop, c.interval * 20);
    EXPECT_EQ(picker_->effective_mode(), v1::SAMPLING_MODE_EXACT);
    EXPECT_THAT(sampled_due_, SizeIs(20));
    EXPECT_THAT(std::set<int64_t>(sampled_tag_.begin(), sampled_tag_.end()),
                SizeIs(20));
    EXPECT_THAT(missed_, IsEmpty());
  }
}

TEST_F(PickerTest, AGopNearTheLimitDoesNotMakeAutoSwing) {
  Start(v1::SAMPLING_MODE_AUTO, 1);
  // 1.2 and 1.3 intervals in turn.
  for (int i = 0; i < 10; ++i) {
    Feed(10, 100, 1.2);
    Feed(10, 100, 1.3);
  }
  const v1::SamplingMode settled = picker_->effective_mode();
  for (int i = 0; i < 10; ++i) {
    Feed(10, 100, 1.2);
    EXPECT_EQ(picker_->effective_mode(), settled);
    Feed(10, 100, 1.3);
    EXPECT_EQ(picker_->effective_mode(), settled);
  }
}

TEST_F(PickerTest, AutoFollowsACameraWhoseGopChanges) {
  Start(v1::SAMPLING_MODE_AUTO, 1);
  Feed(25, 25, 10);
  EXPECT_EQ(picker_->effective_mode(), v1::SAMPLING_MODE_KEYFRAME);
  Feed(25, 100, 20);
  EXPECT_EQ(picker_->effective_mode(), v1::SAMPLING_MODE_EXACT);
  Feed(25, 25, 10);
  EXPECT_EQ(picker_->effective_mode(), v1::SAMPLING_MODE_KEYFRAME);
}

TEST_F(PickerTest, ExactTakesThePictureShownAtTheDueTime) {
  Start(v1::SAMPLING_MODE_EXACT, 1, 32 << 20, 0.5);
  Feed(10, 20, 5);
  // Units arrive at 5, 105, ... ms: at 0.5 s the one of 405 ms is shown. The
  // first due time had nothing to show, so it took the first picture.
  EXPECT_THAT(sampled_tag_, ElementsAre(0, 4, 14, 24, 34, 44));
  for (size_t i = 1; i < sampled_tag_.size(); ++i) {
    EXPECT_LE(absl::ToDoubleSeconds(fed_[sampled_tag_[i]]), sampled_due_[i]);
  }
}

TEST_F(PickerTest, ExactForgetsWhatLiesBeforeANewerKeyframe) {
  Start(v1::SAMPLING_MODE_EXACT, 3, 32 << 20, 0.5);
  Feed(10, 20, 15);
  // Samples at 3.5, 6.5 ... with keyframes at 0, 2, 4 ...: of each three
  // seconds at most the part after the last keyframe is decoded.
  EXPECT_LT(decoded_.size(), static_cast<size_t>(tag_) * 2 / 3);
  EXPECT_EQ(decoded_.count(10), 0u);
}

TEST_F(PickerTest, ExactKeepsTheOlderGopWhileTheDecoderHoldsBackTheKeyframe) {
  delay_ = 3;
  Start(v1::SAMPLING_MODE_EXACT, 2.1, 32 << 20, 0.0);
  Feed(10, 20, 2.15);
  // At 2.1 s, units up to 2.005 s = tag 20, the keyframe, and 20 is not out
  // yet: all before it must be decoded.
  ASSERT_THAT(sampled_due_, SizeIs(2));
  Feed(10, 20, 0.01);
  EXPECT_EQ(decoded_.size(), 21u);
}

TEST_F(PickerTest, AShownPictureIsNoSampleTwice) {
  Start(v1::SAMPLING_MODE_EXACT, 1);
  Feed(1 / 2.5, 1, 20);  // One picture every 2.5 s.
  EXPECT_THAT(std::set<int64_t>(sampled_tag_.begin(), sampled_tag_.end()),
              SizeIs(sampled_tag_.size()));
  EXPECT_GT(missed_["late"], 5);
}

TEST_F(PickerTest, AGopPastTheCapIsDecodedAsItIsReceived) {
  Start(v1::SAMPLING_MODE_EXACT, 1000, 2000, 500);
  Feed(10, 1000, 20);  // 200 units of 100 bytes.
  EXPECT_EQ(overflows_, 1);
  EXPECT_GT(decoded_.size(), 170u);
  // What waits is bounded.
  EXPECT_LT(decoded_.size(), 201u);
}

TEST_F(PickerTest, FullModeDecodesEverythingAndNeedsNoKeyframe) {
  Start(v1::SAMPLING_MODE_FULL, 1);
  for (int i = 0; i < 100; ++i) {
    FeedUnit(Unit(now_, false));
    now_ += absl::Milliseconds(100);
  }
  EXPECT_THAT(sampled_due_, SizeIs(10));
  EXPECT_GE(decoded_.size(), 90u);
}

TEST_F(PickerTest, WithoutAnyKeyframeDueTimesAreMissed) {
  Start(v1::SAMPLING_MODE_EXACT, 1);
  for (int i = 0; i < 100; ++i) {
    FeedUnit(Unit(now_, false));
    now_ += absl::Milliseconds(100);
  }
  EXPECT_THAT(sampled_due_, IsEmpty());
  EXPECT_GE(missed_["no_keyframe"], 8);
}

TEST_F(PickerTest, DueTimesGoOnWhileTheCameraIsAway) {
  Start(v1::SAMPLING_MODE_AUTO, 1);
  Feed(10, 10, 3);
  Take(picker_->Disconnected(now_));
  for (int i = 0; i < 50; ++i) {
    now_ += absl::Milliseconds(100);
    Take(picker_->Away(now_));
  }
  EXPECT_EQ(missed_["not_connected"], 5);
  picker_->Connected(Codec::kH264);
  in_decoder_ = 0;
  Feed(10, 10, 3);
  EXPECT_THAT(sampled_due_, ElementsAre(0, 1, 2, 8, 9, 10));
}

TEST_F(PickerTest, AfterAStallOneSampleIsTakenNotABacklog) {
  Start(v1::SAMPLING_MODE_KEYFRAME, 3);
  Feed(10, 20, 10);
  const size_t before = sampled_due_.size();
  now_ += absl::Seconds(9);
  // 9 s of pictures in a burst.
  for (int i = 0; i < 90; ++i) {
    FeedUnit(Unit(now_, i % 20 == 0));
    now_ += absl::Microseconds(100);
  }
  EXPECT_EQ(sampled_due_.size(), before + 1);
  // Those of 9, 12 and 15 s; that of 18 s is taken.
  EXPECT_EQ(missed_["late"] + missed_["no_keyframe"], 3);
}

TEST_F(PickerTest, ATaskTakenBackIsDecodedLaterAndItsDueTimeStaysEnded) {
  Start(v1::SAMPLING_MODE_EXACT, 1, 32 << 20, 0.5);
  Feed(10, 1000, 1);
  FeedUnit(Unit(now_, false));
  // By hand: the task of 1.5 s finds no room.
  now_ = absl::Milliseconds(1600);
  FramePicker::Picked picked = picker_->OnAccessUnit(Unit(now_, false));
  ++tag_;
  ASSERT_THAT(picked.tasks, SizeIs(1));
  const size_t units = picked.tasks[0].units.size();
  picker_->TakeBack(std::move(picked.tasks[0]));
  ++missed_["overload"];
  sampled_due_.reserve(10);
  now_ = absl::Milliseconds(2600);
  FeedUnit(Unit(now_, false));
  EXPECT_EQ(tasks_.back().units.size(), units + 1);
  EXPECT_TRUE(tasks_.back().sample);
  EXPECT_FALSE(tasks_.back().restart);
}

TEST_F(PickerTest, ANewIntervalTakesEffectAndKeepsTheSequence) {
  Start(v1::SAMPLING_MODE_EXACT, 10);
  Feed(10, 1000, 5);
  EXPECT_THAT(sampled_due_, SizeIs(1));
  sampled_due_.clear();
  missed_.clear();
  ASSERT_TRUE(picker_
                  ->Update({.schedule = {.interval = absl::Seconds(1)},
                            .mode = v1::SAMPLING_MODE_EXACT})
                  .ok());
  Feed(10, 1000, 0.001);
  for (int i = 0; i < 30; ++i) {
    FeedUnit(Unit(now_, false));
    now_ += absl::Milliseconds(100);
  }
  EXPECT_GE(sampled_due_.size(), 3u);
  for (size_t i = 1; i < tasks_.size(); ++i) EXPECT_FALSE(tasks_[i].restart);
}

TEST_F(PickerTest, ABadIntervalIsRefused) {
  EXPECT_THAT(FramePicker::Create({.schedule = {.interval = absl::Seconds(0)}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace camherd::capture
