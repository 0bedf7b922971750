// SPDX-License-Identifier: Apache-2.0
#include "services/capture/camera_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/fake_clock.h"
#include "tests/unit/capture/supervisor_testbed.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::FakeClock;
using ::testing::ElementsAre;
using testing::Eventually;
using testing::FakeAggregator;
using ::testing::IsEmpty;
using testing::TempDir;

v1::Camera Camera(const std::string& id, int masks) {
  v1::Camera camera;
  camera.set_camera_id(id);
  camera.set_name("North gate");
  for (int i = 0; i < masks; ++i) {
    camera.add_privacy_masks()->add_points()->set_x(0.1 * i);
  }
  return camera;
}

class CameraBookTest : public ::testing::Test {
 protected:
  CameraBookTest() { Open(); }

  // As a start of the service.
  void Open() {
    book_.reset();
    store_.reset();
    store_ = StreamStore::Open({.data_dir = dir_.path()}).value();
    book_ = std::make_unique<CameraBook>(
        options_, *store_, aggregator_,
        [this](const CameraBook::MaskNews& news) {
          all_ = news.all;
          news_.assign(news.camera_ids.begin(), news.camera_ids.end());
        },
        clock_);
    EXPECT_TRUE(book_->Load().ok());
  }

  // -1: not known.
  int Masks(const std::string& id) {
    const auto masks = book_->PrivacyMasks(id);
    return masks.has_value() ? static_cast<int>(masks->size()) : -1;
  }

  TempDir dir_;
  FakeClock clock_;
  FakeAggregator aggregator_;
  CameraBook::Options options_;
  std::unique_ptr<StreamStore> store_;
  std::unique_ptr<CameraBook> book_;
  bool all_ = false;
  std::vector<std::string> news_;
};

TEST_F(CameraBookTest, KnowsNothingUntilTheAggregatorHasAnswered) {
  aggregator_.SetCamerasStatus(absl::UnavailableError("away"));
  EXPECT_FALSE(book_->Refresh());
  EXPECT_EQ(Masks("a"), -1);
  EXPECT_FALSE(book_->age().has_value());
  aggregator_.SetCamerasStatus(absl::OkStatus());
  aggregator_.PutCamera(Camera("a", 2));
  EXPECT_TRUE(book_->Refresh());
  EXPECT_EQ(Masks("a"), 2);
  EXPECT_EQ(Masks("b"), 0);
  EXPECT_TRUE(all_);
  EXPECT_THAT(news_, ElementsAre("a"));
  clock_.Advance(absl::Seconds(3));
  EXPECT_EQ(book_->age(), absl::Seconds(3));
}

TEST_F(CameraBookTest, AnAggregatorWithoutCamerasHasNoMasks) {
  aggregator_.SetCamerasStatus(absl::UnimplementedError("old"));
  EXPECT_TRUE(book_->Refresh());
  EXPECT_EQ(Masks("a"), 0);
}

TEST_F(CameraBookTest, ReadsAllPagesAndThenOnlyWhatChanged) {
  for (const char* id : {"a", "b", "c"}) aggregator_.PutCamera(Camera(id, 1));
  EXPECT_TRUE(book_->Refresh());
  EXPECT_EQ(aggregator_.listed(), 3);
  EXPECT_EQ(Masks("c"), 1);
  EXPECT_TRUE(book_->Refresh());
  EXPECT_EQ(aggregator_.listed(), 4);
  news_.clear();
  aggregator_.PutCamera(Camera("b", 2));
  EXPECT_TRUE(book_->Refresh());
  EXPECT_EQ(aggregator_.listed(), 5);
  EXPECT_EQ(Masks("b"), 2);
  EXPECT_EQ(Masks("c"), 1);
  EXPECT_FALSE(all_);
  EXPECT_THAT(news_, ElementsAre("b"));
  aggregator_.PutCamera(Camera("b", 0));
  EXPECT_TRUE(book_->Refresh());
  EXPECT_EQ(Masks("b"), 0);
  EXPECT_THAT(news_, ElementsAre("b"));
}

TEST_F(CameraBookTest, AnEditOfNameOrZonesIsNoNewsOfMasks) {
  v1::Camera camera = Camera("a", 1);
  aggregator_.PutCamera(camera);
  EXPECT_TRUE(book_->Refresh());
  news_.clear();
  camera.set_name("South gate");
  camera.add_zones()->set_name("road");
  (*camera.mutable_class_thresholds())["dog"] = 0.5;
  camera.add_classes("dog");
  aggregator_.PutCamera(camera);
  EXPECT_TRUE(book_->Refresh());
  EXPECT_THAT(news_, IsEmpty());
  const v1::DetectionFilter filter = book_->Filter("a");
  EXPECT_EQ(filter.zones(0).name(), "road");
  EXPECT_EQ(filter.class_thresholds().at("dog"), 0.5);
  EXPECT_EQ(filter.classes(0), "dog");
  EXPECT_EQ(book_->Filter("b").ByteSizeLong(), 0u);
}

TEST_F(CameraBookTest, ItsCopyServesAStartWithoutTheAggregator) {
  aggregator_.PutCamera(Camera("a", 2));
  EXPECT_TRUE(book_->Refresh());
  aggregator_.SetCamerasStatus(absl::UnavailableError("away"));
  Open();
  EXPECT_EQ(Masks("a"), 2);
  EXPECT_EQ(Masks("b"), 0);
  EXPECT_FALSE(book_->Refresh());
  EXPECT_EQ(Masks("a"), 2);
  // What changed meanwhile is all that is asked for.
  aggregator_.SetCamerasStatus(absl::OkStatus());
  aggregator_.PutCamera(Camera("b", 1));
  const int before = aggregator_.listed();
  EXPECT_TRUE(book_->Refresh());
  EXPECT_EQ(aggregator_.listed(), before + 1);
  EXPECT_THAT(news_, ElementsAre("b"));
}

TEST_F(CameraBookTest, ARevisionThatWentBackIsAnotherStore) {
  aggregator_.PutCamera(Camera("a", 1));
  aggregator_.PutCamera(Camera("b", 1));
  EXPECT_TRUE(book_->Refresh());
  aggregator_.LoseCameras();
  aggregator_.PutCamera(Camera("b", 3));
  EXPECT_TRUE(book_->Refresh());
  EXPECT_EQ(Masks("a"), 0);
  EXPECT_EQ(Masks("b"), 3);
  EXPECT_THAT(news_, ElementsAre("a", "b"));
  aggregator_.PutCamera(Camera("c", 1));
  EXPECT_TRUE(book_->Refresh());
  EXPECT_EQ(Masks("c"), 1);
  EXPECT_EQ(Masks("b"), 3);
}

TEST_F(CameraBookTest, RefreshesByItselfOnceStarted) {
  options_.refresh = absl::Milliseconds(2);
  options_.retry = absl::Milliseconds(1);
  aggregator_.SetCamerasStatus(absl::UnavailableError("away"));
  Open();
  book_->Start();
  EXPECT_TRUE(Eventually([&] { return aggregator_.listed() > 2; }));
  EXPECT_EQ(Masks("a"), -1);
  aggregator_.PutCamera(Camera("a", 2));
  aggregator_.SetCamerasStatus(absl::OkStatus());
  EXPECT_TRUE(Eventually([&] { return Masks("a") == 2; }));
  book_->Stop();
}

}  // namespace
}  // namespace camherd::capture
