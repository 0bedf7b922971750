// SPDX-License-Identifier: Apache-2.0
#include "services/inference/results_cache.h"

#include <gtest/gtest.h>

namespace camherd::inference {
namespace {

ResultsCache::Results Results(const std::string& model) {
  camherd::v1::ModelResult result;
  result.set_model(model);
  return {result};
}

TEST(ResultsCacheTest, AnswersOnlyTheSameDigest) {
  ResultsCache cache(10, 1 << 20);
  cache.Put({"s", 1}, "a", Results("m"));
  EXPECT_TRUE(cache.Find({"s", 1}, "a").has_value());
  EXPECT_FALSE(cache.Find({"s", 1}, "b").has_value());
  EXPECT_FALSE(cache.Find({"s", 2}, "a").has_value());
  cache.Put({"s", 1}, "b", Results("m"));
  EXPECT_FALSE(cache.Has({"s", 1}, "a"));
}

TEST(ResultsCacheTest, ForgetsTheLeastRecentlyUsedPastItsNumber) {
  ResultsCache cache(2, 1 << 20);
  cache.Put({"s", 1}, "a", Results("m"));
  cache.Put({"s", 2}, "a", Results("m"));
  EXPECT_TRUE(cache.Find({"s", 1}, "a").has_value());
  cache.Put({"s", 3}, "a", Results("m"));
  EXPECT_TRUE(cache.Has({"s", 1}, "a"));
  EXPECT_FALSE(cache.Has({"s", 2}, "a"));
}

TEST(ResultsCacheTest, HoldsNoMoreThanItsBytes) {
  ResultsCache cache(1000, 5000);
  for (int i = 0; i < 100; ++i) {
    cache.Put({"s", i}, "a", Results(std::string(1000, 'm')));
  }
  EXPECT_TRUE(cache.Has({"s", 99}, "a"));
  EXPECT_FALSE(cache.Has({"s", 90}, "a"));
}

}  // namespace
}  // namespace camherd::inference
