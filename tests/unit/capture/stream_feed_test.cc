// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_feed.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>

#include "absl/synchronization/mutex.h"
#include "services/common/clock.h"

namespace camherd::capture {
namespace {

class StreamFeedTest : public ::testing::Test {
 protected:
  StreamFeedTest() { feed_.Start(); }

  void Put(v1::StreamState state, int64_t captured) {
    absl::MutexLock lock(&mu_);
    v1::Stream stream;
    stream.set_stream_id("a");
    stream.set_camera_id("CAM-a");
    stream.set_state(state);
    stream.mutable_accounting()->set_captured(captured);
    streams_["a"] = stream;
  }
  void Remove() {
    absl::MutexLock lock(&mu_);
    streams_.clear();
  }

  // The next event; an empty one if none comes.
  v1::WatchStreamsResponse Next() {
    const absl::Duration until = Clock::Real().SteadyNow() + absl::Seconds(10);
    while (Clock::Real().SteadyNow() < until) {
      if (const auto item = feed_.ring().Read(&at_)) return *item->event;
      Clock::Real().SleepFor(absl::Milliseconds(1));
    }
    return {};
  }

  absl::Mutex mu_;
  std::map<std::string, v1::Stream> streams_ ABSL_GUARDED_BY(mu_);
  StreamFeed feed_{[this](const std::string& id) -> std::optional<v1::Stream> {
    absl::MutexLock lock(&mu_);
    const auto found = streams_.find(id);
    if (found == streams_.end()) return std::nullopt;
    return found->second;
  }};
  WatchPosition at_ = feed_.ring().Newest();
};

TEST_F(StreamFeedTest, TellsOfAChangeOnceAndOfNoneWhereNothingHas) {
  Put(v1::STREAM_STATE_STARTING, 0);
  feed_.Changed("a");
  EXPECT_EQ(Next().stream().state(), v1::STREAM_STATE_STARTING);
  feed_.Changed("a");
  Put(v1::STREAM_STATE_RUNNING, 0);
  feed_.Changed("a");
  EXPECT_EQ(Next().stream().state(), v1::STREAM_STATE_RUNNING);
}

TEST_F(StreamFeedTest, CountersAreToldAsSuchAndOnlyToWhoWatches) {
  Put(v1::STREAM_STATE_RUNNING, 1);
  feed_.Changed("a");
  EXPECT_FALSE(Next().sample());
  Put(v1::STREAM_STATE_RUNNING, 2);
  feed_.Counted("a");
  const auto listener = feed_.ring().Listen([] {});
  Put(v1::STREAM_STATE_RUNNING, 3);
  feed_.Counted("a");
  const v1::WatchStreamsResponse event = Next();
  EXPECT_TRUE(event.sample());
  EXPECT_EQ(event.stream().accounting().captured(), 3);
  feed_.ring().Unlisten(*listener);
}

TEST_F(StreamFeedTest, ADeletedStreamIsToldByItsIds) {
  Put(v1::STREAM_STATE_RUNNING, 1);
  feed_.Changed("a");
  EXPECT_EQ(Next().stream().stream_id(), "a");
  Remove();
  feed_.Changed("a");
  const v1::WatchStreamsResponse event = Next();
  EXPECT_TRUE(event.deleted());
  EXPECT_EQ(event.stream().camera_id(), "CAM-a");
  EXPECT_EQ(event.stream().state(), v1::STREAM_STATE_UNSPECIFIED);
}

TEST_F(StreamFeedTest, ALookAtAStreamTellsWhatNobodySaid) {
  v1::Stream stream;
  stream.set_stream_id("a");
  stream.set_state(v1::STREAM_STATE_RUNNING);
  feed_.Know(stream);
  Put(v1::STREAM_STATE_RUNNING, 1);
  feed_.LookAt(stream);
  stream.set_state_reason("the disk is full");
  feed_.LookAt(stream);
  // As it is now, whatever made it look.
  EXPECT_EQ(Next().stream().camera_id(), "CAM-a");
}

}  // namespace
}  // namespace camherd::capture
