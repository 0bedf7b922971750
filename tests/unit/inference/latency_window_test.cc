// SPDX-License-Identifier: Apache-2.0
#include "services/inference/latency_window.h"

#include <gtest/gtest.h>

namespace camherd::inference {
namespace {

TEST(LatencyWindowTest, HasNoLatencyBeforeTheFirst) {
  EXPECT_EQ(LatencyWindow().Quantile(0.99), absl::ZeroDuration());
}

TEST(LatencyWindowTest, SaysWhatAShareOfThemStaysBelow) {
  LatencyWindow window;
  for (int ms = 100; ms >= 0; --ms) window.Add(absl::Milliseconds(ms));
  EXPECT_EQ(window.Quantile(0), absl::Milliseconds(0));
  EXPECT_EQ(window.Quantile(0.5), absl::Milliseconds(50));
  EXPECT_EQ(window.Quantile(0.99), absl::Milliseconds(99));
  EXPECT_EQ(window.Quantile(1), absl::Milliseconds(100));
}

TEST(LatencyWindowTest, ForgetsTheOldest) {
  LatencyWindow window;
  window.Add(absl::Hours(1));
  for (size_t i = 0; i < LatencyWindow::kSize - 1; ++i) {
    window.Add(absl::Milliseconds(5));
  }
  EXPECT_EQ(window.Quantile(1), absl::Hours(1));
  window.Add(absl::Milliseconds(5));
  EXPECT_EQ(window.Quantile(1), absl::Milliseconds(5));
  window.Clear();
  EXPECT_EQ(window.Quantile(1), absl::ZeroDuration());
}

}  // namespace
}  // namespace camherd::inference
