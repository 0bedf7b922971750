// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/camera.pb.h"
#include "camherd/v1/inference_service.pb.h"

// The other services as capture sees them; gRPC stays behind these. Errors are
// those of the RPCs, with their retry delay and the mark of a call without
// effect (retry_delay.h).
namespace camherd::capture {

// A sealed batch on its way.
struct OutgoingBatch {
  // As sealed: serialized BatchManifest and its SHA-256 (32 bytes).
  std::string manifest;
  std::string manifest_sha256;
  // One per frame of the manifest, in its order.
  std::vector<std::string> frame_files;
  // Which detections count; not in the manifest.
  v1::DetectionFilter filter;
};

struct BatchAnswer {
  absl::Status status;
  v1::InferBatchResponse response;
  // False: the peer cannot have got the whole batch, so this attempt recorded
  // nothing, whatever the status.
  bool sent_whole = false;
  // Not OK: a frame's file could not be read; `status` is the same.
  // kOutOfRange: it is larger than any the peer takes.
  absl::Status file_error;
};

// Thread-safe.
class InferencePeer {
 public:
  virtual ~InferencePeer() = default;

  // Asks for the model to be prepared and returns with its first word: OK, it
  // is ready or being prepared. kInvalidArgument: no such model, naming those
  // there are. kFailedPrecondition: it cannot be prepared, and why.
  virtual absl::Status PrepareModel(const std::string& model,
                                    absl::Duration timeout) = 0;

  // Blocks until the answer. `before_last` is called before the last frame
  // goes; if it fails, the batch is not completed.
  virtual BatchAnswer InferBatch(
      const OutgoingBatch& batch, absl::Duration timeout,
      const std::function<absl::Status()>& before_last) = 0;

  // Ends calls in flight and all later ones with kCancelled.
  virtual void Cancel() = 0;
};

// Thread-safe.
class AggregatorPeer {
 public:
  virtual ~AggregatorPeer() = default;

  // Blocks until the answer.
  virtual absl::StatusOr<v1::RenderGridResponse> RenderGrid(
      const v1::RenderGridHeader& header, const std::vector<v1::Frame>& frames,
      absl::Duration timeout) = 0;

  // One page.
  virtual absl::StatusOr<v1::ListCamerasResponse> ListCameras(
      const v1::ListCamerasRequest& request, absl::Duration timeout) = 0;

  // Ends calls in flight and all later ones with kCancelled.
  virtual void Cancel() = 0;
};

}  // namespace camherd::capture
