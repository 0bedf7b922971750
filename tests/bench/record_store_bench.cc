// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/predictions_file.h"
#include "services/aggregator/sqlite_record_store.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/time_proto.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

// A store of many records with pictures of 1 KB: how long it takes to open, to
// catch up with predictions.json, and to list the newest 50 for each filter.
// Usage: camherd_bench_record_store [records] [folder by TMPDIR].
//
// 100 cameras over 30 days, each with a session a day. `dog` is seen in a
// third of the records, `cow` in one of a thousand, `horse` by one camera on
// one day; potholes in one of a thousand, never with a `horse`.
namespace camherd::aggregator {
namespace {

constexpr int kPictureBytes = 1000;
constexpr int kCameras = 100;
constexpr int kDays = 30;
constexpr int kSenders = 64;
constexpr int kListings = 300;
constexpr int kPage = 50;

absl::Time FirstDay() { return absl::FromUnixSeconds(1782864000); }

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::abort();
  }
  return *std::move(value);
}

void OrDie(const absl::Status& status) {
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::abort();
  }
}

void Print(const std::string& what, double value, const char* unit) {
  std::printf("%-44s %10.2f %s\n", what.c_str(), value, unit);
  std::fflush(stdout);
}

std::string CameraId(int camera) { return absl::StrFormat("CAM-%03d", camera); }

std::string SessionId(int camera, int day) {
  return absl::StrFormat("session-%03d-%02d", camera, day);
}

// The `i`th of `count` records, in the order of time.
NewRecord MakeRecord(int i, int count, const std::string& jpeg) {
  const int camera = i % kCameras;
  const absl::Duration at =
      absl::Hours(24 * kDays) * (static_cast<double>(i) / count);
  const int day = static_cast<int>(at / absl::Hours(24));
  v1::AddBatchResultHeader header =
      testing::MakeHeader(SessionId(camera, day), i / kCameras + 1, 10);
  v1::BatchManifest& manifest = *header.mutable_manifest();
  manifest.set_camera_id(CameraId(camera));
  for (int frame = 0; frame < manifest.frames_size(); ++frame) {
    *manifest.mutable_frames(frame)->mutable_captured_at() =
        ToProto(FirstDay() + at + absl::Seconds(3 * frame));
  }
  manifest.mutable_frames(0)->set_sha256(Sha256(jpeg));
  for (int k = 0; k < 3; ++k) {
    testing::AddDetection(header, i % 3 == 0 ? "dog" : "person", k, 0.9F);
  }
  if (i % 1000 == 1) testing::AddDetection(header, "cow", 1, 0.8F);
  if (camera == 7 && day == 1) testing::AddDetection(header, "horse", 2, 0.7F);
  if (i % 1000 == 2) {
    v1::ModelResult& result = *header.add_results();
    result.set_model("pothole");
    result.set_section("pothole");
    result.set_complaint_type("pothole");
    result.add_complaint_classes("pothole");
    result.set_outcome(v1::OUTCOME_CODE_OK);
    v1::Detection& hole = *result.add_detections();
    hole.set_class_name("pothole");
    hole.set_confidence(0.6F);
  }
  header.set_manifest_sha256(Sha256(manifest.SerializeAsString()));
  NewRecord record;
  record.record = BuildRecord(header, std::nullopt);
  record.manifest_sha256 = header.manifest_sha256();
  record.pictures.push_back({.frame_index = 0, .jpeg = jpeg});
  return record;
}

class Bench {
 public:
  explicit Bench(int records) : records_(records) {}

  void Run() {
    Timed("open an empty store", [this] { OpenStore(); });
    Fill();
    // As a service does that was switched to a file, or lost it with its row.
    Timed("write all lines of predictions.json", [this] { CatchUp(); });
    store_.reset();
    Timed("open the store", [this] { OpenStore(); });
    Timed("open and check predictions.json", [this] { CatchUp(); });
    // The cursor is stored once a second, the lines behind it are counted.
    SetCursorBack(1000);
    store_.reset();
    Timed("open both, 1000 lines behind the cursor", [this] {
      OpenStore();
      CatchUp();
    });
    LoseLines(1000);
    store_.reset();
    Timed("open both, 1000 lines lost and half a one", [this] {
      OpenStore();
      CatchUp();
    });
    for (const auto& [what, filter] : Filters()) List(what, filter);
    Timed("export, class unknown", [this] {
      OrDie(store_->RecordsAfter({.class_name = "zebra"}, 0, kPage).status());
    });
    // What a crash leaves: the pages of the kernel are not in memory either.
    OrDie(DropFromMemory());
    store_.reset();
    Timed("open both, nothing in memory", [this] {
      OpenStore();
      CatchUp();
    });
  }

 private:
  struct Named {
    std::string what;
    RecordFilter filter;
  };

  template <typename Step>
  void Timed(const std::string& what, Step step) {
    const absl::Duration start = clock_.SteadyNow();
    step();
    Print(what, absl::ToDoubleSeconds(clock_.SteadyNow() - start), "s");
  }

  void OpenStore() {
    store_ =
        OrDie(SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_));
  }

  void Fill() {
    const std::string jpeg(kPictureBytes, '\x5A');
    std::atomic<int> next = 0;
    const absl::Duration start = clock_.SteadyNow();
    std::vector<std::thread> threads;
    threads.reserve(kSenders);
    for (int s = 0; s < kSenders; ++s) {
      threads.emplace_back([&] {
        for (int i = next.fetch_add(1); i < records_; i = next.fetch_add(1)) {
          OrDie(testing::AppendAndWait(*store_, MakeRecord(i, records_, jpeg))
                    .status());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    Print("append, 64 senders",
          records_ / absl::ToDoubleSeconds(clock_.SteadyNow() - start),
          "records/s");
  }

  void CatchUp() {
    PredictionsFile::Options options;
    options.path = PredictionsPath(dir_.path());
    options.line = {.timezone = absl::UTCTimeZone()};
    const auto file =
        OrDie(PredictionsFile::Create(options, *store_, clock_, *metrics_));
    if (!file->WaitUntilCaughtUp(absl::Hours(1))) std::abort();
    file->Stop(absl::Minutes(1));
  }

  void SetCursorBack(int64_t lines) {
    PredictionsCursor cursor = OrDie(store_->GetCursor());
    const int64_t size = static_cast<int64_t>(
        std::filesystem::file_size(PredictionsPath(dir_.path())));
    // All lines of a kind are of one length but for their numbers: the
    // cursor has to stand at a line's end.
    const std::string tail = ReadTail(size);
    size_t at = tail.size() - 1;
    for (int64_t i = 0; i < lines; ++i) at = tail.rfind('\n', at - 1);
    cursor.offset = size - static_cast<int64_t>(tail.size() - at - 1);
    cursor.last_record_id -= lines;
    OrDie(store_->PutCursor(cursor));
  }

  std::string ReadTail(int64_t size) {
    std::FILE* file = std::fopen(PredictionsPath(dir_.path()).c_str(), "rb");
    if (file == nullptr) std::abort();
    std::string tail(
        static_cast<size_t>(std::min<int64_t>(size, int64_t{16} << 20)), '\0');
    if (std::fseek(file, -static_cast<long>(tail.size()), SEEK_END) != 0 ||
        std::fread(tail.data(), 1, tail.size(), file) != tail.size()) {
      std::abort();
    }
    std::fclose(file);
    return tail;
  }

  void LoseLines(int64_t lines) {
    SetCursorBack(lines);
    const PredictionsCursor cursor = OrDie(store_->GetCursor());
    std::filesystem::resize_file(PredictionsPath(dir_.path()),
                                 static_cast<uintmax_t>(cursor.offset) + 500);
  }

  std::vector<Named> Filters() {
    const absl::Time middle = FirstDay() + absl::Hours(24 * kDays / 2);
    std::vector<Named> filters;
    filters.push_back({"", {}});
    filters.push_back({"camera", {.camera_id = CameraId(7)}});
    filters.push_back({"camera unknown", {.camera_id = "CAM-999"}});
    filters.push_back({"class dog", {.class_name = "dog"}});
    filters.push_back({"class cow", {.class_name = "cow"}});
    filters.push_back({"class unknown", {.class_name = "zebra"}});
    filters.push_back(
        {"complaint stray_animal", {.complaint_type = "stray_animal"}});
    filters.push_back({"complaint pothole", {.complaint_type = "pothole"}});
    filters.push_back({"session", {.session_id = SessionId(7, 9)}});
    filters.push_back({"an hour in the middle",
                       {.since = middle, .until = middle + absl::Hours(1)}});
    filters.push_back(
        {"until the first hour", {.until = FirstDay() + absl::Hours(1)}});
    filters.push_back(
        {"camera, class cow", {.camera_id = CameraId(1), .class_name = "cow"}});
    filters.push_back({"camera, class horse never seen there",
                       {.camera_id = CameraId(1), .class_name = "horse"}});
    filters.push_back(
        {"camera, pothole",
         {.camera_id = CameraId(2), .complaint_type = "pothole"}});
    filters.push_back({"class dog, pothole",
                       {.class_name = "dog", .complaint_type = "pothole"}});
    filters.push_back(
        {"class horse, stray_animal",
         {.class_name = "horse", .complaint_type = "stray_animal"}});
    filters.push_back({"class dog, first session",
                       {.class_name = "dog", .session_id = SessionId(0, 0)}});
    filters.push_back(
        {"pothole, first session",
         {.complaint_type = "pothole", .session_id = SessionId(0, 0)}});
    filters.push_back({"all of them, first session",
                       {.camera_id = CameraId(0),
                        .class_name = "dog",
                        .complaint_type = "stray_animal",
                        .session_id = SessionId(0, 0),
                        .since = FirstDay(),
                        .until = FirstDay() + absl::Hours(24)}});
    return filters;
  }

  // Pages from the newest on, and the same from the middle of the list.
  void List(const std::string& what, const RecordFilter& filter) {
    std::vector<double> took;
    std::optional<RecordPosition> after;
    size_t found = 0;
    for (int i = 0; i < kListings; ++i) {
      const absl::Duration start = clock_.SteadyNow();
      const std::vector<v1::Record> page =
          OrDie(store_->ListRecords(filter, after, kPage));
      took.push_back(absl::ToDoubleMilliseconds(clock_.SteadyNow() - start));
      found = std::max(found, page.size());
      after.reset();
      if (page.size() == kPage) {
        after = RecordPosition{
            absl::ToUnixMicros(FromProto(page.back().captured_at())),
            page.back().record_id()};
      }
    }
    std::sort(took.begin(), took.end());
    Print(absl::StrCat("list", what.empty() ? "" : ", ", what, ", p99 (", found,
                       " found)"),
          took[took.size() * 99 / 100], "ms");
  }

  absl::Status DropFromMemory() {
    ::sync();
    std::FILE* file = std::fopen("/proc/sys/vm/drop_caches", "w");
    if (file == nullptr) {
      std::fprintf(stderr, "not root: the kernel keeps its pages\n");
      return absl::OkStatus();
    }
    std::fputs("3\n", file);
    std::fclose(file);
    return absl::OkStatus();
  }

  const int records_;
  camherd::testing::TempDir dir_;
  Clock& clock_ = Clock::Real();
  std::unique_ptr<AggregatorMetrics> metrics_ = testing::MakeMetrics();
  std::unique_ptr<RecordStore> store_;
};

}  // namespace
}  // namespace camherd::aggregator

int main(int argc, char** argv) {
  camherd::aggregator::Bench(argc > 1 ? std::atoi(argv[1]) : 1000000).Run();
  return 0;
}
