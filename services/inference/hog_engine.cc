// SPDX-License-Identifier: Apache-2.0
#include "services/inference/hog_engine.h"

#include <cmath>
#include <iterator>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/objdetect.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/status_macros.h"
#include "services/inference/nms.h"
#include "services/inference/shared_bitmap.h"
#include "services/inference/turns.h"

namespace camherd::inference {
namespace {

constexpr int kMaxWidth = 640;
// The detector's window.
constexpr int kWindowWidth = 64;
constexpr int kWindowHeight = 128;
constexpr double kRimX = 0.1;
constexpr double kRimY = 0.07;

double ScoreOf(double margin) { return 1 / (1 + std::exp(-2 * margin)); }

}  // namespace

struct HogEngine::Impl {
  explicit Impl(const Options& opts) : options(opts), turns(opts.parallel) {}

  const Options options;
  cv::HOGDescriptor detector;

  Turns turns;

  // Adds what one decoded picture holds.
  void Detect(const Bitmap& decoded, const Picture& picture, double min_score,
              std::vector<camherd::v1::Detection>& detections) const {
    cv::Mat image(decoded.height, decoded.width, CV_8UC3, decoded.pixels.get());
    double scale = 1;
    if (decoded.width > kMaxWidth) {
      scale = static_cast<double>(kMaxWidth) / decoded.width;
      cv::Mat small;
      cv::resize(image, small, cv::Size(), scale, scale, cv::INTER_AREA);
      image = small;
    }
    if (image.cols < kWindowWidth || image.rows < kWindowHeight) return;
    std::vector<cv::Rect> found;
    std::vector<double> margins;
    detector.detectMultiScale(image, found, margins, /*hitThreshold=*/0,
                              cv::Size(8, 8), cv::Size(), /*scale=*/1.05,
                              /*groupThreshold=*/0);
    for (size_t i = 0; i < found.size(); ++i) {
      const double score = ScoreOf(margins[i]);
      if (score < min_score) continue;
      const cv::Rect& r = found[i];
      camherd::v1::Detection detection;
      detection.set_class_name("person");
      detection.set_confidence(static_cast<float>(score));
      detection.set_frame_index(picture.frame_index);
      camherd::v1::Box& box = *detection.mutable_box();
      const auto at = [scale](double v) {
        return static_cast<float>(v / scale);
      };
      box.set_x1(at(r.x + kRimX * r.width));
      box.set_x2(at(r.x + (1 - kRimX) * r.width));
      box.set_y1(at(r.y + kRimY * r.height));
      box.set_y2(at(r.y + (1 - kRimY) * r.height));
      if (ClipBox(decoded.width, decoded.height, box)) {
        detections.push_back(std::move(detection));
      }
    }
  }
};

HogEngine::HogEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HogEngine::~HogEngine() { Stop(); }

absl::StatusOr<std::unique_ptr<HogEngine>> HogEngine::Create(
    const Options& options) {
  // Our threads are the parallelism; OpenCV's pool would only spin.
  cv::setNumThreads(1);
  auto impl = std::make_unique<Impl>(options);
  impl->detector.setSVMDetector(cv::HOGDescriptor::getDefaultPeopleDetector());
  return std::unique_ptr<HogEngine>(new HogEngine(std::move(impl)));
}

absl::StatusOr<InferResult> HogEngine::Infer(absl::Span<const Picture> pictures,
                                             const InferOptions& options) {
  struct Looked {
    absl::Status status;
    std::vector<camherd::v1::Detection> detections;
    bool undecodable = false;
  };
  std::vector<Looked> looked(pictures.size());
  const auto look = [&](int i) {
    Looked& mine = looked[i];
    try {
      const auto decoded = SharedBitmap::Decode(
          pictures[i], {.max_pixels = impl_->options.max_pixels});
      if (decoded.ok()) {
        impl_->Detect(**decoded, pictures[i], options.min_score,
                      mine.detections);
      } else {
        mine.undecodable = true;
      }
    } catch (const cv::Exception& error) {
      mine.status = absl::AbortedError(absl::StrCat("OpenCV: ", error.what()));
    }
  };
  InferResult result;
  if (!impl_->turns.ForEach(static_cast<int>(pictures.size()),
                            options.queue_timeout, look, &result.waited)) {
    return absl::UnavailableError("the hog engine had no turn");
  }
  for (size_t i = 0; i < looked.size(); ++i) {
    CAMHERD_RETURN_IF_ERROR(looked[i].status);
    if (looked[i].undecodable) {
      result.undecodable_frames.push_back(pictures[i].frame_index);
    }
    std::move(looked[i].detections.begin(), looked[i].detections.end(),
              std::back_inserter(result.detections));
  }
  SuppressNonMaxima(result.detections, options.nms_iou);
  return result;
}

void HogEngine::Stop() { impl_->turns.Stop(); }

int HogEngine::queue_depth() const { return impl_->turns.waiting(); }

}  // namespace camherd::inference
