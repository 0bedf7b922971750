// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/camera_directory.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/camera_url.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"
#include "services/common/utf8.h"

namespace camherd::aggregator {
namespace {

constexpr size_t kMaxLoggedRows = 20;
constexpr size_t kMaxWarned = 10000;
constexpr size_t kMaxNameBytes = 200;
constexpr int kMaxAreas = 32;
constexpr int kMaxClasses = 100;
constexpr size_t kMaxLabel = 64;

absl::Status CheckDegrees(absl::string_view field, bool present, double value,
                          double limit) {
  if (!present || (std::isfinite(value) && std::fabs(value) <= limit)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      field, " must be in [", -limit, ", ", limit, "], got ", value));
}

absl::Status CheckCount(absl::string_view field, int count, int limit) {
  if (count <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must number at most ", limit, ", got ", count));
}

absl::Status CheckPlainText(absl::string_view field, absl::string_view text) {
  if (IsPlainText(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      field, " must be text without characters for control or for turning the ",
      "direction of writing, got \"", absl::CHexEscape(text), "\""));
}

// A name of a zone or class: 1..64 bytes of plain text on one line.
absl::Status CheckLabel(absl::string_view field, absl::string_view name) {
  const bool one_line = std::none_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
  if (one_line && !name.empty() && name.size() <= kMaxLabel) {
    return CheckPlainText(field, name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must have 1..", kMaxLabel, " bytes, got \"",
                   absl::CHexEscape(name.substr(0, kMaxLabel)), "\""));
}

absl::Status CheckClasses(
    const std::string& field,
    const google::protobuf::RepeatedPtrField<std::string>& classes) {
  CAMHERD_RETURN_IF_ERROR(CheckCount(field, classes.size(), kMaxClasses));
  for (int i = 0; i < classes.size(); ++i) {
    CAMHERD_RETURN_IF_ERROR(
        CheckLabel(absl::StrCat(field, "[", i, "]"), classes[i]));
  }
  return absl::OkStatus();
}

absl::Status CheckPolygon(const std::string& field,
                          const v1::Polygon& polygon) {
  if (polygon.points_size() < 3 || polygon.points_size() > 64) {
    return absl::InvalidArgumentError(absl::StrCat(
        field, ".points must number 3..64, got ", polygon.points_size()));
  }
  for (int i = 0; i < polygon.points_size(); ++i) {
    const v1::Point& point = polygon.points(i);
    for (const auto& [axis, share] :
         {std::pair{"x", point.x()}, std::pair{"y", point.y()}}) {
      if (!(share >= 0 && share <= 1)) {
        return absl::InvalidArgumentError(
            absl::StrCat(field, ".points[", i, "].", axis,
                         " must be in [0, 1], got ", share));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckAreas(const v1::Camera& camera) {
  CAMHERD_RETURN_IF_ERROR(
      CheckCount("privacy_masks", camera.privacy_masks_size(), kMaxAreas));
  for (int i = 0; i < camera.privacy_masks_size(); ++i) {
    CAMHERD_RETURN_IF_ERROR(CheckPolygon(absl::StrCat("privacy_masks[", i, "]"),
                                         camera.privacy_masks(i)));
  }
  CAMHERD_RETURN_IF_ERROR(CheckCount("zones", camera.zones_size(), kMaxAreas));
  std::set<absl::string_view> names;
  for (int i = 0; i < camera.zones_size(); ++i) {
    const v1::Zone& zone = camera.zones(i);
    const std::string field = absl::StrCat("zones[", i, "]");
    CAMHERD_RETURN_IF_ERROR(
        CheckLabel(absl::StrCat(field, ".name"), zone.name()));
    if (!names.insert(zone.name()).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, ".name must be unique in zones, got \"", zone.name(), "\""));
    }
    CAMHERD_RETURN_IF_ERROR(
        CheckPolygon(absl::StrCat(field, ".area"), zone.area()));
    CAMHERD_RETURN_IF_ERROR(
        CheckClasses(absl::StrCat(field, ".classes"), zone.classes()));
  }
  CAMHERD_RETURN_IF_ERROR(CheckCount(
      "class_thresholds", camera.class_thresholds_size(), kMaxClasses));
  for (const auto& [name, score] : camera.class_thresholds()) {
    CAMHERD_RETURN_IF_ERROR(CheckLabel("class_thresholds", name));
    if (!(score >= 0 && score <= 1)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "class_thresholds.", name, " must be in [0, 1], got ", score));
    }
  }
  return CheckClasses("classes", camera.classes());
}

absl::Status CheckCamera(const v1::Camera& camera) {
  CAMHERD_RETURN_IF_ERROR(CheckId("camera_id", camera.camera_id()));
  if (camera.name().size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("name must have at most ", kMaxNameBytes, " bytes, got ",
                     camera.name().size()));
  }
  CAMHERD_RETURN_IF_ERROR(CheckPlainText("name", camera.name()));
  if (camera.has_latitude() != camera.has_longitude()) {
    return absl::InvalidArgumentError(
        absl::StrCat("latitude and longitude must be given together, got only ",
                     camera.has_latitude() ? "latitude" : "longitude"));
  }
  CAMHERD_RETURN_IF_ERROR(
      CheckDegrees("latitude", camera.has_latitude(), camera.latitude(), 90));
  CAMHERD_RETURN_IF_ERROR(CheckDegrees("longitude", camera.has_longitude(),
                                       camera.longitude(), 180));
  return CheckAreas(camera);
}

// What tells one state of a file from another; empty: there is no file.
absl::StatusOr<std::string> FileStamp(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return std::string();
    return ErrnoStatus(errno, "stat", path);
  }
  return absl::StrCat(info.st_ino, " ", info.st_size, " ", info.st_mtim.tv_sec,
                      ".", info.st_mtim.tv_nsec);
}

}  // namespace

CameraDirectory::CameraDirectory(const Options& options, RecordStore& store,
                                 Clock& clock, AggregatorMetrics& metrics)
    : options_(options), store_(store), clock_(clock), metrics_(metrics) {}

absl::StatusOr<std::unique_ptr<CameraDirectory>> CameraDirectory::Create(
    const Options& options, RecordStore& store, Clock& clock,
    AggregatorMetrics& metrics) {
  std::unique_ptr<CameraDirectory> directory(
      new CameraDirectory(options, store, clock, metrics));
  CAMHERD_ASSIGN_OR_RETURN(std::vector<StoredCamera> stored,
                           store.LoadCameras());
  {
    SteadyMutex::Holder lock(&directory->mu_);
    for (StoredCamera& camera : stored) {
      const std::string id = camera.camera.camera_id();
      directory->revision_ =
          std::max(directory->revision_, camera.camera.revision());
      directory->cameras_[id] = std::move(camera);
    }
    metrics.SetCameras(directory->cameras_.size());
  }
  directory->PollCsv();
  return directory;
}

CameraDirectory::~CameraDirectory() {
  {
    SteadyMutex::Holder lock(&mu_);
    stopping_ = true;
  }
  if (watcher_.joinable()) watcher_.join();
}

void CameraDirectory::StartWatching() {
  if (options_.csv_path.empty() || watcher_.joinable()) return;
  watcher_ = std::thread([this] { WatchLoop(); });
}

void CameraDirectory::WatchLoop() {
  while (true) {
    {
      SteadyMutex::Holder lock(&mu_);
      const auto stopping = [this] {
        mu_.AssertHeld();
        return stopping_;
      };
      if (mu_.AwaitFor(stopping, options_.poll_interval)) return;
    }
    PollCsv();
  }
}

void CameraDirectory::PollCsv() {
  if (options_.csv_path.empty()) return;
  std::string text;
  {
    absl::MutexLock lock(&change_mu_);
    const absl::StatusOr<std::string> stamp = FileStamp(options_.csv_path);
    const std::string seen =
        stamp.ok() ? *stamp : std::string(stamp.status().message());
    if (seen == csv_stamp_) return;
    csv_stamp_ = seen;
    if (seen.empty()) return;
    absl::StatusOr<std::string> content =
        stamp.ok() ? ReadFile(options_.csv_path, options_.max_csv_bytes)
                   : stamp.status();
    if (!content.ok()) {
      LogWarning("camera CSV cannot be read",
                 {{"path", options_.csv_path}, {"error", content.status()}});
      return;
    }
    text = *std::move(content);
  }
  const absl::StatusOr<v1::ImportCamerasResponse> imported = Import(text);
  if (!imported.ok()) {
    metrics_.SetCsvRowErrors(1);
    LogWarning("camera CSV not imported",
               {{"path", options_.csv_path}, {"error", imported.status()}});
    // Where the store failed, the next look tries again.
    if (!absl::IsInvalidArgument(imported.status())) {
      absl::MutexLock lock(&change_mu_);
      csv_stamp_.clear();
    }
    return;
  }
  metrics_.SetCsvRowErrors(static_cast<size_t>(imported->errors_size()));
  LogInfo("camera CSV imported", {{"path", options_.csv_path},
                                  {"added", imported->added()},
                                  {"updated", imported->updated()},
                                  {"unchanged", imported->unchanged()},
                                  {"bad_rows", imported->errors_size()}});
  size_t logged = 0;
  for (const v1::RowError& error : imported->errors()) {
    if (++logged > kMaxLoggedRows) break;
    LogWarning("camera CSV row not used", {{"path", options_.csv_path},
                                           {"line", error.line()},
                                           {"reason", error.message()}});
  }
}

std::optional<v1::Camera> CameraDirectory::Find(
    const std::string& camera_id) const {
  SteadyMutex::Holder lock(&mu_);
  const auto found = cameras_.find(camera_id);
  if (found == cameras_.end()) return std::nullopt;
  return found->second.camera;
}

std::optional<v1::Camera> CameraDirectory::FindForRecord(
    const std::string& camera_id) {
  std::optional<v1::Camera> camera = Find(camera_id);
  if (camera.has_value() && camera->has_latitude()) return camera;
  metrics_.UnknownCamera();
  {
    SteadyMutex::Holder lock(&mu_);
    if (warned_.size() >= kMaxWarned) warned_.clear();
    if (!warned_.insert(camera_id).second) return camera;
  }
  LogWarning("place of camera not known, its records have null coordinates",
             {{"camera", camera_id}, {"csv", options_.csv_path}});
  return camera;
}

std::vector<v1::Camera> CameraDirectory::List(const std::string& after,
                                              size_t limit,
                                              int64_t after_revision) const {
  SteadyMutex::Holder lock(&mu_);
  std::vector<v1::Camera> cameras;
  for (auto it = cameras_.upper_bound(after);
       it != cameras_.end() && cameras.size() < limit; ++it) {
    const v1::Camera& camera = it->second.camera;
    if (after_revision > 0 && camera.revision() <= after_revision) continue;
    cameras.push_back(camera);
  }
  return cameras;
}

int64_t CameraDirectory::revision() const {
  SteadyMutex::Holder lock(&mu_);
  return revision_;
}

int64_t CameraDirectory::NextRevision() const {
  return std::max(revision_ + 1, absl::ToUnixMicros(clock_.Now()));
}

absl::Status CameraDirectory::CheckRoom(size_t added) const {
  if (added == 0 || cameras_.size() + added <= options_.max_cameras) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "there may be at most ", options_.max_cameras, " cameras: there are ",
      cameras_.size(), ", and ", added, " would be added"));
}

absl::StatusOr<v1::Camera> CameraDirectory::Upsert(const v1::Camera& camera) {
  CAMHERD_RETURN_IF_ERROR(CheckCamera(camera));
  absl::MutexLock change_lock(&change_mu_);
  StoredCamera stored;
  stored.camera = camera;
  {
    SteadyMutex::Holder lock(&mu_);
    const auto found = cameras_.find(camera.camera_id());
    CAMHERD_RETURN_IF_ERROR(CheckRoom(found == cameras_.end() ? 1 : 0));
    if (found != cameras_.end()) stored.csv_row = found->second.csv_row;
    stored.camera.set_revision(NextRevision());
  }
  *stored.camera.mutable_updated_at() = ToProto(clock_.Now());
  stored.camera.set_updated_by("api");
  CAMHERD_RETURN_IF_ERROR(store_.PutCameras({stored}));
  SteadyMutex::Holder lock(&mu_);
  cameras_[camera.camera_id()] = stored;
  revision_ = stored.camera.revision();
  warned_.erase(camera.camera_id());
  metrics_.SetCameras(cameras_.size());
  return stored.camera;
}

absl::StatusOr<v1::ImportCamerasResponse> CameraDirectory::Import(
    absl::string_view csv) {
  if (csv.size() > options_.max_csv_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("csv must have at most ",
                                                   options_.max_csv_bytes,
                                                   " bytes, got ", csv.size()));
  }
  CameraCsv parsed = ParseCameraCsv(csv);
  if (parsed.rows.empty() && parsed.errors.size() == 1 &&
      parsed.errors[0].line() == 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("csv line 1: ", parsed.errors[0].message()));
  }
  v1::ImportCamerasResponse response;
  for (v1::RowError& error : parsed.errors) {
    *response.add_errors() = std::move(error);
  }
  absl::MutexLock change_lock(&change_mu_);
  const google::protobuf::Timestamp now = ToProto(clock_.Now());
  std::vector<StoredCamera> changed;
  {
    SteadyMutex::Holder lock(&mu_);
    // One for all rows: they are stored together.
    const int64_t revision = NextRevision();
    for (const CameraRow& row : parsed.rows) {
      const auto found = cameras_.find(row.camera_id);
      if (found != cameras_.end() && found->second.csv_row == row.canonical) {
        response.set_unchanged(response.unchanged() + 1);
        continue;
      }
      StoredCamera camera;
      if (found != cameras_.end()) {
        camera = found->second;
        response.set_updated(response.updated() + 1);
      } else {
        response.set_added(response.added() + 1);
      }
      camera.camera.set_camera_id(row.camera_id);
      camera.camera.set_latitude(row.latitude);
      camera.camera.set_longitude(row.longitude);
      if (row.has_name) camera.camera.set_name(row.name);
      *camera.camera.mutable_updated_at() = now;
      camera.camera.set_updated_by("csv");
      camera.camera.set_revision(revision);
      camera.csv_row = row.canonical;
      changed.push_back(std::move(camera));
    }
    CAMHERD_RETURN_IF_ERROR(CheckRoom(static_cast<size_t>(response.added())));
  }
  if (changed.empty()) return response;
  CAMHERD_RETURN_IF_ERROR(store_.PutCameras(changed));
  SteadyMutex::Holder lock(&mu_);
  for (StoredCamera& camera : changed) {
    const std::string id = camera.camera.camera_id();
    warned_.erase(id);
    revision_ = camera.camera.revision();
    cameras_[id] = std::move(camera);
  }
  metrics_.SetCameras(cameras_.size());
  return response;
}

}  // namespace camherd::aggregator
