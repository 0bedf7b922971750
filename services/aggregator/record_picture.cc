// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/record_picture.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/aggregator/jpeg_header.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {
namespace {

constexpr int kQuality = 85;

// A colour for a class, the same in every picture, never too dark for black
// text.
cv::Scalar ColourOf(absl::string_view class_name) {
  uint32_t hash = 2166136261U;  // FNV-1a.
  for (const char c : class_name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  }
  return {80.0 + (hash & 0x7F), 80.0 + ((hash >> 8) & 0x7F),
          128.0 + ((hash >> 16) & 0x7F)};
}

void DrawBox(cv::Mat& picture, const v1::Detection& detection, double scale) {
  const auto pixel = [scale](float value, int limit) {
    return static_cast<int>(
        std::lround(std::clamp(static_cast<double>(value) * scale, 0.0,
                               static_cast<double>(limit - 1))));
  };
  const v1::Box& box = detection.box();
  const cv::Point from(pixel(box.x1(), picture.cols),
                       pixel(box.y1(), picture.rows));
  const cv::Point to(pixel(box.x2(), picture.cols),
                     pixel(box.y2(), picture.rows));
  const cv::Scalar colour = ColourOf(detection.class_name());
  const int thickness = std::max(1, picture.cols / 400);
  cv::rectangle(picture, from, to, colour, thickness);
  const std::string label = absl::StrFormat("%s %.2f", detection.class_name(),
                                            detection.confidence());
  const double font = std::clamp(picture.cols / 1600.0, 0.35, 3.0);
  int baseline = 0;
  const cv::Size text = cv::getTextSize(label, cv::FONT_HERSHEY_SIMPLEX, font,
                                        thickness, &baseline);
  const int top = std::max(0, from.y - text.height - baseline);
  cv::rectangle(picture,
                cv::Rect(from.x, top, text.width, text.height + baseline),
                colour, cv::FILLED);
  cv::putText(picture, label, cv::Point(from.x, top + text.height),
              cv::FONT_HERSHEY_SIMPLEX, font, cv::Scalar::all(0), thickness,
              cv::LINE_AA);
}

}  // namespace

absl::StatusOr<int> ChoosePicture(const v1::Record& record,
                                  const std::string& complaint_type,
                                  bool first_frame) {
  if (first_frame) return 0;
  for (const v1::Evidence& evidence : record.evidence()) {
    if (complaint_type.empty() || evidence.complaint_type() == complaint_type) {
      return evidence.frame_index();
    }
  }
  if (complaint_type.empty()) return 0;
  return absl::NotFoundError(
      absl::StrCat("record ", record.record_id(),
                   " has no evidence for complaint type ", complaint_type));
}

std::vector<v1::Detection> DetectionsOf(const v1::Record& record,
                                        int frame_index) {
  std::vector<v1::Detection> detections;
  for (const v1::RecordSection& section : record.sections()) {
    for (const v1::Detection& detection : section.detections()) {
      if (detection.frame_index() == frame_index) {
        detections.push_back(detection);
      }
    }
  }
  return detections;
}

absl::StatusOr<std::string> DrawRecordPicture(
    absl::string_view jpeg, const std::vector<v1::Detection>& detections,
    int width) {
  CAMHERD_ASSIGN_OR_RETURN(const JpegSize size, ReadJpegSize(jpeg));
  if (width == size.width) width = 0;
  if (detections.empty() && width == 0) return std::string(jpeg);
  const double scale =
      width == 0 ? 1.0 : static_cast<double>(width) / size.width;
  const int height =
      std::max(1, static_cast<int>(std::lround(size.height * scale)));
  if (width > 0 && int64_t{width} * height > kMaxPixels) {
    return absl::InvalidArgumentError(
        absl::StrCat("width ", width, " makes a picture of ", width, "x",
                     height, " pixels, more than the limit of ", kMaxPixels));
  }
  try {
    const cv::Mat bytes(1, static_cast<int>(jpeg.size()), CV_8U,
                        const_cast<char*>(jpeg.data()));
    int flags = cv::IMREAD_COLOR;
    if (width > 0 && width * 4 <= size.width) {
      flags = cv::IMREAD_REDUCED_COLOR_4;
    } else if (width > 0 && width * 2 <= size.width) {
      flags = cv::IMREAD_REDUCED_COLOR_2;
    }
    cv::Mat picture =
        cv::imdecode(bytes, flags | cv::IMREAD_IGNORE_ORIENTATION);
    if (picture.empty()) {
      return absl::InvalidArgumentError("JPEG cannot be decoded");
    }
    if (width > 0) {
      cv::Mat scaled;
      cv::resize(picture, scaled, cv::Size(width, height), 0, 0,
                 width < picture.cols ? cv::INTER_AREA : cv::INTER_LINEAR);
      picture = scaled;
    }
    for (const v1::Detection& detection : detections) {
      DrawBox(picture, detection, scale);
    }
    std::vector<unsigned char> out;
    if (!cv::imencode(".jpg", picture, out,
                      {cv::IMWRITE_JPEG_QUALITY, kQuality})) {
      return absl::InternalError("the picture cannot be encoded");
    }
    return std::string(out.begin(), out.end());
  } catch (const cv::Exception& e) {
    return absl::InternalError(absl::StrCat("OpenCV: ", e.what()));
  }
}

}  // namespace camherd::aggregator
