// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "camherd/v1/inference_service.pb.h"
#include "services/common/event_ring.h"
#include "services/inference/model_registry.h"

namespace camherd::inference {

// Makes events of what changes about models, for WatchModels: of each model
// the newest state is kept.
//
// Thread-safe.
class ModelFeed {
 public:
  using Ring = EventRing<camherd::v1::WatchModelsResponse>;

  // `registry` must outlive the feed.
  explicit ModelFeed(ModelRegistry& registry);
  ~ModelFeed();

  // Ends the watches.
  void Stop() { ring_->Close(); }

  Ring& ring() { return *ring_; }

 private:
  ModelRegistry& registry_;
  // shared_ptr: the registry may still call a watch that was taken away.
  const std::shared_ptr<Ring> ring_;
  std::vector<int64_t> watches_;
};

}  // namespace camherd::inference
