// SPDX-License-Identifier: Apache-2.0
#include "services/capture/camera_book.h"

#include <algorithm>
#include <utility>

#include "services/common/backoff.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

// Cameras can be 300 KB each, a message 4 MB.
constexpr int kPageSize = 10;

// Of a camera, what is kept.
v1::Camera Kept(const v1::Camera& camera) {
  v1::Camera kept;
  kept.set_camera_id(camera.camera_id());
  *kept.mutable_privacy_masks() = camera.privacy_masks();
  *kept.mutable_zones() = camera.zones();
  *kept.mutable_class_thresholds() = camera.class_thresholds();
  *kept.mutable_classes() = camera.classes();
  return kept;
}

bool HasNothing(const v1::Camera& camera) {
  return camera.privacy_masks().empty() && camera.zones().empty() &&
         camera.class_thresholds().empty() && camera.classes().empty();
}

bool SameMasks(const v1::Camera& a, const v1::Camera& b) {
  return std::equal(a.privacy_masks().begin(), a.privacy_masks().end(),
                    b.privacy_masks().begin(), b.privacy_masks().end(),
                    [](const v1::Polygon& p, const v1::Polygon& q) {
                      return p.SerializeAsString() == q.SerializeAsString();
                    });
}

}  // namespace

CameraBook::CameraBook(const Options& options, StreamStore& store,
                       AggregatorPeer& aggregator, OnMasks on_masks,
                       Clock& clock)
    : options_(options),
      store_(store),
      aggregator_(aggregator),
      on_masks_(std::move(on_masks)),
      clock_(clock) {}

CameraBook::~CameraBook() { Stop(); }

absl::Status CameraBook::Load() {
  CAMHERD_ASSIGN_OR_RETURN(const auto stored, store_.LoadCameras());
  if (!stored.has_value()) return absl::OkStatus();
  absl::MutexLock lock(&mu_);
  known_ = true;
  revision_ = stored->revision();
  for (const v1::Camera& camera : stored->cameras()) {
    cameras_[camera.camera_id()] = camera;
  }
  return absl::OkStatus();
}

bool CameraBook::Refresh() {
  const int64_t turn = ++asked_;
  absl::MutexLock lock(&refresh_mu_);
  // A call that began after ours came has asked for us as well.
  if (served_ >= turn) return answered_;
  served_ = asked_;
  const absl::Status learnt = Learn();
  if (learnt.ok() != answered_) {
    answered_ = learnt.ok();
    absl::MutexLock state(&mu_);
    if (learnt.ok()) {
      LogInfo("camera data is up to date again", {{"revision", revision_}});
    } else if (known_) {
      LogWarning("camera data cannot be refreshed, the copy is used",
                 {{"revision", revision_}, {"error", learnt}});
    } else {
      LogWarning(
          "camera data not known, no pictures until the aggregator answers",
          {{"error", learnt}});
    }
  }
  return learnt.ok();
}

absl::StatusOr<v1::ListCamerasResponse> CameraBook::Ask(
    int64_t after_revision) {
  v1::ListCamerasRequest request;
  request.set_page_size(kPageSize);
  request.set_after_revision(after_revision);
  v1::ListCamerasResponse all;
  while (true) {
    CAMHERD_ASSIGN_OR_RETURN(
        v1::ListCamerasResponse page,
        aggregator_.ListCameras(request, options_.timeout));
    // What changes from the first page on is told again next time.
    if (request.page_token().empty()) all.set_revision(page.revision());
    for (v1::Camera& camera : *page.mutable_cameras()) {
      *all.add_cameras() = std::move(camera);
    }
    if (page.next_page_token().empty()) return all;
    request.set_page_token(page.next_page_token());
  }
}

absl::Status CameraBook::Learn() {
  bool known = false;
  int64_t revision = 0;
  {
    absl::MutexLock lock(&mu_);
    known = known_;
    revision = revision_;
  }
  absl::StatusOr<v1::ListCamerasResponse> answer = Ask(known ? revision : 0);
  bool anew = !known;
  if (absl::IsUnimplemented(answer.status()) ||
      absl::IsNotFound(answer.status())) {
    answer = v1::ListCamerasResponse();
    answer->set_revision(revision);
  } else if (answer.ok() && known && answer->revision() < revision) {
    LogWarning("the aggregator has another store, its cameras are read anew",
               {{"revision", answer->revision()}, {"before", revision}});
    anew = true;
    answer = Ask(0);
  }
  CAMHERD_RETURN_IF_ERROR(answer.status());
  const MaskNews news = Apply(*answer, anew);
  if (anew || answer->revision() != revision || !answer->cameras().empty()) {
    unsaved_ = true;
  }
  if (unsaved_) Save();
  if (news.all || !news.camera_ids.empty()) on_masks_(news);
  return absl::OkStatus();
}

CameraBook::MaskNews CameraBook::Apply(const v1::ListCamerasResponse& answer,
                                       bool anew) {
  absl::MutexLock lock(&mu_);
  MaskNews news;
  news.all = !known_;
  std::map<std::string, v1::Camera> before = cameras_;
  if (anew) cameras_.clear();
  for (const v1::Camera& camera : answer.cameras()) {
    if (HasNothing(camera)) {
      cameras_.erase(camera.camera_id());
    } else {
      cameras_[camera.camera_id()] = Kept(camera);
    }
  }
  for (const auto& [id, camera] : cameras_) {
    if (!SameMasks(before[id], camera)) news.camera_ids.insert(id);
  }
  for (const auto& [id, camera] : before) {
    if (cameras_.count(id) == 0 && !camera.privacy_masks().empty()) {
      news.camera_ids.insert(id);
    }
  }
  known_ = true;
  revision_ = answer.revision();
  answered_at_ = clock_.SteadyNow();
  return news;
}

void CameraBook::Save() {
  v1::ListCamerasResponse copy;
  {
    absl::MutexLock lock(&mu_);
    copy.set_revision(revision_);
    for (const auto& [id, camera] : cameras_) *copy.add_cameras() = camera;
  }
  const absl::Status saved = store_.SaveCameras(copy);
  unsaved_ = !saved.ok();
  // The next refresh tries again.
  if (!saved.ok()) LogError("camera data not kept", {{"status", saved}});
}

void CameraBook::Start() {
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
}

void CameraBook::Stop() {
  {
    const std::lock_guard<std::mutex> lock(wake_mu_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void CameraBook::Loop() {
  bool answered = age().has_value();
  Backoff backoff({.initial = std::min(options_.retry, options_.refresh),
                   .max = options_.refresh});
  while (true) {
    {
      if (answered) backoff.Reset();
      const absl::Duration pause = answered ? options_.refresh : backoff.Next();
      std::unique_lock<std::mutex> lock(wake_mu_);
      if (wake_.wait_for(lock, absl::ToChronoNanoseconds(pause),
                         [this] { return stopping_; })) {
        return;
      }
    }
    answered = Refresh();
  }
}

std::optional<std::vector<v1::Polygon>> CameraBook::PrivacyMasks(
    const std::string& camera_id) const {
  absl::MutexLock lock(&mu_);
  if (!known_) return std::nullopt;
  const auto found = cameras_.find(camera_id);
  if (found == cameras_.end()) return std::vector<v1::Polygon>();
  return std::vector<v1::Polygon>(found->second.privacy_masks().begin(),
                                  found->second.privacy_masks().end());
}

v1::DetectionFilter CameraBook::Filter(const std::string& camera_id) const {
  absl::MutexLock lock(&mu_);
  v1::DetectionFilter filter;
  const auto found = cameras_.find(camera_id);
  if (found == cameras_.end()) return filter;
  *filter.mutable_zones() = found->second.zones();
  *filter.mutable_class_thresholds() = found->second.class_thresholds();
  *filter.mutable_classes() = found->second.classes();
  return filter;
}

std::optional<absl::Duration> CameraBook::age() const {
  absl::MutexLock lock(&mu_);
  if (!answered_at_.has_value()) return std::nullopt;
  return clock_.SteadyNow() - *answered_at_;
}

}  // namespace camherd::capture
