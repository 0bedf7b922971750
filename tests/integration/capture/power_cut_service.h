// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/capture/peers.h"
#include "services/capture/stream_store.h"
#include "services/capture/stream_supervisor.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"
#include "tests/unit/capture/supervisor_testbed.h"

// A capture service without cameras and network on a folder that stays, for the
// program that is cut off and the test that looks at what is left.
namespace camherd::capture::testing {

// What the outside remembers of a batch.
struct OutsideBatch {
  std::string digest;  // Hexadecimal.
  std::vector<int64_t> frames;
  bool recorded = false;
};

// An inference service, with the aggregator behind it, that keeps its memory
// while the machine of the capture service loses power. `mark` is told of
// each batch that comes, and before each answer; Remember takes that up again.
//
// Thread-safe.
class OutsideInference : public InferencePeer {
 public:
  using Mark = std::function<void(const std::string&)>;

  explicit OutsideInference(Mark mark) : mark_(std::move(mark)) {}

  void Remember(const std::string& mark) {
    const std::vector<std::string> words = absl::StrSplit(mark, ' ');
    if (words.size() < 5 || (words[0] != "sent" && words[0] != "recorded")) {
      return;
    }
    absl::MutexLock lock(&mu_);
    OutsideBatch& batch = batches_[{words[1], std::stoll(words[2])}];
    batch.digest = words[3];
    batch.frames.clear();
    for (size_t i = 4; i < words.size(); ++i) {
      batch.frames.push_back(std::stoll(words[i]));
    }
    batch.recorded = batch.recorded || words[0] == "recorded";
  }

  std::map<BatchKey, OutsideBatch> batches() {
    absl::MutexLock lock(&mu_);
    return batches_;
  }
  // Frames that came and were not what the manifest says.
  int damaged() {
    absl::MutexLock lock(&mu_);
    return damaged_;
  }
  // Records the next batches without an answer.
  void LoseAnswers(int count) {
    absl::MutexLock lock(&mu_);
    loses_answers_ = count;
  }

  absl::Status PrepareModel(const std::string&, absl::Duration) override {
    return absl::OkStatus();
  }

  BatchAnswer InferBatch(
      const OutgoingBatch& batch, absl::Duration,
      const std::function<absl::Status()>& before_last) override {
    BatchAnswer answer;
    v1::BatchManifest manifest;
    manifest.ParseFromString(batch.manifest);
    int damaged = 0;
    for (size_t i = 0; i < batch.frame_files.size(); ++i) {
      const auto bytes = ReadFile(batch.frame_files[i], 1 << 20);
      if (!bytes.ok()) {
        answer.status = answer.file_error = bytes.status();
        return answer;
      }
      const v1::FrameInfo& info = manifest.frames(static_cast<int>(i));
      damaged += Sha256(*bytes) == info.sha256() ? 0 : 1;
    }
    const BatchKey key{manifest.session_id(), manifest.batch_seq()};
    std::string text =
        absl::StrCat(" ", key.session_id, " ", key.batch_seq, " ",
                     absl::BytesToHexString(batch.manifest_sha256));
    for (const v1::FrameInfo& info : manifest.frames()) {
      absl::StrAppend(&text, " ", info.frame_seq());
    }
    mark_(absl::StrCat("sent", text));
    answer.status = before_last();
    if (!answer.status.ok()) return answer;
    answer.sent_whole = true;
    absl::MutexLock lock(&mu_);
    damaged_ += damaged;
    OutsideBatch& known = batches_[key];
    const std::string digest = absl::BytesToHexString(batch.manifest_sha256);
    if (!known.digest.empty() && known.digest != digest) {
      answer.status = absl::AlreadyExistsError("another digest");
      return answer;
    }
    answer.response.set_already_recorded(known.recorded);
    known.digest = digest;
    known.recorded = true;
    known.frames.clear();
    for (const v1::FrameInfo& info : manifest.frames()) {
      known.frames.push_back(info.frame_seq());
    }
    mark_(absl::StrCat("recorded", text));
    if (loses_answers_ > 0) {
      --loses_answers_;
      answer.status = absl::UnavailableError("connection lost");
    }
    return answer;
  }

  void Cancel() override {}

 private:
  const Mark mark_;
  absl::Mutex mu_;
  std::map<BatchKey, OutsideBatch> batches_ ABSL_GUARDED_BY(mu_);
  int damaged_ ABSL_GUARDED_BY(mu_) = 0;
  int loses_answers_ ABSL_GUARDED_BY(mu_) = 0;
};

// From construction to Stop; as main.cc does.
class PowerCutService {
 public:
  PowerCutService(const std::string& data, OutsideInference::Mark mark)
      : inference(std::move(mark)), data_(data) {}

  absl::Status Start() {
    CAMHERD_RETURN_IF_ERROR(MakeDirs(data_));
    CAMHERD_ASSIGN_OR_RETURN(store, StreamStore::Open({.data_dir = data_}));
    StreamSupervisor::Options options;
    options.session.data_dir = data_;
    options.session.node_id = "node";
    options.sender.queue.backoff = {absl::Milliseconds(1),
                                    absl::Milliseconds(5)};
    options.sender.queue.slow_retry = absl::Milliseconds(10);
    options.housekeeping_interval = absl::Milliseconds(5);
    options.stop_timeout = absl::Milliseconds(200);
    options.cameras.refresh = absl::Milliseconds(5);
    supervisor = std::make_unique<StreamSupervisor>(
        options, *store, inference, aggregator, nullptr, Clock::Real());
    worker.SetSink(
        [this](const v1::FromWorker& event) { supervisor->OnEvent(event); });
    return supervisor->Start(worker);
  }

  void Stop() {
    supervisor->Shutdown();
    supervisor.reset();
    store.reset();
  }

  // Some kilobytes, so that a write has many sectors.
  void Take(const std::string& stream_id, int count) {
    for (int i = 0; i < count; ++i) {
      std::string bytes;
      const int64_t now = absl::ToUnixNanos(Clock::Real().Now());
      while (bytes.size() < 3000) absl::StrAppend(&bytes, stream_id, now);
      worker.Take(stream_id, static_cast<double>(now % 200),
                  Clock::Real().Now(), bytes);
    }
  }

  std::vector<v1::Stream> Streams() const {
    const auto listed = supervisor->ListStreams({});
    if (!listed.ok()) return {};
    return {listed->streams().begin(), listed->streams().end()};
  }

  OutsideInference inference;
  FakeAggregator aggregator;
  FakeWorker worker;
  std::unique_ptr<StreamStore> store;
  std::unique_ptr<StreamSupervisor> supervisor;

 private:
  const std::string data_;
};

}  // namespace camherd::capture::testing
