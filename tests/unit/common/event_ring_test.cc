// SPDX-License-Identifier: Apache-2.0
#include "services/common/event_ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace camherd {
namespace {

using ::testing::ElementsAre;
using Ring = EventRing<std::string>;

// All that comes after `position`; "reset" for that.
std::vector<std::string> ReadAll(Ring& ring, WatchPosition* position) {
  std::vector<std::string> all;
  while (const auto item = ring.Read(position)) {
    all.push_back(item->reset ? "reset" : *item->event);
  }
  return all;
}

TEST(EventRingTest, AReaderHearsEachEventOnceInOrder) {
  Ring ring(10);
  WatchPosition at = ring.Newest();
  ring.Add("a");
  ring.Add("b");
  EXPECT_THAT(ReadAll(ring, &at), ElementsAre("a", "b"));
  EXPECT_THAT(ReadAll(ring, &at), ElementsAre());
  ring.Add("c");
  EXPECT_THAT(ReadAll(ring, &at), ElementsAre("c"));
}

TEST(EventRingTest, AReaderThatStoodBeforeWhatWasDroppedBeginsAnew) {
  Ring ring(2);
  WatchPosition at = ring.Newest();
  for (const char* event : {"a", "b", "c"}) ring.Add(event);
  EXPECT_THAT(ReadAll(ring, &at), ElementsAre("reset"));
  ring.Add("d");
  EXPECT_THAT(ReadAll(ring, &at), ElementsAre("d"));
  at = ring.Oldest();
  EXPECT_THAT(ReadAll(ring, &at), ElementsAre("c", "d"));
}

TEST(EventRingTest, AReaderOfAnotherRunBeginsAnew) {
  Ring ring(2);
  ring.Add("a");
  WatchPosition at = Ring(2).Newest();
  EXPECT_THAT(ReadAll(ring, &at), ElementsAre("reset"));
  at = WatchPosition();
  EXPECT_THAT(ReadAll(ring, &at), ElementsAre("reset"));
}

TEST(EventRingTest, ANewerEventOfItsKeyTakesThePlaceOfAReplaceableOne) {
  Ring ring(3);
  WatchPosition at = ring.Newest();
  ring.Add("state", "x");
  for (int i = 0; i < 100; ++i) ring.Add("sample", "x", true);
  ring.Add("of another", "y", true);
  EXPECT_THAT(ReadAll(ring, &at), ElementsAre("state", "sample", "of another"));
  at = ring.Oldest();
  ring.Add("state again", "x");
  EXPECT_THAT(ReadAll(ring, &at),
              ElementsAre("state", "of another", "state again"));
}

TEST(EventRingTest, ACopyHasThePositionsOfWhatItIsACopyOf) {
  Ring ring(10);
  Ring copy(10, WatchPosition());
  WatchPosition at;
  EXPECT_FALSE(copy.Read(&at).has_value()) << "it knows nothing yet";
  ring.Add("a");
  ring.Add("b");
  const WatchPosition after_a = {.boot = ring.Newest().boot, .sequence = 1};
  at = after_a;
  copy.Restart(ring.Oldest());
  EXPECT_THAT(ReadAll(copy, &at), ElementsAre()) << "it is not there yet";
  copy.AddAt(1, "a");
  copy.AddAt(2, "b");
  copy.AddAt(2, "b");
  EXPECT_THAT(ReadAll(copy, &at), ElementsAre("b"));
  EXPECT_EQ(at, ring.Newest());
  copy.Restart({.boot = ring.Newest().boot, .sequence = 7});
  EXPECT_THAT(ReadAll(copy, &at), ElementsAre("reset"));
}

TEST(EventRingTest, WhoListensIsWokenByWhatComesAndByTheEnd) {
  Ring ring(10);
  int woken = 0;
  const auto id = ring.Listen([&] { ++woken; }, 1);
  ASSERT_TRUE(id.has_value());
  EXPECT_FALSE(ring.Listen([] {}, 1).has_value()) << "there is one already";
  ring.Add("a");
  EXPECT_EQ(woken, 1);
  ring.Close();
  EXPECT_EQ(woken, 2);
  EXPECT_TRUE(ring.closed());
  ring.Unlisten(*id);
  EXPECT_FALSE(ring.watched());
  ring.Add("b");
  EXPECT_EQ(woken, 2);
}

}  // namespace
}  // namespace camherd
