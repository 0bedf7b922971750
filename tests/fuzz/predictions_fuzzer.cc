// SPDX-License-Identifier: Apache-2.0
// Input: a predictions.json to be imported.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/aggregator/imported_line.h"
#include "services/aggregator/object_splitter.h"
#include "services/aggregator/prediction_record.h"
#include "services/common/time_proto.h"
#include "tests/fuzz/fuzz.h"

namespace camherd::fuzz {
namespace {

using aggregator::ImportedLine;
using aggregator::ObjectSplitter;
using aggregator::ParseImportedLine;
using aggregator::StoredPicture;

constexpr size_t kMaxObject = 1 << 16;

using Found = std::vector<std::pair<int64_t, std::string>>;

// The objects, in pieces of that size.
Found Split(absl::string_view text, size_t piece) {
  Found found;
  ObjectSplitter splitter(
      kMaxObject,
      [&](int64_t line, absl::string_view object) {
        found.emplace_back(line, object);
        return !absl::IsDataLoss(
            ParseImportedLine(object, absl::UTCTimeZone()).status());
      },
      [&](int64_t line, const std::string& cause) {
        Promise(line >= 1, "a fault says where");
        PromiseUtf8(cause);
      });
  for (size_t at = 0; at < text.size(); at += piece) {
    Promise(splitter.Add(text.substr(at, piece)).ok(), "splitting goes on");
  }
  Promise(splitter.Finish().ok(), "splitting comes to an end");
  return found;
}

// The line of the record as it was read.
std::string Write(const ImportedLine& read) {
  aggregator::StoredRecord stored{.record = read.record.record, .pictures = {}};
  stored.record.set_record_id(1);
  *stored.record.mutable_recorded_at() = ToProto(absl::FromUnixSeconds(1));
  std::map<std::string, std::string> jpegs;
  for (const aggregator::Picture& picture : read.record.pictures) {
    const std::string path = absl::StrCat("records/", picture.frame_index);
    stored.pictures.push_back(
        {.frame_index = picture.frame_index, .path = path, .size_bytes = 0});
    jpegs[path] = picture.jpeg;
  }
  std::string out;
  const absl::Status status = aggregator::AppendPredictionLines(
      stored, {.timezone = absl::UTCTimeZone()},
      [&](const StoredPicture& picture) -> absl::StatusOr<std::string> {
        return jpegs[picture.path];
      },
      out);
  Promise(status.ok() || jpegs.empty(), "a record can be written",
          status.ToString());
  return out;
}

void CheckObject(absl::string_view object) {
  const absl::StatusOr<ImportedLine> read =
      ParseImportedLine(object, absl::UTCTimeZone());
  if (!read.ok()) {
    Promise(absl::IsDataLoss(read.status()) ||
                absl::IsInvalidArgument(read.status()),
            "it is the file's fault", read.status().ToString());
    PromiseUtf8(read.status().message());
    return;
  }
  const v1::Record& record = read->record.record;
  v1::Record again;
  Promise(again.ParseFromString(record.SerializeAsString()),
          "a record can be sent", record.DebugString());
  for (const aggregator::Picture& picture : read->record.pictures) {
    Promise(
        picture.frame_index >= 0 && picture.frame_index < record.frames_size(),
        "a picture is that of a frame", record.DebugString());
  }
  if (read->lines > 1) return;
  const std::string line = Write(*read);
  PromiseUtf8(line);
  const absl::StatusOr<ImportedLine> reread =
      ParseImportedLine(line, absl::UTCTimeZone());
  Promise(reread.ok(), "what is written can be read",
          absl::StrCat(line, reread.status().ToString()));
  Promise(Write(*reread) == line, "a line reads as the same",
          absl::StrCat(line, Write(*reread)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text = Text(data, size);
  const Found objects = Split(text, size + 1);
  for (const auto& [line, object] : objects) CheckObject(object);
  // The same however it is cut.
  Promise(Split(text, 7) == objects, "a file is read as a whole", text);
  return 0;
}

}  // namespace camherd::fuzz
