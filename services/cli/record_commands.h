// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "camherd/v1/record.pb.h"
#include "services/cli/console.h"
#include "services/cli/herd_client.h"

// records, and export of records.
namespace camherd::cli {

struct RecordsOptions {
  // 0: a list.
  int64_t record_id = 0;
  std::string camera_id = {};
  std::string class_name = {};
  std::string complaint_type = {};
  std::string session_id = {};
  std::string since = {};
  std::string until = {};
  int32_t count = 20;
  std::string page_token = {};
};
absl::Status RunRecords(const RecordsOptions& options, HerdClient& client,
                        Console& console);

struct ExportOptions {
  std::string format = "jsonl";
  std::string camera_id = {};
  std::string since = {};
  std::string until = {};
  // Empty: standard output.
  std::string file = {};
};
absl::Status RunExport(const ExportOptions& options, HerdClient& client,
                       Console& console);

// "2026-08-01T10:15:00Z", "2026-08-01" (UTC), or how long before `now`: "90s",
// "30m", "2h", "7d". WrongUsage, naming `field`.
absl::StatusOr<absl::Time> ParseWhen(absl::string_view field,
                                     absl::string_view text, absl::Time now);

// "stray_animal" of what is 1 in it, "-" for none; and what was seen: "2 dog,
// 1 cow".
std::string ComplaintsOf(const v1::Record& record);
std::string SeenIn(const v1::Record& record);

}  // namespace camherd::cli
