// SPDX-License-Identifier: Apache-2.0
#include "services/cli/camera_commands.h"

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/cli/exit_code.h"
#include "services/cli/table.h"
#include "services/common/file.h"
#include "services/common/proto_json.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"
#include "services/common/utf8.h"

namespace camherd::cli {
namespace {

constexpr size_t kMaxFileBytes = 16 << 20;

absl::StatusOr<std::string> ReadInput(const std::string& file) {
  absl::StatusOr<std::string> text =
      ReadFile(file == "-" ? "/dev/stdin" : file, kMaxFileBytes);
  if (!text.ok()) return WrongUsage(text.status().message());
  if (!IsUtf8(*text)) return WrongUsage(absl::StrCat(file, " must be UTF-8"));
  return text;
}

std::string Place(const v1::Camera& camera) {
  if (!camera.has_latitude() || !camera.has_longitude()) return "";
  return absl::StrFormat("%.6g, %.6g", camera.latitude(), camera.longitude());
}

void Show(const v1::Camera& camera, Console& console) {
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(camera), "\n"));
    return;
  }
  console.Out(
      absl::StrFormat("camera       %s\nname         %s\nplace        %s\n",
                      Printable(camera.camera_id()), Printable(camera.name()),
                      Place(camera).empty() ? "not known" : Place(camera)));
  for (const v1::Polygon& mask : camera.privacy_masks()) {
    console.Out(absl::StrCat("mask         ", ProtoToJson(mask), "\n"));
  }
  for (const v1::Zone& zone : camera.zones()) {
    console.Out(absl::StrCat("zone         ", Printable(zone.name()), ": ",
                             ProtoToJson(zone.area()), "\n"));
  }
  console.Out(
      absl::StrFormat("classes      %s\nchanged      %s by %s\n",
                      camera.classes().empty()
                          ? "all"
                          : Printable(absl::StrJoin(camera.classes(), ", ")),
                      LocalTime(FromProto(camera.updated_at())),
                      Printable(camera.updated_by())));
}

absl::StatusOr<v1::Camera> Find(const std::string& camera_id,
                                HerdClient& client) {
  v1::GetCameraRequest request;
  request.set_camera_id(camera_id);
  return client.GetCamera(request);
}

}  // namespace

absl::Status ListCameras(HerdClient& client, Console& console) {
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListCamerasResponse listed,
                           client.ListCameras({}));
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(listed), "\n"));
    return absl::OkStatus();
  }
  Table table({"CAMERA", "PLACE", "MASKS#", "ZONES#", "CLASSES", "CHANGED",
               "BY", "NAME"});
  for (const v1::Camera& camera : listed.cameras()) {
    table.Add({{.text = camera.camera_id()},
               {.text = Place(camera)},
               {.text = absl::StrCat(camera.privacy_masks_size())},
               {.text = absl::StrCat(camera.zones_size())},
               {.text = camera.classes().empty()
                            ? "all"
                            : absl::StrJoin(camera.classes(), ",")},
               {.text = LocalTime(FromProto(camera.updated_at()))},
               {.text = camera.updated_by()},
               {.text = camera.name()}});
  }
  console.Out(table.ToText(console));
  return absl::OkStatus();
}

absl::Status GetCamera(const std::string& camera_id, HerdClient& client,
                       Console& console) {
  CAMHERD_ASSIGN_OR_RETURN(const v1::Camera camera, Find(camera_id, client));
  Show(camera, console);
  return absl::OkStatus();
}

absl::Status SetCamera(const SetCameraOptions& options, HerdClient& client,
                       Console& console) {
  v1::UpsertCameraRequest request;
  v1::Camera& camera = *request.mutable_camera();
  if (!options.file.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(const std::string json, ReadInput(options.file));
    if (const absl::Status read = JsonToProto(json, {}, &camera); !read.ok()) {
      return WrongUsage(absl::StrCat(options.file, ": ", read.message()));
    }
    if (camera.camera_id().empty()) camera.set_camera_id(options.camera_id);
    if (camera.camera_id() != options.camera_id) {
      return WrongUsage(absl::StrCat(options.file, ": camera_id must be ",
                                     options.camera_id, ", got ",
                                     camera.camera_id()));
    }
  } else {
    absl::StatusOr<v1::Camera> known = Find(options.camera_id, client);
    if (known.ok()) {
      camera = *std::move(known);
    } else if (!absl::IsNotFound(known.status())) {
      return known.status();
    }
    camera.set_camera_id(options.camera_id);
  }
  if (options.name.has_value()) camera.set_name(*options.name);
  if (options.latitude.has_value()) camera.set_latitude(*options.latitude);
  if (options.longitude.has_value()) camera.set_longitude(*options.longitude);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Camera stored,
                           client.UpsertCamera(request));
  Show(stored, console);
  return absl::OkStatus();
}

absl::Status ImportCameras(const std::string& file, HerdClient& client,
                           Console& console) {
  v1::ImportCamerasRequest request;
  CAMHERD_ASSIGN_OR_RETURN(*request.mutable_csv(), ReadInput(file));
  CAMHERD_ASSIGN_OR_RETURN(const v1::ImportCamerasResponse imported,
                           client.ImportCameras(request));
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(imported), "\n"));
  } else {
    console.Out(absl::StrCat(imported.added(), " added, ", imported.updated(),
                             " changed, ", imported.unchanged(),
                             " as they were\n"));
  }
  for (const v1::RowError& error : imported.errors()) {
    console.Say(absl::StrCat(Printable(file), ":", error.line(), ": ",
                             Printable(error.message())));
  }
  if (imported.errors().empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(imported.errors_size(), " rows were not taken"));
}

}  // namespace camherd::cli
