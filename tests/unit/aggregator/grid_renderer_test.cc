// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/grid_renderer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/unit/aggregator/picture_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::DecodeJpeg;
using ::camherd::aggregator::testing::MakeFrame;
using ::camherd::aggregator::testing::MakeJpeg;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;

int GreyAt(const cv::Mat& grid, int x, int y) {
  return grid.at<cv::Vec3b>(y, x)[1];
}

TEST(GridRendererTest, SortsBrightestFirstTheEarlierOfEqualOnes) {
  std::vector<v1::Frame> frames = {MakeFrame(3, 50, ""), MakeFrame(2, 90, ""),
                                   MakeFrame(1, 50, ""), MakeFrame(4, 200, "")};
  SortBrightestFirst(frames);
  std::vector<int64_t> order;
  for (const v1::Frame& frame : frames) {
    order.push_back(frame.info().frame_seq());
  }
  EXPECT_THAT(order, ::testing::ElementsAre(4, 2, 1, 3));
}

TEST(GridRendererTest, PutsNineInOrderRowByRow) {
  std::vector<v1::Frame> frames;
  for (int i = 0; i < 9; ++i) {
    frames.push_back(
        MakeFrame(i, 0, MakeJpeg(1920, 1080, cv::Scalar::all(240 - 20 * i))));
  }
  const auto jpeg = RenderGrid(frames);
  ASSERT_THAT(jpeg, IsOk());
  const cv::Mat grid = DecodeJpeg(*jpeg);
  ASSERT_EQ(grid.cols, 1920);
  ASSERT_EQ(grid.rows, 1080);
  for (int i = 0; i < 9; ++i) {
    EXPECT_NEAR(GreyAt(grid, i % 3 * 640 + 320, i / 3 * 360 + 180),
                240 - 20 * i, 3);
  }
}

TEST(GridRendererTest, LetterboxesOtherShapesAndLeavesTheRestBlack) {
  const auto jpeg =
      RenderGrid({MakeFrame(1, 0, MakeJpeg(360, 720, cv::Scalar::all(200))),
                  MakeFrame(2, 0, MakeJpeg(20, 4, cv::Scalar::all(200)))});
  ASSERT_THAT(jpeg, IsOk());
  const cv::Mat grid = DecodeJpeg(*jpeg);
  EXPECT_NEAR(GreyAt(grid, 320, 180), 200, 3);  // 180x360, centred.
  EXPECT_NEAR(GreyAt(grid, 200, 180), 0, 3);
  EXPECT_NEAR(GreyAt(grid, 640 + 320, 180), 200, 3);  // 640x128, centred.
  EXPECT_NEAR(GreyAt(grid, 640 + 320, 60), 0, 3);
  EXPECT_NEAR(GreyAt(grid, 320, 540), 0, 3);  // No frame.
}

TEST(GridRendererTest, NamesTheFrameThatIsNoJpeg) {
  EXPECT_THAT(RenderGrid({MakeFrame(7, 0, "nonsense")}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("frame 7: not a JPEG")));
}

TEST(GridRendererTest, NamesTheFrameThatIsCutShort) {
  const std::string jpeg = MakeJpeg(640, 360, cv::Scalar::all(200));
  // Header whole, no scan.
  const size_t scan = jpeg.find("\xFF\xDA");
  EXPECT_THAT(
      RenderGrid({MakeFrame(7, 0, jpeg.substr(0, scan))}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("frame 7")));
}

}  // namespace
}  // namespace camherd::aggregator
