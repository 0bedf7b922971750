// SPDX-License-Identifier: Apache-2.0
#include "services/inference/detection_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/status_matchers.h"

namespace camherd::inference {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::v1::Detection;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// 64x64: 8 * 8 + 4 * 4 + 2 * 2 anchors.
constexpr size_t kAnchors = 84;
constexpr InputSize kInput = {64, 64};

DetectionDecoder Decoder(const std::string& output) {
  return DetectionDecoder({.output = output,
                           .class_names = {"cat", "car", "dog"},
                           .classes = {"cat", "dog"}});
}

// The output of a network of three classes, all zero but for what is set.
class Yolov8Output {
 public:
  Yolov8Output() : values_((4 + 3) * kAnchors, 0.0F) {}
  void Set(size_t anchor, std::vector<float> box, std::vector<float> scores) {
    for (size_t i = 0; i < 4; ++i) values_[i * kAnchors + anchor] = box[i];
    for (size_t i = 0; i < 3; ++i) {
      values_[(4 + i) * kAnchors + anchor] = scores[i];
    }
  }
  // Of a picture of 128x128 in an input of 64x64.
  std::vector<Detection> Decode(const InferOptions& options = {}) const {
    return Decoder("yolov8").Decode(values_,
                                    MakeLetterbox(128, 128, 64, 64, {}),
                                    {5, "", 128, 128}, options);
  }

 private:
  std::vector<float> values_;
};

TEST(DetectionDecoderTest, Yolov8BoxesAreCentresInInputPixels) {
  Yolov8Output output;
  output.Set(3, {20, 30, 10, 20}, {0.1F, 0.2F, 0.9F});
  const std::vector<Detection> found = output.Decode();
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].class_name(), "dog");
  EXPECT_EQ(found[0].frame_index(), 5);
  EXPECT_FLOAT_EQ(found[0].confidence(), 0.9F);
  EXPECT_FLOAT_EQ(found[0].box().x1(), 30);
  EXPECT_FLOAT_EQ(found[0].box().y1(), 40);
  EXPECT_FLOAT_EQ(found[0].box().x2(), 50);
  EXPECT_FLOAT_EQ(found[0].box().y2(), 80);
}

TEST(DetectionDecoderTest, AnAnchorWhoseBestClassIsNotKeptIsGone) {
  Yolov8Output output;
  output.Set(0, {20, 30, 10, 20}, {0.5F, 0.8F, 0.1F});
  EXPECT_THAT(output.Decode(), IsEmpty());
}

TEST(DetectionDecoderTest, EveryClassCountsWhereThatIsAskedFor) {
  Yolov8Output output;
  output.Set(0, {20, 30, 10, 20}, {0.5F, 0.8F, 0.3F});
  const std::vector<Detection> found = output.Decode({.every_class = true});
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[0].class_name(), "cat");
  EXPECT_EQ(found[1].class_name(), "dog");
}

TEST(DetectionDecoderTest, KeepsTheBestOfBoxesOfAClassThatOverlap) {
  Yolov8Output output;
  output.Set(0, {20, 30, 10, 20}, {0.6F, 0, 0});
  output.Set(1, {20, 30, 10, 20}, {0.7F, 0, 0});
  output.Set(2, {20, 30, 10, 20}, {0, 0, 0.4F});
  output.Set(3, {50, 30, 10, 20}, {0.5F, 0, 0});
  const std::vector<Detection> found = output.Decode();
  ASSERT_THAT(found, SizeIs(3));
  EXPECT_FLOAT_EQ(found[0].confidence(), 0.7F);
  EXPECT_FLOAT_EQ(found[1].confidence(), 0.5F);
  EXPECT_EQ(found[2].class_name(), "dog");
}

TEST(DetectionDecoderTest, CutsBoxesToThePictureAndDropsWhatIsNone) {
  Yolov8Output output;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  output.Set(0, {0, 0, 20, 20}, {0.9F, 0, 0});
  output.Set(1, {-50, 30, 10, 10}, {0.8F, 0, 0});
  output.Set(2, {nan, 30, 10, 10}, {0.8F, 0, 0});
  output.Set(4, {30, 30, 10, 10}, {nan, nan, nan});
  const std::vector<Detection> found = output.Decode();
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_FLOAT_EQ(found[0].box().x1(), 0);
  EXPECT_FLOAT_EQ(found[0].box().x2(), 20);
}

TEST(DetectionDecoderTest, YoloxBoxesAreRelativeToTheCellOfTheirStride) {
  std::vector<float> values(kAnchors * 8, 0.0F);
  // The cell in column 1, row 2 of stride 16: after the 64 of stride 8.
  float* const row = values.data() + (64 + 2 * 4 + 1) * 8;
  row[0] = 0.5F;
  row[1] = 0.25F;
  row[2] = std::log(2.0F);
  row[3] = 0;
  row[4] = 0.8F;
  row[7] = 0.5F;
  const std::vector<Detection> found = Decoder("yolox").Decode(
      values, MakeLetterbox(64, 64, 64, 64, {}), {0, "", 64, 64}, {});
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].class_name(), "dog");
  EXPECT_FLOAT_EQ(found[0].confidence(), 0.4F);
  EXPECT_FLOAT_EQ(found[0].box().x1(), 24 - 16);
  EXPECT_FLOAT_EQ(found[0].box().x2(), 24 + 16);
  EXPECT_FLOAT_EQ(found[0].box().y1(), 36 - 8);
  EXPECT_FLOAT_EQ(found[0].box().y2(), 36 + 8);
}

TEST(DetectionDecoderTest, NamesTheShapeThatDoesNotFitTheManifest) {
  EXPECT_THAT(Decoder("yolov8").CheckShape({7, kAnchors}, kInput), IsOk());
  EXPECT_THAT(Decoder("yolox").CheckShape({kAnchors, 8}, kInput), IsOk());
  EXPECT_THAT(
      Decoder("yolov8").CheckShape({84, kAnchors}, kInput),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("must be [1, 7, 84] (yolov8, 3 classes, input 64x64), "
                         "got [1, 84, 84]")));
  EXPECT_THAT(Decoder("yolox").CheckShape({7, kAnchors}, kInput),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace camherd::inference
