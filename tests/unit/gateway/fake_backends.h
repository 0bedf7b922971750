// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "camherd/v1/capture_service.grpc.pb.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "gateway/backend_clients.h"
#include "services/common/event_ring.h"

namespace camherd::gateway {

// The three services on one real gRPC server in this process: they answer what
// the test has put in, and keep what they were asked.
//
// Thread-safe once it runs, except for the `answers`, which the test sets
// before it asks.
class FakeBackends {
 public:
  FakeBackends();
  ~FakeBackends();

  // Options that point all three services here.
  BackendClients::Options ClientOptions() const;

  // What the health service answers.
  void SetServing(bool serving);
  void Shutdown();

  // While set, every call answers this instead.
  void FailWith(const absl::Status& status);
  // While set, every call waits for its cancellation first.
  void Hang(bool hang);

  struct Answers {
    v1::StartStreamResponse start;
    v1::StopStreamResponse stop;
    v1::Stream stream;
    // Newest first; told by state and page, as the real service does.
    v1::ListStreamsResponse streams;
    // No page of streams is longer, whatever was asked for.
    int max_streams_page = 1000;
    v1::GetLatestFrameResponse frame;
    v1::GetGridResponse grid;
    std::vector<v1::ProbeSourceResponse> probe;
    v1::ListModelsResponse models;
    v1::Model model;
    v1::DetectResponse detect;
    v1::ListRecordsResponse records;
    // From the second question on, if set.
    std::optional<v1::ListRecordsResponse> later_records;
    // The pieces of an export, the last of them again and again if `endless`,
    // and how it ends.
    std::vector<std::string> export_pieces;
    bool export_endless = false;
    absl::Status export_end;
    v1::Record record;
    v1::GetRecordImageResponse image;
    v1::ListGridsResponse grids;
    v1::ListCamerasResponse cameras;
    v1::Camera camera;
    v1::ImportCamerasResponse imported;
  };
  Answers answers;

  // The last request of a type, as its debug string; "" if there was none.
  template <typename T>
  T Last() const {
    absl::MutexLock lock(&mu_);
    T request;
    for (auto it = requests_.rbegin(); it != requests_.rend(); ++it) {
      if (it->first == T::descriptor()->full_name()) {
        request.ParseFromString(it->second);
        return request;
      }
    }
    return request;
  }
  size_t request_count() const {
    absl::MutexLock lock(&mu_);
    return requests_.size();
  }

  // What GetLatestFrame answers from now on instead of `answers`; NOT_FOUND
  // where there is none. From any thread.
  void SetFrame(const std::optional<v1::GetLatestFrameResponse>& frame);
  // How often that was asked.
  template <typename T>
  size_t CountOf() const {
    absl::MutexLock lock(&mu_);
    return static_cast<size_t>(std::count_if(
        requests_.begin(), requests_.end(), [](const auto& request) {
          return request.first == T::descriptor()->full_name();
        }));
  }

  // What the watches tell; as the real services keep it.
  EventRing<v1::WatchStreamsResponse>& streams() { return *streams_; }
  EventRing<v1::WatchRecordsResponse>& records() { return *records_; }
  EventRing<v1::WatchModelsResponse>& models() { return *models_; }
  // As after a restart of the services: other positions, nothing kept, and
  // the watches that run are ended.
  void RestartEvents();

  // Exports that were cut off by their caller, and pieces given to gRPC.
  int exports_cancelled() const { return exports_cancelled_; }
  int64_t export_pieces_sent() const { return export_pieces_sent_; }

  // Keeps the request; the status to answer.
  grpc::Status Took(const google::protobuf::Message& request,
                    grpc::ServerContextBase* context);

 private:
  class Capture;
  class Inference;
  class Aggregator;

  std::atomic<int> exports_cancelled_ = 0;
  std::atomic<int64_t> export_pieces_sent_ = 0;

  // The tests use one at a time; replaced ones stay for the watches they end.
  template <typename Event>
  using Rings = std::vector<std::unique_ptr<EventRing<Event>>>;
  Rings<v1::WatchStreamsResponse> all_streams_;
  Rings<v1::WatchRecordsResponse> all_records_;
  Rings<v1::WatchModelsResponse> all_models_;
  std::atomic<EventRing<v1::WatchStreamsResponse>*> streams_ = nullptr;
  std::atomic<EventRing<v1::WatchRecordsResponse>*> records_ = nullptr;
  std::atomic<EventRing<v1::WatchModelsResponse>*> models_ = nullptr;

  mutable absl::Mutex mu_;
  std::vector<std::pair<std::string, std::string>> requests_
      ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  bool hang_ ABSL_GUARDED_BY(mu_) = false;
  bool frame_set_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<v1::GetLatestFrameResponse> frame_ ABSL_GUARDED_BY(mu_);

  std::unique_ptr<Capture> capture_;
  std::unique_ptr<Inference> inference_;
  std::unique_ptr<Aggregator> aggregator_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace camherd::gateway
