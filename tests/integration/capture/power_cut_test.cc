// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/capture/spool_layout.h"
#include "services/capture/stream_store.h"
#include "services/common/file.h"
#include "tests/integration/capture/power_cut_service.h"
#include "tests/support/disk_trace.h"
#include "tests/support/status_matchers.h"

// Power cuts under the capture service, while the services it sends to keep
// their memory: what was started is started, what was sent is recorded, under
// the number and with the bytes it had, once, and every frame is accounted for.
namespace camherd::capture {
namespace {

using ::camherd::capture::testing::Eventually;
using ::camherd::capture::testing::ExpectIdentities;
using ::camherd::capture::testing::OutsideBatch;
using ::camherd::capture::testing::PowerCutService;
using ::camherd::capture::testing::TempDir;
using ::camherd::testing::DiskTrace;
using ::camherd::testing::IsOk;

constexpr int kRuns = 4;

// Of one session, all batches that the outside has.
void CheckSession(const v1::Stream& stream,
                  const std::map<BatchKey, OutsideBatch>& batches) {
  int64_t recorded = 0;
  std::set<int64_t> numbers;
  std::set<int64_t> frames;
  for (const auto& [key, batch] : batches) {
    if (key.session_id != stream.session_id()) continue;
    EXPECT_TRUE(batch.recorded) << "sent and never again: batch "
                                << key.batch_seq << " of " << key.session_id;
    numbers.insert(key.batch_seq);
    for (const int64_t frame : batch.frames) {
      ++recorded;
      EXPECT_TRUE(frames.insert(frame).second) << "twice: frame " << frame;
    }
  }
  // Without gaps.
  EXPECT_TRUE(numbers.empty() ||
              *numbers.rbegin() == static_cast<int64_t>(numbers.size()));
  const v1::Accounting& a = stream.accounting();
  ExpectIdentities(a);
  EXPECT_EQ(a.recorded(), recorded) << a.DebugString();
  EXPECT_EQ(a.spooled(), 0);
  for (const auto& [reason, count] : a.dropped()) {
    EXPECT_EQ(reason, "file_lost") << a.DebugString();
    // Those of one batch that was not sealed.
    EXPECT_LE(count, 3);
  }
}

// What the disk has: every sealed batch with its frames, until it is settled.
// One that is recorded has a fate that is not known, else it could be dropped
// by quota.
void CheckSealed(const std::string& data,
                 const std::map<BatchKey, OutsideBatch>& batches) {
  ASSERT_THAT(MakeDirs(data), IsOk());
  const auto store = StreamStore::Open({.data_dir = data});
  ASSERT_THAT(store, IsOk());
  const auto rows = (*store)->ListBatches();
  ASSERT_THAT(rows, IsOk());
  for (const StreamStore::BatchRow& row : *rows) {
    const auto batch = batches.find(row.key);
    if (batch == batches.end() || !batch->second.recorded) continue;
    EXPECT_TRUE(row.fate_unknown) << "batch " << row.key.batch_seq;
  }
  const auto streams = (*store)->LoadStreams();
  ASSERT_THAT(streams, IsOk());
  for (const StreamStore::StoredStream& stored : *streams) {
    const v1::Stream& stream = stored.stream;
    const auto frames = (*store)->ListFrames(stream.session_id());
    ASSERT_THAT(frames, IsOk());
    for (const StreamStore::FrameRow& frame : *frames) {
      if (frame.batch_seq == 0) continue;
      const auto jpeg = ReadFile(
          FrameFile(SpoolDir(data, stream.camera_id(), stream.session_id()),
                    frame.info.frame_seq()),
          1 << 20);
      ASSERT_THAT(jpeg, IsOk());
      EXPECT_EQ(Sha256(*jpeg), frame.info.sha256());
    }
  }
}

void CheckState(const std::string& data,
                const std::vector<std::string>& marks) {
  PowerCutService service(data, [](const std::string&) {});
  std::set<std::string> started;
  std::set<std::string> stopped;
  for (const std::string& mark : marks) {
    service.inference.Remember(mark);
    const std::vector<std::string> words = absl::StrSplit(mark, ' ');
    if (words[0] == "started") started.insert(words[1]);
    if (words[0] == "stopped") stopped.insert(words[1]);
  }
  CheckSealed(data, service.inference.batches());
  ASSERT_THAT(service.Start(), IsOk());
  for (const v1::Stream& stream : service.Streams()) {
    ExpectIdentities(stream.accounting());
    started.erase(stream.session_id());
    if (stopped.count(stream.session_id()) > 0) {
      EXPECT_FALSE(stream.desired_running());
    } else if (stream.desired_running()) {
      service.Take(stream.stream_id(), 2);
    }
  }
  EXPECT_TRUE(started.empty()) << "started and forgotten: " << *started.begin();
  for (const v1::Stream& stream : service.Streams()) {
    if (!stream.desired_running()) continue;
    v1::StopStreamRequest request;
    request.set_stream(stream.process_name());
    EXPECT_THAT(service.supervisor->StopStream(request), IsOk());
  }
  EXPECT_TRUE(Eventually([&] {
    int64_t spooled = 0;
    for (const v1::Stream& stream : service.Streams()) {
      spooled += stream.accounting().spooled();
    }
    return spooled == 0;
  }));
  const auto batches = service.inference.batches();
  for (const v1::Stream& stream : service.Streams()) {
    CheckSession(stream, batches);
  }
  EXPECT_EQ(service.inference.damaged(), 0);
  service.Stop();
}

TEST(CapturePowerCutTest, WhatWasSentIsRecordedOnceWhateverTheDiskKept) {
  // Many thousand syncs, of which none has to be true: in memory.
  if (std::filesystem::is_directory("/dev/shm")) {
    ASSERT_EQ(::setenv("TEST_TMPDIR", "/dev/shm", 0), 0);
  }
  const TempDir dir;
  const std::string run = std::filesystem::canonical(dir.path()) / "run";
  ASSERT_THAT(MakeDirs(run), IsOk());
  const std::string trace_file = dir.path() + "/trace";
  for (int i = 1; i <= kRuns; ++i) {
    const std::string command = absl::StrCat(
        "DISK_SHIM_DIR=", run, " DISK_SHIM_TRACE=", trace_file,
        " LD_PRELOAD=" CAMHERD_DISK_SHIM " " CAMHERD_POWER_CUT_WORKLOAD " ",
        run, " ", i);
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  const DiskTrace trace(trace_file);

  const char* seed_text = std::getenv("POWER_CUT_SEED");
  uint64_t seed = std::random_device{}();
  if (seed_text != nullptr && !absl::SimpleAtoi(seed_text, &seed)) FAIL();
  std::cout << "POWER_CUT_SEED=" << seed << ": " << CAMHERD_POWER_CUT_STATES
            << " states of " << trace.size() << " changes\n";
  std::mt19937_64 any(seed);
  for (size_t i = 0; i < CAMHERD_POWER_CUT_STATES; ++i) {
    const size_t from = i * trace.size() / CAMHERD_POWER_CUT_STATES;
    const size_t to = (i + 1) * trace.size() / CAMHERD_POWER_CUT_STATES;
    const size_t point = 1 + from + any() % (to > from ? to - from : 1);
    const auto kept = static_cast<DiskTrace::Kept>(any() % DiskTrace::kKinds);
    const uint64_t chance = any();
    const TempDir state;
    trace.Rebuild(point, kept, chance, state.path());
    SCOPED_TRACE(absl::StrCat("state ", i, ": after ", point, " changes, ",
                              trace.Describe(point), "; kept ",
                              static_cast<int>(kept), " by ", chance));
    CheckState(state.path() + "/data", trace.MarksBefore(point));
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace camherd::capture
