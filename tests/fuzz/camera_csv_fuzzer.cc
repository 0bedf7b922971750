// SPDX-License-Identifier: Apache-2.0
// Input: a camera_data.csv.
#include <cmath>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "services/aggregator/camera_csv.h"
#include "services/common/camera_url.h"
#include "tests/fuzz/fuzz.h"

namespace camherd::fuzz {
namespace {

using aggregator::CameraCsv;
using aggregator::CameraRow;
using aggregator::ParseCameraCsv;

// As a spreadsheet writes it that quotes everything.
std::string Print(const CameraCsv& csv) {
  const bool named = !csv.rows.empty() && csv.rows[0].has_name;
  std::string out = named ? "name,longitude,latitude,cameraID\r\n"
                          : "longitude,latitude,cameraID\r\n";
  for (const CameraRow& row : csv.rows) {
    if (named) {
      absl::StrAppend(&out, "\"",
                      absl::StrReplaceAll(row.name, {{"\"", "\"\""}}), "\",");
    }
    absl::StrAppendFormat(&out, "\"%.17g\",\"%.17g\",\"%s\"\r\n", row.longitude,
                          row.latitude, row.camera_id);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const CameraCsv csv = ParseCameraCsv(Text(data, size));
  std::set<std::string> ids;
  int line = 1;
  for (const CameraRow& row : csv.rows) {
    Promise(IsValidId(row.camera_id) && ids.insert(row.camera_id).second,
            "a camera has an id of its own", row.camera_id);
    Promise(std::abs(row.latitude) <= 90 && std::abs(row.longitude) <= 180,
            "a camera is on earth", row.canonical);
    Promise(row.name.size() <= 200, "a name is short", row.name);
    PromiseUtf8(row.name);
    Promise(row.line > line, "rows are in order, behind the first line");
    line = row.line;
  }
  for (const v1::RowError& error : csv.errors) {
    Promise(error.line() >= 1 && !error.message().empty(),
            "an error says where and what");
    PromisePrintable(error.message());
    Promise(error.message().size() < 500, "a message is short",
            error.message());
  }
  if (csv.rows.empty()) return 0;

  const CameraCsv again = ParseCameraCsv(Print(csv));
  Promise(again.errors.empty() && again.rows.size() == csv.rows.size(),
          "rows parse again", Print(csv));
  for (size_t i = 0; i < csv.rows.size(); ++i) {
    Promise(again.rows[i].camera_id == csv.rows[i].camera_id &&
                again.rows[i].canonical == csv.rows[i].canonical,
            "rows parse again as the same", Print(csv));
  }
  return 0;
}

}  // namespace camherd::fuzz
