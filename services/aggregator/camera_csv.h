// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "camherd/v1/aggregator_service.pb.h"

namespace camherd::aggregator {

// A row of camera_data.csv.
// That a file may have, and that there may be.
inline constexpr size_t kMaxCameras = 100'000;

struct CameraRow {
  int line = 0;  // From 1.
  std::string camera_id;
  double latitude = 0;
  double longitude = 0;
  bool has_name = false;  // The file has a column `name`.
  std::string name;
  // The row's content in one form, whatever its spacing, quoting and order of
  // columns: two rows that say the same compare equal.
  std::string canonical;
};

struct CameraCsv {
  std::vector<CameraRow> rows;
  std::vector<v1::RowError> errors;
};

// Parses document A's camera_data.csv (RFC 4180): the first line names the
// columns, in any order and case; `cameraID`, `latitude` and `longitude` must
// be there, `name` may, others are passed over. A byte order mark, CRLF, blank
// lines and quoted fields are taken. Of two rows with one id the first counts.
// Rows that cannot be used are errors, of which 1000 are told and the others
// counted in one more; without the three columns, or with more than kMaxCameras
// rows that can be used, there is one error, of line 1, and no row.
CameraCsv ParseCameraCsv(absl::string_view text);

}  // namespace camherd::aggregator
