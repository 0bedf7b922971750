// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

#include "camherd/v1/frame.pb.h"
#include "services/common/file.h"
#include "services/common/time_proto.h"
#include "tests/unit/aggregator/aggregator_testing.h"

// Real JPEGs for tests of what decodes them.
namespace camherd::aggregator::testing {

inline std::string MakeJpeg(int width, int height, const cv::Scalar& bgr) {
  std::vector<unsigned char> jpeg;
  cv::imencode(".jpg", cv::Mat(height, width, CV_8UC3, bgr), jpeg);
  return {jpeg.begin(), jpeg.end()};
}

inline cv::Mat DecodeJpeg(const std::string& jpeg) {
  return cv::imdecode(std::vector<unsigned char>(jpeg.begin(), jpeg.end()),
                      cv::IMREAD_COLOR);
}

inline v1::Frame MakeFrame(int64_t seq, double luma, const std::string& jpeg) {
  v1::Frame frame;
  frame.mutable_info()->set_frame_seq(seq);
  frame.mutable_info()->set_mean_luma(luma);
  *frame.mutable_info()->mutable_captured_at() =
      ToProto(FirstFrame() + absl::Seconds(seq));
  frame.mutable_info()->set_sha256(Sha256(jpeg));
  frame.set_jpeg(jpeg);
  return frame;
}

}  // namespace camherd::aggregator::testing
