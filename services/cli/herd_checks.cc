// SPDX-License-Identifier: Apache-2.0
#include "services/cli/herd_checks.h"

#include <algorithm>
#include <cstddef>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/cli/console.h"
#include "services/common/camera_url.h"
#include "services/common/utf8.h"

namespace camherd::cli {
namespace {

constexpr size_t kMaxNameBytes = 200;
constexpr size_t kMaxLabelBytes = 64;
constexpr int kMaxAreas = 32;
constexpr int kMaxClasses = 100;
constexpr int kMinCorners = 3;
constexpr int kMaxCorners = 64;
constexpr int kMaxModels = 16;
constexpr int kMaxBatchSize = 64;
constexpr double kMinIntervalSeconds = 0.1;
constexpr double kMaxIntervalSeconds = 86400;

// Of one entry.
class Checker {
 public:
  Checker(const HerdEntry& entry, std::vector<std::string>& errors)
      : entry_(entry), errors_(errors) {}

  void Run() {
    Id("camera_id", "camera_id", entry_.camera.camera_id());
    CheckPlace();
    CheckAreas();
    CheckStream();
  }

 private:
  void Fail(const std::string& key, absl::string_view message) {
    const auto given = entry_.given.find(key);
    errors_.push_back(
        absl::StrCat(given == entry_.given.end() ? entry_.where : given->second,
                     ": ", message));
  }

  void Id(const std::string& key, absl::string_view field,
          absl::string_view id) {
    if (const absl::Status status = CheckId(field, id); !status.ok()) {
      Fail(key, status.message());
    }
  }

  // `value` is written so that NaN fails.
  void Range(const std::string& key, absl::string_view field, double value,
             double least, double most) {
    if (value >= least && value <= most) return;
    Fail(key, absl::StrCat(field, " must be in [", ShortNumber(least), ", ",
                           ShortNumber(most), "], got ", ShortNumber(value)));
  }

  void Count(const std::string& key, absl::string_view field, int count,
             int least, int most) {
    if (count >= least && count <= most) return;
    Fail(key, absl::StrCat(field, " must number ", least, " to ", most,
                           ", got ", count));
  }

  void Label(const std::string& key, absl::string_view field,
             absl::string_view label) {
    const bool readable = std::none_of(label.begin(), label.end(), [](char c) {
      return absl::ascii_iscntrl(static_cast<unsigned char>(c));
    });
    if (readable && !label.empty() && label.size() <= kMaxLabelBytes) return;
    Fail(key, absl::StrCat(field, " must have 1 to ", kMaxLabelBytes,
                           " bytes, none of them a control character, got \"",
                           Printable(label.substr(0, kMaxLabelBytes)), "\""));
  }

  template <typename Labels>
  void CheckLabels(const std::string& key, const std::string& field,
                   const Labels& labels) {
    Count(key, field, labels.size(), 0, kMaxClasses);
    for (const std::string& label : labels) Label(key, field, label);
  }

  void CheckPlace() {
    const v1::Camera& camera = entry_.camera;
    if (camera.name().size() > kMaxNameBytes) {
      Fail("name", absl::StrCat("name must have at most ", kMaxNameBytes,
                                " bytes, got ", camera.name().size()));
    } else if (!IsPlainText(camera.name())) {
      Fail("name", absl::StrCat("name must be text without characters for "
                                "control or for turning the direction of "
                                "writing, got \"",
                                Printable(camera.name()), "\""));
    }
    if (camera.has_latitude()) {
      Range("latitude", "latitude", camera.latitude(), -90, 90);
    }
    if (camera.has_longitude()) {
      Range("longitude", "longitude", camera.longitude(), -180, 180);
    }
  }

  void CheckPolygon(const std::string& key, const std::string& field,
                    const v1::Polygon& polygon) {
    Count(key, absl::StrCat(field, ".points"), polygon.points_size(),
          kMinCorners, kMaxCorners);
    for (int i = 0; i < polygon.points_size(); ++i) {
      const std::string point = absl::StrCat(field, ".points[", i, "]");
      Range(key, absl::StrCat(point, ".x"), polygon.points(i).x(), 0, 1);
      Range(key, absl::StrCat(point, ".y"), polygon.points(i).y(), 0, 1);
    }
  }

  void CheckAreas() {
    const v1::Camera& camera = entry_.camera;
    Count("privacy_masks", "privacy_masks", camera.privacy_masks_size(), 0,
          kMaxAreas);
    for (int i = 0; i < camera.privacy_masks_size(); ++i) {
      CheckPolygon("privacy_masks", absl::StrCat("privacy_masks[", i, "]"),
                   camera.privacy_masks(i));
    }
    Count("zones", "zones", camera.zones_size(), 0, kMaxAreas);
    std::set<std::string> names;
    for (int i = 0; i < camera.zones_size(); ++i) {
      const v1::Zone& zone = camera.zones(i);
      const std::string field = absl::StrCat("zones[", i, "]");
      Label("zones", absl::StrCat(field, ".name"), zone.name());
      if (!names.insert(zone.name()).second) {
        Fail("zones", absl::StrCat(field, ".name must be unique, got \"",
                                   Printable(zone.name()), "\" twice"));
      }
      CheckPolygon("zones", absl::StrCat(field, ".area"), zone.area());
      CheckLabels("zones", absl::StrCat(field, ".classes"), zone.classes());
    }
    Count("class_thresholds", "class_thresholds",
          static_cast<int>(camera.class_thresholds().size()), 0, kMaxClasses);
    for (const auto& [name, score] : camera.class_thresholds()) {
      Label("class_thresholds", "class_thresholds", name);
      Range("class_thresholds",
            absl::StrCat("class_thresholds.", Printable(name)), score, 0, 1);
    }
    CheckLabels("classes", "classes", camera.classes());
  }

  void CheckStream() {
    const v1::StartStreamRequest& stream = entry_.stream;
    for (const char* key :
         {"models", "interval_seconds", "sampling_mode", "transport",
          "batch_size", "tls_verify", "detect_url", "user", "password"}) {
      if (entry_.given.contains(key) && !entry_.given.contains("rtsp_url")) {
        Fail(key, absl::StrCat(key, " needs rtsp_url"));
      }
    }
    if (!stream.password().empty() && stream.user().empty()) {
      Fail("password", "a password needs user");
    }
    if (stream.has_interval_seconds()) {
      Range("interval_seconds", "interval_seconds", stream.interval_seconds(),
            kMinIntervalSeconds, kMaxIntervalSeconds);
    }
    if (stream.has_batch_size()) {
      Range("batch_size", "batch_size", stream.batch_size(), 1, kMaxBatchSize);
    }
    Count("models", "models", stream.models_size(), 0, kMaxModels);
    std::set<std::string> models;
    for (const std::string& model : stream.models()) {
      Id("models", "models", model);
      if (!models.insert(model).second) {
        Fail("models", absl::StrCat("models must name each once, got ",
                                    Printable(model), " twice"));
      }
    }
    if (!stream.detect_url().empty() && entry_.given.contains("models") &&
        stream.models().empty()) {
      Fail("detect_url", "detect_url needs models");
    }
    if (stream.transport() == v1::TRANSPORT_UDP) {
      for (const std::string& url : {stream.rtsp_url(), stream.detect_url()}) {
        const auto parsed = CameraUrl::Parse(url);
        if (parsed.ok() && parsed->tls()) {
          Fail("transport",
               "transport must be tcp for an rtsps camera, got udp");
        }
      }
    }
  }

  const HerdEntry& entry_;
  std::vector<std::string>& errors_;
};

}  // namespace

void CheckHerdEntry(const HerdEntry& entry, std::vector<std::string>* errors) {
  Checker(entry, *errors).Run();
}

}  // namespace camherd::cli
