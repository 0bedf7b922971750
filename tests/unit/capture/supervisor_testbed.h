// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/capture/peers.h"
#include "services/capture/spool_layout.h"
#include "services/capture/stream_store.h"
#include "services/capture/stream_supervisor.h"
#include "services/common/file.h"
#include "services/common/time_proto.h"
#include "tests/support/status_matchers.h"

// What the tests of the supervisor share: a worker without cameras, peers
// without a network, and the check of the accounting identities.
namespace camherd::capture::testing {

class TempDir {
 public:
  TempDir() {
    std::string path = ::testing::TempDir() + "camherd_XXXXXX";
    path_ = mkdtemp(path.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A worker without cameras: the test takes the samples.
class FakeWorker : public WorkerLink {
 public:
  using Sink = std::function<void(const v1::FromWorker&)>;

  void SetSink(Sink sink) { sink_ = std::move(sink); }

  void Send(const v1::ToWorker& message) override {
    if (before_send) before_send(message);
    bool ended = false;
    {
      absl::MutexLock lock(&mu_);
      messages_.push_back(message);
      if (message.has_assign()) {
        Running& running = running_[message.assign().stream_id()];
        const int64_t next = message.assign().next_frame_seq();
        running.next_seq = std::max(running.next_seq, next);
        running.assign = message.assign();
      } else if (message.has_revoke() && answers_revoke_) {
        ended = running_.erase(message.revoke().stream_id()) > 0;
      } else if (message.has_pause()) {
        paused_[message.pause().stream_id()] =
            message.pause().paused() ? message.pause().reason() : "";
      } else if (message.has_grant()) {
        granted_[message.grant().stream_id()] = message.grant().request();
      }
    }
    if (ended) End(message.revoke().stream_id());
  }

  WorkerStats stats() const override {
    absl::MutexLock lock(&mu_);
    return stats_;
  }
  // Its processes have used so much more.
  void Use(double cpu_seconds) {
    absl::MutexLock lock(&mu_);
    stats_.cpu_seconds += cpu_seconds;
  }

  void Stop() override {
    std::map<std::string, Running> running;
    {
      absl::MutexLock lock(&mu_);
      running.swap(running_);
    }
    for (const auto& [id, assign] : running) End(id);
  }

  // A sample with that luma: writes the file, then tells. Returns its number.
  int64_t Take(const std::string& stream_id, double luma, absl::Time at,
               const std::string& bytes = "jpeg") {
    v1::FromWorker event;
    const int64_t seq = Write(stream_id, luma, at, bytes, event);
    sink_(event);
    return seq;
  }

  // Only writes the file: what a crash before the event leaves.
  int64_t Write(const std::string& stream_id, double luma, absl::Time at,
                const std::string& bytes, v1::FromWorker& event) {
    std::string dir;
    int64_t seq = 0;
    int64_t masks_version = 0;
    bool ranked_only = false;
    {
      absl::MutexLock lock(&mu_);
      Running& running = running_.at(stream_id);
      dir = running.assign.spool_dir();
      masks_version = running.assign.masks_version();
      ranked_only = running.assign.ranked_only();
      seq = running.next_seq++;
    }
    EXPECT_TRUE(
        WriteFileAtomically(FrameFile(dir, seq), bytes, Sync::kNone).ok());
    event.set_stream_id(stream_id);
    v1::SampleTaken& sample = *event.mutable_sample();
    v1::FrameInfo& info = *sample.mutable_frame();
    info.set_frame_seq(seq);
    *info.mutable_captured_at() = ToProto(at);
    info.set_mean_luma(luma);
    info.set_size_bytes(static_cast<int64_t>(bytes.size()));
    info.set_sha256(Sha256(bytes));
    info.set_width(64);
    info.set_height(48);
    sample.set_effective_mode(v1::SAMPLING_MODE_KEYFRAME);
    sample.set_gop_seconds(1);
    sample.set_received_bytes(1000 * seq);
    sample.set_masks_version(masks_version);
    sample.set_ranked_only(ranked_only);
    return seq;
  }

  void Miss(const std::string& stream_id, const std::string& reason,
            int64_t count) {
    v1::FromWorker event;
    event.set_stream_id(stream_id);
    event.mutable_missed()->set_reason(reason);
    event.mutable_missed()->set_count(count);
    sink_(event);
  }

  void State(const std::string& stream_id, v1::StreamState state,
             const std::string& reason) {
    v1::FromWorker event;
    event.set_stream_id(stream_id);
    event.mutable_state()->set_state(state);
    event.mutable_state()->set_reason(reason);
    event.mutable_state()->set_local_ip("192.0.2.7");
    event.mutable_state()->set_connects(1);
    sink_(event);
  }

  // Its stream wants to connect, or has closed its connection.
  void Want(const std::string& stream_id, int64_t request,
            const std::string& host) {
    v1::FromWorker event;
    event.set_stream_id(stream_id);
    event.mutable_connect_wanted()->set_request(request);
    event.mutable_connect_wanted()->set_host(host);
    sink_(event);
  }
  void Close(const std::string& stream_id, int64_t request) {
    v1::FromWorker event;
    event.set_stream_id(stream_id);
    event.mutable_connection_closed()->set_request(request);
    sink_(event);
  }

  void End(const std::string& stream_id) {
    v1::FromWorker event;
    event.set_stream_id(stream_id);
    event.mutable_ended();
    sink_(event);
  }

  // As its process does that ends; `quarantine_seconds` where it is to blame.
  void Lose(const std::string& stream_id, const std::string& reason,
            double quarantine_seconds) {
    {
      absl::MutexLock lock(&mu_);
      paused_.erase(stream_id);
    }
    v1::FromWorker event;
    event.set_stream_id(stream_id);
    event.mutable_ended()->set_lost(true);
    event.mutable_ended()->set_reason(reason);
    event.mutable_ended()->set_quarantine_seconds(quarantine_seconds);
    sink_(event);
  }

  void SetAnswersRevoke(bool answers) {
    absl::MutexLock lock(&mu_);
    answers_revoke_ = answers;
  }
  v1::AssignStream Assigned(const std::string& stream_id) {
    absl::MutexLock lock(&mu_);
    const auto it = running_.find(stream_id);
    return it == running_.end() ? v1::AssignStream() : it->second.assign;
  }
  size_t running() {
    absl::MutexLock lock(&mu_);
    return running_.size();
  }
  // Number of the request that was granted last; 0: none.
  int64_t granted(const std::string& stream_id) {
    absl::MutexLock lock(&mu_);
    return granted_[stream_id];
  }
  bool paused(const std::string& stream_id) {
    return !paused_for(stream_id).empty();
  }
  // The reason it has been told; empty: it goes on.
  std::string paused_for(const std::string& stream_id) {
    absl::MutexLock lock(&mu_);
    return paused_[stream_id];
  }

  // Runs in the sending thread, before the worker has the message.
  std::function<void(const v1::ToWorker&)> before_send;

 private:
  struct Running {
    v1::AssignStream assign;
    int64_t next_seq = 1;
  };

  Sink sink_;
  mutable absl::Mutex mu_;
  WorkerStats stats_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Running> running_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::string> paused_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int64_t> granted_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::ToWorker> messages_ ABSL_GUARDED_BY(mu_);
  bool answers_revoke_ ABSL_GUARDED_BY(mu_) = true;
};

// An inference service without a network. Keeps what it "recorded" by
// (session, batch_seq) with the digest, as the aggregator does.
class FakeInference : public InferencePeer {
 public:
  using Reply = std::function<absl::Status(const v1::BatchManifest&)>;

  absl::Status PrepareModel(const std::string& model, absl::Duration) override {
    absl::MutexLock lock(&mu_);
    ++preparing_;
    mu_.Await(absl::Condition(&prepare_open_));
    --preparing_;
    const auto it = models_.find(model);
    if (it != models_.end()) return it->second;
    return absl::InvalidArgumentError(absl::StrCat(
        "model_name must be one of [animals], got \"", model, "\""));
  }

  BatchAnswer InferBatch(
      const OutgoingBatch& batch, absl::Duration,
      const std::function<absl::Status()>& before_last) override {
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
    absl::MutexLock lock(&mu_);
    ++inferring_;
    mu_.Await(absl::Condition(&open_));
    --inferring_;
    if (cancelled_) {
      answer.status = absl::CancelledError("cancelled");
      return answer;
    }
    attempts_.push_back({manifest.session_id(), manifest.batch_seq()});
    filter_ = batch.filter;
    if (refusal_ != nullptr) {
      answer.status = refusal_(manifest);
      if (!answer.status.ok()) return answer;
    }
    answer.status = before_last();
    if (!answer.status.ok()) return answer;
    answer.sent_whole = true;
    const BatchKey key{manifest.session_id(), manifest.batch_seq()};
    const auto [it, added] = recorded_.emplace(key, batch.manifest_sha256);
    answer.response.set_already_recorded(!added);
    if (it->second != batch.manifest_sha256) {
      answer.status = absl::AlreadyExistsError("another digest");
    } else if (loses_answers_ > 0) {
      --loses_answers_;
      answer.status = absl::UnavailableError("connection lost");
    } else if (added) {
      frames_recorded_ += manifest.frames_size();
      v1::ModelResult& result = *answer.response.add_results();
      result.set_model("animals");
      v1::Detection& detection = *result.add_detections();
      detection.set_class_name("dog");
      detection.set_frame_index(manifest.frames_size() - 1);
      manifests_.push_back(manifest);
    }
    return answer;
  }

  void Cancel() override {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    open_ = true;
  }

  // What InferBatch says to a header; null: it takes it.
  void SetRefusal(Reply refusal) {
    absl::MutexLock lock(&mu_);
    refusal_ = std::move(refusal);
  }
  // The next `count` batches are recorded without an answer.
  void LoseAnswers(int count) {
    absl::MutexLock lock(&mu_);
    loses_answers_ = count;
  }
  // Calls block while closed.
  void SetOpen(bool open) {
    absl::MutexLock lock(&mu_);
    open_ = open;
  }
  // PrepareModel blocks while closed.
  void SetPrepareOpen(bool open) {
    absl::MutexLock lock(&mu_);
    prepare_open_ = open;
  }
  int preparing() {
    absl::MutexLock lock(&mu_);
    return preparing_;
  }
  void SetModel(const std::string& model, absl::Status status) {
    absl::MutexLock lock(&mu_);
    models_[model] = std::move(status);
  }
  // Calls that wait while closed.
  int inferring() {
    absl::MutexLock lock(&mu_);
    return inferring_;
  }
  size_t recorded() {
    absl::MutexLock lock(&mu_);
    return recorded_.size();
  }
  std::vector<BatchKey> attempts() {
    absl::MutexLock lock(&mu_);
    return attempts_;
  }
  std::vector<v1::BatchManifest> manifests() {
    absl::MutexLock lock(&mu_);
    return manifests_;
  }
  // Of the last batch.
  v1::DetectionFilter filter() {
    absl::MutexLock lock(&mu_);
    return filter_;
  }

 private:
  absl::Mutex mu_;
  std::map<std::string, absl::Status> models_ ABSL_GUARDED_BY(mu_) = {
      {"animals", absl::OkStatus()}};
  Reply refusal_ ABSL_GUARDED_BY(mu_);
  int loses_answers_ ABSL_GUARDED_BY(mu_) = 0;
  bool open_ ABSL_GUARDED_BY(mu_) = true;
  bool prepare_open_ ABSL_GUARDED_BY(mu_) = true;
  int inferring_ ABSL_GUARDED_BY(mu_) = 0;
  int preparing_ ABSL_GUARDED_BY(mu_) = 0;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  int64_t frames_recorded_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<BatchKey, std::string> recorded_ ABSL_GUARDED_BY(mu_);
  std::vector<BatchKey> attempts_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::BatchManifest> manifests_ ABSL_GUARDED_BY(mu_);
  v1::DetectionFilter filter_ ABSL_GUARDED_BY(mu_);
};

class FakeAggregator : public AggregatorPeer {
 public:
  absl::StatusOr<v1::RenderGridResponse> RenderGrid(
      const v1::RenderGridHeader& header, const std::vector<v1::Frame>& frames,
      absl::Duration) override {
    absl::MutexLock lock(&mu_);
    if (!status_.ok()) return status_;
    v1::RenderGridResponse response;
    response.mutable_grid()->set_file_name(
        absl::StrCat(header.process_name(), "_", ++rendered_, ".jpg"));
    for (const v1::Frame& frame : frames) {
      *response.mutable_grid()->add_cells() = frame.info();
    }
    response.set_jpeg("grid");
    return response;
  }
  absl::StatusOr<v1::ListCamerasResponse> ListCameras(
      const v1::ListCamerasRequest& request, absl::Duration) override {
    absl::MutexLock lock(&mu_);
    ++listed_;
    if (!cameras_status_.ok()) return cameras_status_;
    v1::ListCamerasResponse response;
    response.set_revision(revision_);
    // A page each.
    for (const auto& [id, camera] : cameras_) {
      if (id <= request.page_token() ||
          (request.after_revision() > 0 &&
           camera.revision() <= request.after_revision())) {
        continue;
      }
      if (response.cameras_size() > 0) {
        response.set_next_page_token(response.cameras(0).camera_id());
        break;
      }
      *response.add_cameras() = camera;
    }
    return response;
  }
  void Cancel() override {}

  // As UpsertCamera.
  void PutCamera(v1::Camera camera) {
    absl::MutexLock lock(&mu_);
    camera.set_revision(++revision_);
    cameras_[camera.camera_id()] = std::move(camera);
  }
  // Another store, with nothing in it.
  void LoseCameras() {
    absl::MutexLock lock(&mu_);
    cameras_.clear();
    revision_ = 1;
  }
  // What ListCameras says; OK: it answers.
  void SetCamerasStatus(absl::Status status) {
    absl::MutexLock lock(&mu_);
    cameras_status_ = std::move(status);
  }
  // Calls of ListCameras.
  int listed() {
    absl::MutexLock lock(&mu_);
    return listed_;
  }
  void SetStatus(absl::Status status) {
    absl::MutexLock lock(&mu_);
    status_ = std::move(status);
  }
  int rendered() {
    absl::MutexLock lock(&mu_);
    return rendered_;
  }

 private:
  absl::Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  int rendered_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status cameras_status_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, v1::Camera> cameras_ ABSL_GUARDED_BY(mu_);
  int64_t revision_ ABSL_GUARDED_BY(mu_) = 1;
  int listed_ ABSL_GUARDED_BY(mu_) = 0;
};

inline int64_t Sum(
    const google::protobuf::Map<std::string, int64_t>& by_reason) {
  int64_t sum = 0;
  for (const auto& [reason, count] : by_reason) sum += count;
  return sum;
}

// DESIGN rule 3.
inline void ExpectIdentities(const v1::Accounting& a) {
  EXPECT_EQ(a.due(), a.captured() + Sum(a.missed())) << a.DebugString();
  EXPECT_EQ(a.captured(),
            a.recorded() + Sum(a.dropped()) + a.spooled() + a.ranked_only())
      << a.DebugString();
}

// Of every session of a store; and that the rows and the files are those that
// are counted.
inline void ExpectStoreAgrees(StreamStore& store, const std::string& data_dir) {
  const auto all = store.AllAccounting();
  CAMHERD_ASSERT_OK(all);
  for (const auto& [session, accounting] : *all) ExpectIdentities(accounting);
  const auto streams = store.LoadStreams();
  CAMHERD_ASSERT_OK(streams);
  for (const auto& stored : *streams) {
    const std::string& session = stored.stream.session_id();
    const auto frames = store.ListFrames(session);
    CAMHERD_ASSERT_OK(frames);
    const auto it = all->find(session);
    const int64_t spooled = it == all->end() ? 0 : it->second.spooled();
    EXPECT_EQ(static_cast<int64_t>(frames->size()), spooled);
    const std::string dir =
        SpoolDir(data_dir, stored.stream.camera_id(), session);
    std::set<std::string> files;
    std::error_code ignored;
    for (const auto& file : std::filesystem::directory_iterator(dir, ignored)) {
      files.insert(file.path().string());
    }
    std::set<std::string> expected;
    for (const auto& frame : *frames) {
      expected.insert(FrameFile(dir, frame.info.frame_seq()));
    }
    EXPECT_EQ(files, expected);
  }
}

// True once `condition` holds, within 10 s.
inline bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 10000; ++i) {
    if (condition()) return true;
    Clock::Real().SleepFor(absl::Milliseconds(1));
  }
  return condition();
}

// A capture service without cameras and network, on a folder of its own.
class Testbed {
 public:
  explicit Testbed(Clock& clock) : clock_(clock) {
    options.session.node_id = "node";
    options.sender.queue.backoff = {absl::Milliseconds(1),
                                    absl::Milliseconds(5)};
    options.sender.queue.slow_retry = absl::Milliseconds(10);
    options.housekeeping_interval = absl::Milliseconds(5);
    options.stop_timeout = absl::Milliseconds(200);
    options.cameras.refresh = absl::Milliseconds(5);
  }
  ~Testbed() { Stop(); }

  // With `options` as they are then.
  void Start() {
    options.session.data_dir = dir_->path();
    auto opened = StreamStore::Open(
        {.data_dir = dir_->path(), .sync = options.session.sync});
    CAMHERD_ASSERT_OK(opened);
    store = *std::move(opened);
    worker = std::make_unique<FakeWorker>();
    inference = std::make_unique<FakeInference>();
    if (before_start) before_start();
    supervisor = std::make_unique<StreamSupervisor>(
        options, *store, *inference, aggregator, nullptr, clock_);
    worker->SetSink([s = supervisor.get()](const v1::FromWorker& event) {
      s->OnEvent(event);
    });
    CAMHERD_ASSERT_OK(supervisor->Start(*worker));
  }

  // As SIGTERM.
  void Stop() {
    if (supervisor == nullptr) return;
    supervisor->Shutdown();
    supervisor.reset();
    ExpectStoreAgrees(*store, dir_->path());
    store.reset();
  }

  // As SIGKILL: goes on with the folder as it is at this moment.
  void Kill() {
    auto copy = std::make_unique<TempDir>();
    std::filesystem::copy(dir_->path(), copy->path(),
                          std::filesystem::copy_options::recursive);
    supervisor->Shutdown();
    supervisor.reset();
    store.reset();
    dir_ = std::move(copy);
    Start();
  }

  void Restart() {
    Stop();
    Start();
  }

  v1::Stream StartCamera(const std::string& url, bool with_model = true,
                         int batch_size = 10) {
    v1::StartStreamRequest request;
    request.set_rtsp_url(url);
    if (with_model) request.add_models("animals");
    request.set_batch_size(batch_size);
    auto response = supervisor->StartStream(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? response->stream() : v1::Stream();
  }

  // `count` samples of rising brightness from `luma`.
  void Take(const std::string& stream_id, int count, double luma = 1) {
    for (int i = 0; i < count; ++i) {
      worker->Take(stream_id, luma + i, clock_.Now());
    }
  }

  v1::StopStreamResponse StopCamera(const std::string& name) {
    v1::StopStreamRequest request;
    request.set_stream(name);
    auto response = supervisor->StopStream(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *response : v1::StopStreamResponse();
  }

  v1::Stream Get(const std::string& name) {
    v1::GetStreamRequest request;
    request.set_stream(name);
    auto stream = supervisor->GetStream(request);
    EXPECT_TRUE(stream.ok()) << stream.status();
    if (!stream.ok()) return {};
    ExpectIdentities(stream->accounting());
    return *stream;
  }

  bool AwaitRecorded(const std::string& name, int64_t frames) {
    return Eventually(
        [&] { return Get(name).accounting().recorded() == frames; });
  }

  int Files(const std::string& folder) const {
    int files = 0;
    std::error_code ignored;
    for (const auto& file : std::filesystem::recursive_directory_iterator(
             dir_->path() + "/" + folder, ignored)) {
      files += file.is_regular_file() ? 1 : 0;
    }
    return files;
  }

  const std::string& data_dir() const { return dir_->path(); }

  StreamSupervisor::Options options;
  // Runs when the peers are new, before the service starts.
  std::function<void()> before_start;
  std::unique_ptr<StreamStore> store;
  std::unique_ptr<FakeWorker> worker;
  std::unique_ptr<FakeInference> inference;
  FakeAggregator aggregator;
  std::unique_ptr<StreamSupervisor> supervisor;

 private:
  Clock& clock_;
  std::unique_ptr<TempDir> dir_ = std::make_unique<TempDir>();
};

}  // namespace camherd::capture::testing
