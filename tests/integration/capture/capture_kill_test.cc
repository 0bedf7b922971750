// SPDX-License-Identifier: Apache-2.0
// A real SIGKILL at a random moment, again and again: a child process takes
// samples, seals and sends as fast as it can, and is killed; whatever the
// moment, the next one goes on, every frame is in one place, and each batch is
// recorded once.

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>

#include "tests/unit/capture/supervisor_testbed.h"

extern char** environ;

namespace camherd::capture {
namespace {

using testing::ExpectStoreAgrees;
using testing::FakeAggregator;
using testing::FakeWorker;
using testing::TempDir;

constexpr char kFolder[] = "CAMHERD_TEST_KILL_FOLDER";

// Records on disk, as the aggregator does: a line per attempt.
class RecordingInference : public InferencePeer {
 public:
  explicit RecordingInference(const std::string& path)
      : out_(path, std::ios::app) {}
  absl::Status PrepareModel(const std::string&, absl::Duration) override {
    return absl::OkStatus();
  }
  BatchAnswer InferBatch(const OutgoingBatch& batch, absl::Duration,
                         const std::function<absl::Status()>& last) override {
    BatchAnswer answer;
    v1::BatchManifest manifest;
    manifest.ParseFromString(batch.manifest);
    for (const std::string& file : batch.frame_files) {
      const auto bytes = ReadFile(file, 1 << 20);
      if (!bytes.ok()) {
        answer.status = answer.file_error = bytes.status();
        return answer;
      }
    }
    answer.status = last();
    answer.sent_whole = answer.status.ok();
    if (!answer.sent_whole) return answer;
    absl::MutexLock lock(&mu_);
    out_ << manifest.session_id() << ' ' << manifest.batch_seq() << ' '
         << Sha256Hex(batch.manifest) << ' ' << manifest.frames_size()
         << std::endl;
    return answer;
  }
  void Cancel() override {}

 private:
  absl::Mutex mu_;
  std::ofstream out_ ABSL_GUARDED_BY(mu_);
};

struct Service {
  explicit Service(const std::string& folder)
      : store(StreamStore::Open({.data_dir = folder}).value()),
        inference(folder + "/attempts.txt"),
        supervisor(Options(folder), *store, inference, aggregator, nullptr,
                   Clock::Real()) {
    worker.SetSink(
        [this](const v1::FromWorker& event) { supervisor.OnEvent(event); });
    EXPECT_TRUE(supervisor.Start(worker).ok());
  }
  static StreamSupervisor::Options Options(const std::string& folder) {
    StreamSupervisor::Options options;
    options.session.data_dir = folder;
    options.sender.queue.backoff = {absl::Milliseconds(1),
                                    absl::Milliseconds(5)};
    return options;
  }

  std::unique_ptr<StreamStore> store;
  RecordingInference inference;
  FakeAggregator aggregator;
  FakeWorker worker;
  StreamSupervisor supervisor;
};

// The child: two streams, samples until it is killed.
TEST(CaptureKillTest, DISABLED_Child) {
  const char* folder = std::getenv(kFolder);
  ASSERT_NE(folder, nullptr);
  Service service(folder);
  std::vector<std::string> ids;
  for (const char* name : {"a", "b"}) {
    v1::StartStreamRequest request;
    request.set_rtsp_url(absl::StrCat("rtsp://192.0.2.1/", name));
    request.set_batch_size(3);
    request.set_interval_seconds(86400);
    request.add_models("animals");
    ids.push_back(
        service.supervisor.StartStream(request)->stream().stream_id());
  }
  for (int i = 0;; ++i) {
    service.worker.Take(ids[i % 2], i * 37 % 101, Clock::Real().Now());
  }
}

TEST(CaptureKillTest, AKillAtAnyMomentLosesNoFrameAndRecordsEachBatchOnce) {
  TempDir dir;
  std::mt19937 random(20260801);
  for (int round = 0; round < 12; ++round) {
    setenv(kFolder, dir.path().c_str(), 1);
    char program[] = "/proc/self/exe";
    char filter[] = "--gtest_filter=CaptureKillTest.DISABLED_Child";
    char also[] = "--gtest_also_run_disabled_tests";
    char* argv[] = {program, filter, also, nullptr};
    pid_t child = 0;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", 1, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", 1, 0);
    ASSERT_EQ(posix_spawn(&child, program, &actions, nullptr, argv, environ),
              0);
    posix_spawn_file_actions_destroy(&actions);
    // Until it is at work, and then some.
    const std::string attempts = dir.path() + "/attempts.txt";
    const auto size = [&] {
      std::error_code ignored;
      const auto bytes = std::filesystem::file_size(attempts, ignored);
      return ignored ? uintmax_t{0} : bytes;
    };
    const uintmax_t before = size();
    testing::Eventually([&] { return size() > before + 1000; });
    Clock::Real().SleepFor(absl::Microseconds(random() % 30000));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
  }

  int64_t recorded = 0;
  {
    Service service(dir.path());
    for (const char* name : {"a", "b"}) {
      v1::StopStreamRequest request;
      request.set_stream(name);
      EXPECT_TRUE(service.supervisor.StopStream(request).ok());
    }
    EXPECT_TRUE(testing::Eventually(
        [&] { return service.supervisor.Snapshot()->total.spooled() == 0; }));
    const v1::Accounting total = service.supervisor.Snapshot()->total;
    testing::ExpectIdentities(total);
    EXPECT_EQ(total.dropped_size(), 0) << total.DebugString();
    EXPECT_EQ(total.captured(), total.recorded());
    recorded = total.recorded();
    service.supervisor.Shutdown();
    ExpectStoreAgrees(*service.store, dir.path());
  }
  // What a store unique by (session, batch_seq) would hold.
  std::map<std::pair<std::string, int>, std::string> records;
  int64_t frames = 0;
  std::ifstream in(dir.path() + "/attempts.txt");
  std::string session;
  std::string digest;
  int batch_seq = 0;
  int count = 0;
  while (in >> session >> batch_seq >> digest >> count) {
    const auto [it, added] =
        records.emplace(std::make_pair(session, batch_seq), digest);
    EXPECT_EQ(it->second, digest) << "batch " << batch_seq << " was cut again";
    if (added) frames += count;
  }
  EXPECT_EQ(frames, recorded);
  EXPECT_GT(recorded, 100) << "the children did hardly anything";
}

}  // namespace
}  // namespace camherd::capture
