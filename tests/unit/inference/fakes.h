// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "camherd/v1/inference_service.pb.h"
#include "services/common/file.h"
#include "services/inference/engine.h"
#include "services/inference/model_registry.h"
#include "services/inference/result_sink.h"
#include "tests/support/temp_dir.h"

namespace camherd::inference::testing {

class TempDir : public camherd::testing::TempDir {
 public:
  // Writes `text` to a file, whose folders it makes, and returns its path.
  std::string Write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = std::filesystem::path(path()) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << text;
    return file.string();
  }
};

// What the fake engines of one test do, and what was asked of them.
struct FakeBehaviour {
  // Answers one batch; by default a dog in each frame with an odd index.
  std::function<absl::StatusOr<InferResult>(absl::Span<const Picture>)> infer =
      [](absl::Span<const Picture> pictures) {
        InferResult result;
        for (const Picture& picture : pictures) {
          if (picture.frame_index % 2 == 0) continue;
          camherd::v1::Detection dog;
          dog.set_class_name("dog");
          dog.set_confidence(0.9F);
          dog.set_frame_index(picture.frame_index);
          dog.mutable_box()->set_x2(10);
          dog.mutable_box()->set_y2(10);
          result.detections.push_back(dog);
        }
        return result;
      };
  // Size at which the engine wants a picture decoded; by default its full one.
  std::function<JpegSize(const Picture&)> decoded_size =
      [](const Picture& picture) {
        return JpegSize{picture.width, picture.height};
      };
  // Makes an engine; by default at once.
  std::function<absl::Status(const EngineRequest&, const PrepareProgressFn&,
                             const StopSignal&)>
      make = [](const EngineRequest&, const PrepareProgressFn&,
                const StopSignal&) { return absl::OkStatus(); };

  absl::Mutex mu;
  int made ABSL_GUARDED_BY(mu) = 0;
  int inferred ABSL_GUARDED_BY(mu) = 0;
  // Of the last call.
  double min_score ABSL_GUARDED_BY(mu) = 0;
  int stopped ABSL_GUARDED_BY(mu) = 0;
};

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(FakeBehaviour& behaviour) : behaviour_(behaviour) {}
  absl::StatusOr<InferResult> Infer(absl::Span<const Picture> pictures,
                                    const InferOptions& options) override {
    {
      absl::MutexLock lock(&behaviour_.mu);
      ++behaviour_.inferred;
      behaviour_.min_score = options.min_score;
    }
    return behaviour_.infer(pictures);
  }
  JpegSize DecodedSize(const Picture& picture) const override {
    return behaviour_.decoded_size(picture);
  }
  void Stop() override {
    absl::MutexLock lock(&behaviour_.mu);
    ++behaviour_.stopped;
  }
  std::string name() const override { return "fake"; }
  std::string device() const override { return "cpu"; }
  int queue_depth() const override { return 0; }
  int64_t worker_restarts() const override { return 0; }

 private:
  FakeBehaviour& behaviour_;
};

inline EngineFactory MakeFakeFactory(FakeBehaviour& behaviour) {
  return
      [&behaviour](
          const EngineRequest& request, const PrepareProgressFn& progress,
          const StopSignal& stop) -> absl::StatusOr<std::unique_ptr<Engine>> {
        {
          absl::MutexLock lock(&behaviour.mu);
          ++behaviour.made;
        }
        absl::Status status = behaviour.make(request, progress, stop);
        if (!status.ok()) return status;
        return std::unique_ptr<Engine>(std::make_unique<FakeEngine>(behaviour));
      };
}

// A manifest of the engine "hog" (the fake one here) without weights.
inline std::string Manifest(const std::string& section) {
  return absl::StrCat("engines: [hog]\nclasses: [dog]\nsection: ", section,
                      "\n");
}

// Records what it is given.
class FakeSink : public ResultSink {
 public:
  absl::Status CheckAvailable() override {
    absl::MutexLock lock(&mu_);
    return available_;
  }
  absl::StatusOr<camherd::v1::AddBatchResultResponse> AddBatchResult(
      const camherd::v1::AddBatchResultHeader& header,
      const std::vector<PictureRef>& pictures) override {
    absl::MutexLock lock(&mu_);
    headers_.push_back(header);
    pictures_.clear();
    for (const PictureRef& picture : pictures) {
      pictures_.push_back(picture.frame_index);
    }
    if (!answer_.ok()) return answer_;
    camherd::v1::AddBatchResultResponse response;
    response.set_record_id(static_cast<int64_t>(headers_.size()));
    return response;
  }

  void SetAvailable(absl::Status status) {
    absl::MutexLock lock(&mu_);
    available_ = std::move(status);
  }
  void SetAnswer(absl::Status status) {
    absl::MutexLock lock(&mu_);
    answer_ = std::move(status);
  }
  std::vector<camherd::v1::AddBatchResultHeader> headers() {
    absl::MutexLock lock(&mu_);
    return headers_;
  }
  std::vector<int> pictures() {
    absl::MutexLock lock(&mu_);
    return pictures_;
  }

 private:
  absl::Mutex mu_;
  absl::Status available_ ABSL_GUARDED_BY(mu_);
  absl::Status answer_ ABSL_GUARDED_BY(mu_);
  std::vector<camherd::v1::AddBatchResultHeader> headers_ ABSL_GUARDED_BY(mu_);
  std::vector<int> pictures_ ABSL_GUARDED_BY(mu_);
};

// A grey JPEG; `shade` makes pictures differ.
inline std::string MakeJpeg(int width, int height, int blue, int green,
                            int red) {
  std::vector<unsigned char> bytes;
  cv::imencode(".jpg",
               cv::Mat(height, width, CV_8UC3, cv::Scalar(blue, green, red)),
               bytes);
  return {bytes.begin(), bytes.end()};
}

inline std::string MakeJpeg(int width = 64, int height = 48, int shade = 128) {
  return MakeJpeg(width, height, shade, shade, shade);
}

// A batch of `jpegs` for `models`.
struct TestBatch {
  camherd::v1::InferBatchHeader header;
  std::vector<camherd::v1::Frame> frames;
};

inline TestBatch MakeBatch(const std::vector<std::string>& models,
                           const std::vector<std::string>& jpegs,
                           int64_t batch_seq = 1) {
  TestBatch batch;
  camherd::v1::BatchManifest& manifest = *batch.header.mutable_manifest();
  manifest.set_stream_id("stream-1");
  manifest.set_session_id("session-1");
  manifest.set_camera_id("CAM-001");
  manifest.set_batch_seq(batch_seq);
  *manifest.mutable_models() = {models.begin(), models.end()};
  for (const std::string& jpeg : jpegs) {
    camherd::v1::FrameInfo info;
    info.set_frame_seq(manifest.frames_size() + 1);
    info.set_size_bytes(static_cast<int64_t>(jpeg.size()));
    info.set_sha256(Sha256(jpeg));
    *manifest.add_frames() = info;
    camherd::v1::Frame frame;
    *frame.mutable_info() = info;
    frame.set_jpeg(jpeg);
    batch.frames.push_back(std::move(frame));
  }
  batch.header.set_manifest_sha256(Sha256(manifest.SerializeAsString()));
  return batch;
}

// Waits until `condition` holds; false after a minute, since a machine that
// compiles beside the test is slow.
inline bool WaitUntil(const std::function<bool()>& condition) {
  absl::Mutex mu;
  absl::MutexLock lock(&mu);
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    const auto never = [] { return false; };
    mu.AwaitWithTimeout(absl::Condition(&never), absl::Milliseconds(10));
  }
  return condition();
}

}  // namespace camherd::inference::testing
