// SPDX-License-Identifier: Apache-2.0
#include "services/cli/herd_plan.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/util/message_differencer.h"
#include "services/cli/console.h"
#include "services/cli/enum_names.h"
#include "services/common/camera_url.h"

namespace camherd::cli {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using Action = HerdChange::Action;

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", Printable(text), "\"");
}

template <typename Names>
std::string Listed(const Names& names) {
  return names.empty() ? "none" : Printable(absl::StrJoin(names, " "));
}

std::string Degrees(bool known, double value) {
  return known ? ShortNumber(value) : "not known";
}

// A field of a camera, in a word or two.
std::string Shown(const v1::Camera& camera, absl::string_view key) {
  if (key == "name") return Quoted(camera.name());
  if (key == "latitude") {
    return Degrees(camera.has_latitude(), camera.latitude());
  }
  if (key == "longitude") {
    return Degrees(camera.has_longitude(), camera.longitude());
  }
  if (key == "privacy_masks") return absl::StrCat(camera.privacy_masks_size());
  if (key == "zones") return absl::StrCat(camera.zones_size());
  if (key == "classes") return Listed(camera.classes());
  const std::map<std::string, double> sorted(camera.class_thresholds().begin(),
                                             camera.class_thresholds().end());
  return sorted.empty()
             ? "none"
             : Printable(absl::StrJoin(
                   sorted, " ", [](std::string* out, const auto& entry) {
                     absl::StrAppend(out, entry.first, " ",
                                     ShortNumber(entry.second));
                   }));
}

// `from`'s field of that name into `to`.
void CopyField(const v1::Camera& from, const std::string& key, v1::Camera* to) {
  const auto* field = v1::Camera::descriptor()->FindFieldByName(key);
  v1::Camera only = from;
  std::vector<const google::protobuf::FieldDescriptor*> set;
  only.GetReflection()->ListFields(only, &set);
  for (const auto* other : set) {
    if (other != field) only.GetReflection()->ClearField(&only, other);
  }
  to->GetReflection()->ClearField(to, field);
  to->MergeFrom(only);
}

class Planner {
 public:
  Planner(const HerdFile& file, const HerdState& state)
      : file_(file), models_(state.models.begin(), state.models.end()) {
    for (const v1::Camera& camera : state.cameras) {
      cameras_[camera.camera_id()] = &camera;
    }
    for (const v1::Stream& stream : state.streams) {
      if (stream.desired_running()) streams_[stream.camera_id()] = &stream;
    }
  }

  HerdPlan Make(bool prune) && {
    std::set<std::string> kept;
    for (const HerdEntry& entry : file_.entries) {
      PlanCamera(entry);
      if (entry.stream.rtsp_url().empty()) continue;
      kept.insert(entry.camera.camera_id());
      PlanStream(entry);
    }
    for (const auto& [camera_id, stream] : streams_) {
      if (prune && !kept.contains(camera_id)) {
        plan_.changes.push_back(
            {.action = Action::kStopStream,
             .camera_id = camera_id,
             .details = {Printable(stream->rtsp_url()), "not in the file"}});
      }
    }
    const auto order = [](const HerdChange& change) {
      switch (change.action) {
        case Action::kAddCamera:
        case Action::kChangeCamera:
          return 0;
        case Action::kStopStream:
          return 1;
        case Action::kChangeStream:
        case Action::kCompareLogin:
          return 2;
        case Action::kStartStream:
          return 3;
      }
      return 3;
    };
    std::stable_sort(plan_.changes.begin(), plan_.changes.end(),
                     [&order](const HerdChange& a, const HerdChange& b) {
                       return order(a) < order(b);
                     });
    return std::move(plan_);
  }

 private:
  void Fail(const HerdEntry& entry, const std::string& key,
            absl::string_view message) {
    const auto given = entry.given.find(key);
    plan_.errors.push_back(
        absl::StrCat(given == entry.given.end() ? entry.where : given->second,
                     ": ", message));
  }

  void PlanCamera(const HerdEntry& entry) {
    const std::string& id = entry.camera.camera_id();
    const auto known = cameras_.find(id);
    HerdChange change{.camera_id = id};
    if (known != cameras_.end()) {
      change.action = Action::kChangeCamera;
      change.camera = *known->second;
    }
    change.camera.set_camera_id(id);
    bool any = false;
    for (const auto& [key, where] : entry.given) {
      if (key == "camera_id" ||
          v1::Camera::descriptor()->FindFieldByName(key) == nullptr) {
        continue;
      }
      any = true;
      v1::Camera after = change.camera;
      CopyField(entry.camera, key, &after);
      if (MessageDifferencer::Equals(change.camera, after)) continue;
      const std::string old_text = Shown(change.camera, key);
      const std::string new_text = Shown(after, key);
      change.details.push_back(
          old_text == new_text ? absl::StrCat(key, " others")
          : known == cameras_.end()
              ? absl::StrCat(key, " ", new_text)
              : absl::StrCat(key, " ", old_text, " -> ", new_text));
      change.camera = after;
    }
    if (!any) return;
    if (change.camera.has_latitude() != change.camera.has_longitude()) {
      Fail(entry, change.camera.has_latitude() ? "latitude" : "longitude",
           "latitude and longitude must be given together");
    } else if (change.details.empty() && known != cameras_.end()) {
      ++plan_.unchanged;
    } else {
      plan_.changes.push_back(std::move(change));
    }
  }

  void PlanStream(const HerdEntry& entry) {
    for (const std::string& model : entry.stream.models()) {
      if (!models_.contains(model)) {
        Fail(entry, "models",
             absl::StrCat("there is no model ", Printable(model), ", only [",
                          absl::StrJoin(models_, ", "), "]"));
      }
    }
    const auto running = streams_.find(entry.camera.camera_id());
    if (running == streams_.end()) {
      PlanStart(entry);
    } else {
      PlanUpdate(entry, *running->second);
    }
  }

  // As an answer of a service shows it.
  static std::string Masked(const std::string& url) {
    const auto parsed = CameraUrl::Parse(url);
    return parsed.ok() ? WithoutLogin(parsed->Masked()) : "";
  }

  v1::StartStreamRequest StartOf(const HerdEntry& entry) {
    v1::StartStreamRequest start = entry.stream;
    start.set_camera_id(entry.camera.camera_id());
    return start;
  }

  // A URL that WriteHerdFile wrote is no good without the secret in it.
  bool StandsForSecret(const HerdEntry& entry, const std::string& key,
                       const std::string& url) {
    if (!absl::StrContains(url, "***")) return false;
    Fail(entry, key,
         absl::StrCat(key,
                      " holds ***, which stands for a secret that no "
                      "running stream of that URL has: give ",
                      key, "_file or ", key, "_env"));
    return true;
  }

  void PlanStart(const HerdEntry& entry) {
    const v1::StartStreamRequest& asked = entry.stream;
    if (StandsForSecret(entry, "rtsp_url", asked.rtsp_url()) ||
        StandsForSecret(entry, "detect_url", asked.detect_url())) {
      return;
    }
    HerdChange change{.action = Action::kStartStream,
                      .camera_id = entry.camera.camera_id(),
                      .start = StartOf(entry)};
    change.details.push_back(Printable(Masked(asked.rtsp_url())));
    if (asked.has_interval_seconds()) {
      change.details.push_back(
          absl::StrCat("every ", ShortNumber(asked.interval_seconds()), " s"));
    }
    change.details.push_back(absl::StrCat("models ", Listed(asked.models())));
    plan_.changes.push_back(std::move(change));
  }

  void PlanUpdate(const HerdEntry& entry, const v1::Stream& running) {
    const v1::StartStreamRequest& asked = entry.stream;
    HerdChange change{.action = Action::kChangeStream,
                      .camera_id = entry.camera.camera_id(),
                      .start = StartOf(entry)};
    v1::UpdateStreamRequest& update = change.update;
    update.set_stream(running.stream_id());
    const auto differ = [&](absl::string_view key, const std::string& before,
                            const std::string& after) {
      if (before == after) return false;
      change.details.push_back(absl::StrCat(key, " ", before, " -> ", after));
      return true;
    };
    const auto given = [&](const char* key) {
      return entry.given.contains(key);
    };
    const std::string url = Masked(asked.rtsp_url());
    if (differ("rtsp_url", Printable(WithoutLogin(running.rtsp_url())),
               Printable(url))) {
      if (StandsForSecret(entry, "rtsp_url", asked.rtsp_url())) return;
      update.set_rtsp_url(asked.rtsp_url());
    }
    if (given("detect_url") &&
        differ("detect_url", Printable(WithoutLogin(running.detect_url())),
               Printable(Masked(asked.detect_url())))) {
      if (StandsForSecret(entry, "detect_url", asked.detect_url())) return;
      update.set_detect_url(asked.detect_url());
    }
    if (given("interval_seconds") &&
        differ("interval_seconds", ShortNumber(running.interval_seconds()),
               ShortNumber(asked.interval_seconds()))) {
      update.set_interval_seconds(asked.interval_seconds());
    }
    if (given("models") &&
        differ("models", Listed(running.models()), Listed(asked.models()))) {
      *update.mutable_models()->mutable_names() = asked.models();
    }
    if (given("sampling_mode") &&
        differ("sampling_mode", NameOf(running.sampling_mode()),
               NameOf(asked.sampling_mode()))) {
      update.set_sampling_mode(asked.sampling_mode());
    }
    if (given("transport") && differ("transport", NameOf(running.transport()),
                                     NameOf(asked.transport()))) {
      update.set_transport(asked.transport());
    }
    const auto verified = [](bool yes) -> std::string {
      return yes ? "true" : "false";
    };
    if (given("tls_verify") &&
        differ("tls_verify",
               verified(!running.has_tls_verify() || running.tls_verify()),
               verified(asked.tls_verify()))) {
      update.set_tls_verify(asked.tls_verify());
    }
    if (given("batch_size") && running.batch_size() != asked.batch_size()) {
      Fail(entry, "batch_size",
           absl::StrCat("batch_size of a running stream cannot be changed, it "
                        "is ",
                        running.batch_size(), ": stop the stream first"));
      return;
    }
    if (!entry.has_secret) {
      if (change.details.empty()) {
        ++plan_.unchanged;
      } else {
        plan_.changes.push_back(std::move(change));
      }
      return;
    }
    if (change.details.empty()) {
      change.action = Action::kCompareLogin;
      // What the file leaves out would be compared with the default.
      change.start.set_interval_seconds(running.interval_seconds());
      *change.start.mutable_models() = running.models();
    }
    // Given again, so that what comes from outside the file holds afterwards.
    update.set_rtsp_url(asked.rtsp_url());
    if (!asked.detect_url().empty()) update.set_detect_url(asked.detect_url());
    if (!asked.user().empty()) {
      update.set_user(asked.user());
      update.set_password(asked.password());
    }
    plan_.changes.push_back(std::move(change));
  }

  const HerdFile& file_;
  const std::set<std::string> models_;
  std::map<std::string, const v1::Camera*> cameras_;
  std::map<std::string, const v1::Stream*> streams_;
  HerdPlan plan_;
};

}  // namespace

HerdPlan MakeHerdPlan(const HerdFile& file, const HerdState& state,
                      bool prune) {
  return Planner(file, state).Make(prune);
}

}  // namespace camherd::cli
