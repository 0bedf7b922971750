// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "camherd/v1/detection.pb.h"
#include "services/inference/jpeg_decoder.h"

namespace camherd::inference {

class SharedBitmap;

// A picture to look at. The bytes belong to the caller until Infer returns.
struct Picture {
  // Position in its batch, copied into the detections.
  int frame_index = 0;
  // A JPEG whose header has been read: `width` x `height` pixels.
  absl::string_view jpeg;
  int width = 0;
  int height = 0;
  // Where several models look at it: what the first of them decoded. Engines
  // decode by SharedBitmap::Decode, which also serves those without. Not owned.
  SharedBitmap* shared = nullptr;
};

struct InferOptions {
  // Least score kept and IoU above which NMS drops a box, 0..1.
  double min_score = 0.25;
  double nms_iou = 0.7;
  // An anchor counts for every class over min_score; else for its best only.
  bool every_class = false;
  // Longest wait for the engine's turn.
  absl::Duration queue_timeout = absl::Seconds(60);
};

struct InferResult {
  // Boxes in pixels of the picture as it was given, inside it, not empty;
  // classes of the manifest only; ordered by frame, then by falling score.
  std::vector<camherd::v1::Detection> detections;
  // frame_index of pictures whose header was good and whose rest was not.
  std::vector<int> undecodable_frames;
  // For the engine's turn, until the first picture was begun.
  absl::Duration waited = absl::ZeroDuration();
};

// Runs one loaded model. Whoever holds an engine may call it from any number
// of threads; the engine decides how many pictures it looks at at once and
// lets the others wait their turn, first come, first served.
//
// Lifecycle: made ready by the factory, then Infer any number of times, then
// Stop; the destructor stops.
class Engine {
 public:
  virtual ~Engine() = default;

  // Blocks until all pictures are done.
  //   kAborted             this batch cannot be run, the engine goes on
  //   kUnavailable         no turn within queue_timeout, or stopped; later
  //   kFailedPrecondition  the engine is broken and must be made anew
  virtual absl::StatusOr<InferResult> Infer(absl::Span<const Picture> pictures,
                                            const InferOptions& options) = 0;

  // Size at which it will have `picture` decoded, at least; 0x0: it takes the
  // JPEG as it is. By default its full size.
  virtual JpegSize DecodedSize(const Picture& picture) const {
    return {picture.width, picture.height};
  }

  // Ends waiting and running calls with kUnavailable and frees what the
  // engine holds. May be called twice.
  virtual void Stop() = 0;

  // Such as "openvino" and "cpu".
  virtual std::string name() const = 0;
  virtual std::string device() const = 0;
  // Of the network's numbers: "f32", "bf16", "int8"; empty: not told.
  virtual std::string precision() const { return ""; }

  // Batches that wait for their turn.
  virtual int queue_depth() const = 0;
  // Worker processes started anew after a failure; 0 without workers.
  virtual int64_t worker_restarts() const = 0;
};

}  // namespace camherd::inference
