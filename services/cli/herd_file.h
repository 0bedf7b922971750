// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "camherd/v1/camera.pb.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/stream.pb.h"

// The file of `camherd apply`: cameras with their places, masks and zones, and
// their streams. As YAML
//
//   cameras:
//     - camera_id: CAM-001
//       name: North gate
//       latitude: 26.4499
//       longitude: 80.3319
//       privacy_masks:
//         - {points: [{x: 0, y: 0}, {x: 0.3, y: 0}, {x: 0.3, y: 1}]}
//       rtsp_url: rtsp://127.0.0.1:8554/demo
//       models: [people]
//       user: admin
//       password_file: north-gate.password
//
// or as CSV, a line a camera, columns named as these keys; without masks, zones
// and thresholds; several models with a blank between them.
//
// Keys are the fields of Camera and of StartStreamRequest (no lease: what is in
// a file is to run for good). What a camera does not name stays as it is. A
// secret is never in the file: rtsp_url, detect_url, user and password may each
// be given by <key>_file, beside it, or <key>_env instead, and a password only
// so.
namespace camherd::cli {

// A camera of the file.
struct HerdEntry {
  // "cameras.yaml:12"
  std::string where;
  v1::Camera camera;
  // Without rtsp_url: the camera's stream is none of the file's concern.
  v1::StartStreamRequest stream;
  // The keys that were given, as fields (rtsp_url for rtsp_url_env), and where.
  std::map<std::string, std::string> given;
  // The stream's URLs, user or password came from outside the file.
  bool has_secret = false;
};

struct HerdFile {
  std::vector<HerdEntry> entries;
  // "cameras.yaml:14: latitude must be in [-90, 90], got 91": all that is
  // wrong.
  std::vector<std::string> errors;
};

// `path` says by its end whether it is a CSV, is what messages call it, and
// where the files that it names are.
HerdFile ParseHerdFile(const std::string& path, absl::string_view text);

// The same as YAML, of what there is: running streams without their logins, of
// which a comment tells.
std::string WriteHerdFile(const std::vector<v1::Camera>& cameras,
                          const std::vector<v1::Stream>& streams);

// A masked URL without its user info.
std::string WithoutLogin(absl::string_view masked_url);

}  // namespace camherd::cli
