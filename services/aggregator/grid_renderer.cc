// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/grid_renderer.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "absl/strings/str_cat.h"
#include "services/aggregator/jpeg_header.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::aggregator {
namespace {

constexpr int kSide = 3;
constexpr int kCellWidth = 640;
constexpr int kCellHeight = 360;
constexpr int kQuality = 90;

// Decodes at the smallest of JPEG's own scales that is not below the cell.
int ReadMode(const JpegSize& size) {
  const int flags = cv::IMREAD_IGNORE_ORIENTATION;
  const auto fits = [&](int divisor) {
    return size.width / divisor >= kCellWidth ||
           size.height / divisor >= kCellHeight;
  };
  if (fits(8)) return flags | cv::IMREAD_REDUCED_COLOR_8;
  if (fits(4)) return flags | cv::IMREAD_REDUCED_COLOR_4;
  if (fits(2)) return flags | cv::IMREAD_REDUCED_COLOR_2;
  return flags | cv::IMREAD_COLOR;
}

absl::Status DrawCell(const std::string& jpeg, cv::Mat cell) {
  CAMHERD_ASSIGN_OR_RETURN(const JpegSize size, ReadJpegSize(jpeg));
  const cv::Mat bytes(1, static_cast<int>(jpeg.size()), CV_8U,
                      const_cast<char*>(jpeg.data()));
  const cv::Mat picture = cv::imdecode(bytes, ReadMode(size));
  if (picture.empty()) {
    return absl::InvalidArgumentError("JPEG cannot be decoded");
  }
  // The picture's own size decides the fit: reduced decoding rounds.
  const double scale = std::min(static_cast<double>(kCellWidth) / size.width,
                                static_cast<double>(kCellHeight) / size.height);
  const int width = std::clamp(
      static_cast<int>(std::lround(size.width * scale)), 1, kCellWidth);
  const int height = std::clamp(
      static_cast<int>(std::lround(size.height * scale)), 1, kCellHeight);
  const cv::Rect place((kCellWidth - width) / 2, (kCellHeight - height) / 2,
                       width, height);
  cv::resize(picture, cell(place), place.size(), 0, 0,
             picture.cols > width ? cv::INTER_AREA : cv::INTER_LINEAR);
  return absl::OkStatus();
}

}  // namespace

void SortBrightestFirst(std::vector<v1::Frame>& frames) {
  std::stable_sort(
      frames.begin(), frames.end(), [](const v1::Frame& a, const v1::Frame& b) {
        if (a.info().mean_luma() != b.info().mean_luma()) {
          return a.info().mean_luma() > b.info().mean_luma();
        }
        const absl::Time a_time = FromProto(a.info().captured_at());
        const absl::Time b_time = FromProto(b.info().captured_at());
        if (a_time != b_time) return a_time < b_time;
        return a.info().frame_seq() < b.info().frame_seq();
      });
}

absl::StatusOr<std::string> RenderGrid(const std::vector<v1::Frame>& frames) {
  try {
    cv::Mat grid(kSide * kCellHeight, kSide * kCellWidth, CV_8UC3,
                 cv::Scalar::all(0));
    const size_t cells =
        std::min(frames.size(), static_cast<size_t>(kGridCells));
    for (size_t i = 0; i < cells; ++i) {
      const int index = static_cast<int>(i);
      const cv::Rect place(index % kSide * kCellWidth,
                           index / kSide * kCellHeight, kCellWidth,
                           kCellHeight);
      const absl::Status status = DrawCell(frames[i].jpeg(), grid(place));
      if (!status.ok()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "frame ", frames[i].info().frame_seq(), ": ", status.message()));
      }
    }
    std::vector<unsigned char> jpeg;
    if (!cv::imencode(".jpg", grid, jpeg,
                      {cv::IMWRITE_JPEG_QUALITY, kQuality})) {
      return absl::InternalError("the grid cannot be encoded");
    }
    return std::string(jpeg.begin(), jpeg.end());
  } catch (const cv::Exception& e) {
    return absl::InternalError(absl::StrCat("OpenCV: ", e.what()));
  }
}

}  // namespace camherd::aggregator
