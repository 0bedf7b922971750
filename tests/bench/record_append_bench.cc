// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/predictions_file.h"
#include "services/aggregator/sqlite_record_store.h"
#include "services/common/clock.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

// Durable records a second, and CPU of a record of 310 KB (a picture of
// 232 KB, in base64 in predictions.json), at 1, 8 and 32 senders; the file is
// caught up at the end. Usage: camherd_bench_record_append [records] [folder
// by TMPDIR].
namespace camherd::aggregator {
namespace {

constexpr int kPictureBytes = 232 * 1000;

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) +
           static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void Run(const camherd::testing::TempDir& dir, int senders, int records,
         bool with_file) {
  Clock& clock = Clock::Real();
  const auto metrics = testing::MakeMetrics();
  auto store = SqliteRecordStore::Create({.data_dir = dir.path()}, clock);
  if (!store.ok()) std::abort();
  std::unique_ptr<PredictionsFile> file;
  if (with_file) {
    PredictionsFile::Options options;
    options.path = PredictionsPath(dir.path());
    options.line = {.timezone = absl::UTCTimeZone()};
    file = PredictionsFile::Create(options, **store, clock, *metrics).value();
  }
  const std::string jpeg(kPictureBytes, '\x5A');
  const std::string sha256 = Sha256(jpeg);
  std::atomic<int> next = 0;
  const double cpu = CpuSeconds();
  const absl::Duration start = clock.SteadyNow();
  std::vector<std::thread> threads;
  for (int s = 0; s < senders; ++s) {
    threads.emplace_back([&, s] {
      int64_t seq = 0;
      while (next.fetch_add(1) < records) {
        v1::AddBatchResultHeader header =
            testing::MakeHeader(absl::StrCat("s", s), ++seq, 10);
        header.mutable_manifest()->mutable_frames(0)->set_sha256(sha256);
        for (int i = 0; i < 5; ++i) {
          testing::AddDetection(header, "dog", 0, 0.9F);
        }
        NewRecord record;
        record.record = BuildRecord(header, std::nullopt);
        record.manifest_sha256 = header.manifest_sha256();
        record.pictures.push_back({.frame_index = 0, .jpeg = jpeg});
        if (!testing::AppendAndWait(**store, std::move(record)).ok()) {
          std::abort();
        }
        if (file != nullptr) file->Wake();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double durable = absl::ToDoubleSeconds(clock.SteadyNow() - start);
  if (file != nullptr) {
    if (!file->WaitUntilCaughtUp(absl::Minutes(1))) std::abort();
    file->Stop(absl::Minutes(1));
  }
  const double all = absl::ToDoubleSeconds(clock.SteadyNow() - start);
  std::printf("%7d  %4s  %9.0f  %13.0f  %7.2f\n", senders,
              with_file ? "yes" : "no", records / durable, records / all,
              (CpuSeconds() - cpu) / records * 1000);
}

}  // namespace
}  // namespace camherd::aggregator

int main(int argc, char** argv) {
  const int records = argc > 1 ? std::atoi(argv[1]) : 1000;
  std::printf("senders  file  durable/s  with lines/s  CPU ms/record\n");
  // Removed at the end: for five minutes after many files of a folder were
  // removed, ext4 searches long for the inode of each new one.
  std::list<camherd::testing::TempDir> dirs;
  for (const bool with_file : {false, true}) {
    for (const int senders : {1, 8, 32}) {
      camherd::aggregator::Run(dirs.emplace_back(), senders, records,
                               with_file);
    }
  }
  return 0;
}
