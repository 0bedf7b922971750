// SPDX-License-Identifier: Apache-2.0
#include "services/inference/model_feed.h"

#include <string>
#include <utility>

namespace camherd::inference {
namespace {

constexpr size_t kKept = 256;

}  // namespace

ModelFeed::ModelFeed(ModelRegistry& registry)
    : registry_(registry), ring_(std::make_shared<Ring>(kKept)) {
  for (const camherd::v1::Model& model : registry.List()) {
    const std::string& name = model.name();
    watches_.push_back(registry.Watch(name, [&registry, ring = ring_, name] {
      absl::StatusOr<camherd::v1::Model> changed = registry.Get(name);
      if (!changed.ok()) return;
      camherd::v1::WatchModelsResponse event;
      *event.mutable_model() = *std::move(changed);
      ring->Add(std::move(event), name, /*replaceable=*/true);
    }));
  }
}

ModelFeed::~ModelFeed() {
  for (const int64_t watch : watches_) registry_.Unwatch(watch);
}

}  // namespace camherd::inference
