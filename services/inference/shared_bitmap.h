// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/inference/engine.h"
#include "services/inference/jpeg_decoder.h"

namespace camherd::inference {

// A picture that several models look at, decoded once for all of them.
//
// The first model to ask has it decoded at a size that covers what every one of
// them wants; the others are given the same pixels, the channels swapped where
// they want the other order. A model that wants more than was said has it
// decoded again, and that is kept instead.
//
// What is kept counts against a budget that all pictures share. Where it is
// spent, each model has the picture decoded for itself.
//
// Thread-safe.
class SharedBitmap {
 public:
  struct Budget {
    const int64_t max_bytes;
    std::atomic<int64_t> kept_bytes = 0;
  };

  // `cover`: the largest of what the models will ask for, pixels. `budget` must
  // outlive this.
  SharedBitmap(const JpegSize& cover, Budget& budget)
      : cover_(cover), budget_(budget) {}
  ~SharedBitmap();
  SharedBitmap(const SharedBitmap&) = delete;
  SharedBitmap& operator=(const SharedBitmap&) = delete;

  // As DecodeJpeg, for any picture: from `picture.shared`, which may give a
  // larger bitmap than `options` ask for, or decoded now where it has none.
  static absl::StatusOr<std::shared_ptr<const Bitmap>> Decode(
      const Picture& picture, const JpegDecodeOptions& options);

 private:
  absl::StatusOr<std::shared_ptr<const Bitmap>> Get(
      const Picture& picture, const JpegDecodeOptions& options);
  void Keep(const std::shared_ptr<const Bitmap>& bitmap)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const JpegSize cover_;
  Budget& budget_;

  // Held while it is decoded: who asks meanwhile waits for the same bitmap.
  absl::Mutex mu_;
  // shared_ptr: a model may still look at one that a larger has replaced.
  std::shared_ptr<const Bitmap> bitmap_ ABSL_GUARDED_BY(mu_);
};

}  // namespace camherd::inference
