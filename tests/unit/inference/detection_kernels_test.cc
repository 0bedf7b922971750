// SPDX-License-Identifier: Apache-2.0
//
// The host's kernels beside OpenCV's; what is known of them alone is tested in
// services/inference/kernels.
#include "services/inference/kernels/detection_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <random>
#include <vector>

namespace camherd::inference {
namespace {

TEST(DetectionKernelsTest, ScalesAsOpenCvDoesButForRounding) {
  constexpr int kSide = 320;
  std::mt19937 random(1);
  for (const auto& [width, height] :
       {std::pair{960, 540}, {333, 517}, {64, 48}, {320, 180}, {1, 1}}) {
    cv::Mat pixels(height, width, CV_8UC3);
    cv::randu(pixels, 0, 256);
    const double scale = static_cast<double>(kSide) /
                         static_cast<double>(std::max(width, height));
    const cv::Size inner(std::max(1, static_cast<int>(width * scale)),
                         std::max(1, static_cast<int>(height * scale)));
    cv::Mat scaled;
    cv::resize(pixels, scaled, inner, 0, 0, cv::INTER_LINEAR);
    const PlacedPicture picture{pixels.data, width,       height,      0,
                                0,           inner.width, inner.height};
    std::vector<float> input(3 * kSide * kSide);
    LetterboxOnHost({&picture, 1}, {kSide, kSide, 114, 1}, input.data());
    for (int y = 0; y < inner.height; ++y) {
      for (int x = 0; x < inner.width; ++x) {
        for (int c = 0; c < 3; ++c) {
          const float got =
              input[static_cast<size_t>((c * kSide + y) * kSide + x)];
          ASSERT_LE(std::fabs(got - scaled.at<cv::Vec3b>(y, x)[c]), 1)
              << width << "x" << height << " at " << x << ", " << y;
        }
      }
    }
  }
}

}  // namespace
}  // namespace camherd::inference
