// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/worker.pb.h"
#include "services/capture/decode_pool.h"
#include "services/capture/frame_picker.h"
#include "services/capture/packet_source.h"
#include "services/capture/reconnect_backoff.h"
#include "services/capture/sample_writer.h"
#include "services/capture/stream_worker.h"
#include "services/capture/task_scope.h"
#include "services/common/camera_url.h"
#include "services/common/clock.h"

namespace camherd::capture {

// One stream of a StreamWorker: connects to its camera, again and again until
// it is revoked, and hands what the picker picks to the decode pool.
//
// States: STARTING until access units arrive, then RUNNING; after a failure
// the state that names it (RECONNECTING, AUTH_FAILED, NOT_FOUND, NO_VIDEO,
// UNSUPPORTED_CODEC, REFUSED) with a sentence why and the time to the next
// try, until access units arrive again.
//
// Each connect is asked for (ConnectWanted), and made when it is granted.
// A connection is closed, and that is told (ConnectionClosed), before its state
// is told and the next try is waited for: many cameras serve only a few at a
// time.
//
// Once revoked, what the pool has not decoded within a second is missed
// (overload), so that a stop takes seconds however long the queue is.
//
// Events come in order, one at a time; the last is StreamEnded. Lifecycle:
// construct (the thread starts), Assign, Pause, Grant, Revoke, Join. All are
// thread-safe and return at once, except Join.
class CameraStream {
 public:
  struct Context {
    const StreamWorker::Options& options;
    const PacketSourceFactory& sources;
    const StreamWorker::EventSink& on_event;
    Clock& clock;
    DecodePool& pool;
  };

  // What `context` refers to must outlive the stream. `predecessor`, which may
  // be null, has the same id and ends before this one begins.
  CameraStream(const Context& context, const v1::AssignStream& assignment,
               std::shared_ptr<CameraStream> predecessor);
  ~CameraStream();

  CameraStream(const CameraStream&) = delete;
  CameraStream& operator=(const CameraStream&) = delete;

  // New settings. The connection is kept unless URL, transport or the
  // verification of its certificate changed. Privacy masks are on every picture
  // that is received from then on.
  void Assign(const v1::AssignStream& assignment);
  void Pause(bool paused, const std::string& reason);
  // It may connect now, if `request` is the one that is open.
  void Grant(int64_t request);
  void Revoke();
  // Waits for the end. REQUIRES: revoked.
  void Join();
  const std::string& stream_id() const { return stream_id_; }
  // StreamEnded has been told.
  bool ended() const;

 private:
  // How a connection ended.
  struct Ended {
    absl::Status status;
    // Access units had come.
    bool was_running = false;
  };

  void Run();
  // Asks for a connect and waits until it is granted. False: a revocation or
  // another source came first.
  bool AwaitGrant();
  void EmitConnectionClosed();
  // One connection from connect to close; std::nullopt: none was made, since a
  // revocation or an assignment came first.
  std::optional<Ended> Connection();
  Ended ReadUntilItEnds(PacketSource& source);
  void OnAccessUnit(const AccessUnit& unit);
  void Dispatch(FramePicker::Picked picked);
  // Ends what the writer decodes as one sequence, after what was submitted.
  void EndSequence();
  void Submit(DecodeTask task);
  // Tells the state that `ended` makes, and waits for the next try.
  void BackOff(const Ended& ended);
  // Sleeps, counting what falls due, until `until`, a revocation, another
  // source or a grant.
  void WaitUntil(absl::Duration until);
  void Wake();
  // Why due samples are missed instead of taken; empty: they are taken.
  absl::string_view PauseReason() const;
  // Takes over what Assign and Pause left.
  void ApplyAssignment();
  bool Revoked() const;
  // What waits to be decoded has waited long enough after the revocation.
  bool GivenUp() const;

  // Changes the state and tells it, as one step.
  void ChangeState(absl::FunctionRef<void(v1::StateChanged&)> change);
  void EmitMissed(int64_t count, absl::string_view reason);
  void Emit(v1::FromWorker& event);
  void EmitLocked(v1::FromWorker& event)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(emit_mu_);
  void OnDisk(const absl::Status& status);
  // What is wrong although the camera sends.
  std::string RunningReason() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(emit_mu_);

  const Context context_;
  const std::string stream_id_;
  const TaskScope::Tag tag_;
  // shared_ptr: the worker holds it as well until it has ended.
  std::shared_ptr<CameraStream> predecessor_;
  const std::shared_ptr<DecodePool::Strand> strand_;
  SampleWriter writer_;

  // Owned by the stream's thread.
  v1::AssignStream assignment_;
  std::optional<CameraUrl> url_;
  std::optional<FramePicker> picker_;
  ReconnectBackoff backoff_;
  VideoParameters parameters_;
  int64_t received_bytes_ = 0;
  int64_t bytes_before_ = 0;
  std::string pause_reason_;
  bool paused_ = false;
  bool overflow_told_ = false;

  mutable absl::Mutex mu_;
  std::optional<v1::AssignStream> next_assignment_ ABSL_GUARDED_BY(mu_);
  bool next_paused_ ABSL_GUARDED_BY(mu_) = false;
  std::string next_pause_reason_ ABSL_GUARDED_BY(mu_);
  bool changed_ ABSL_GUARDED_BY(mu_) = false;
  bool reconnect_ ABSL_GUARDED_BY(mu_) = false;
  bool revoked_ ABSL_GUARDED_BY(mu_) = false;
  // Number of the latest ConnectWanted, and whether it has been granted.
  int64_t request_ ABSL_GUARDED_BY(mu_) = 0;
  bool granted_ ABSL_GUARDED_BY(mu_) = false;
  // Steady clock; valid where revoked_.
  absl::Duration give_up_at_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::string source_url_ ABSL_GUARDED_BY(mu_);
  v1::Transport transport_ ABSL_GUARDED_BY(mu_) = v1::TRANSPORT_UNSPECIFIED;
  bool tls_verify_ ABSL_GUARDED_BY(mu_) = false;
  // The connection in use, for Cancel.
  PacketSource* source_ ABSL_GUARDED_BY(mu_) = nullptr;

  // Held while an event is told, so that events are never out of order.
  absl::Mutex emit_mu_ ABSL_ACQUIRED_AFTER(mu_);
  v1::StateChanged state_ ABSL_GUARDED_BY(emit_mu_);
  std::string disk_error_ ABSL_GUARDED_BY(emit_mu_);
  bool camera_unknown_ ABSL_GUARDED_BY(emit_mu_) = false;

  // Wakes WaitUntil. Not an absl::Mutex: its timeouts go by the wall clock, so
  // a host whose clock is set back would sleep through its retries.
  std::mutex wake_mu_;
  std::condition_variable wake_;
  bool woken_ = false;  // Guarded by wake_mu_.

  // Last, since it uses all of the above.
  std::thread thread_;
};

}  // namespace camherd::capture
