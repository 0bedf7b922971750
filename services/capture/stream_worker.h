// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "camherd/v1/worker.pb.h"
#include "services/capture/packet_source.h"
#include "services/common/clock.h"

namespace camherd::capture {

// Runs streams from camera to spool folder: receives, picks, decodes, measures
// luma, encodes and writes the picture, then says so. It knows nothing of
// batches, models, counters or the store; all it is told and all it tells are
// the messages of worker.proto, so that the same code runs as a thread group
// of the service or as a process of its own.
//
// One receiving thread per stream, decoding and encoding on `decode_threads`
// shared threads. Lifecycle: construct, Handle messages, Stop.
//
// Each connect is asked for by ConnectWanted and waits for GrantConnect.
//
// Thread-safe. `on_event` is called from the worker's threads, for one stream
// always in order of events, and may block: that is the back-pressure.
class StreamWorker {
 public:
  struct Options {
    // Threads that decode and encode; 0: one per core.
    int decode_threads = 0;
    // JPEG quality, 1..100.
    int jpeg_quality = 85;
    // Pause after a failed or lost connection, see ReconnectBackoff.
    absl::Duration retry_initial = absl::Seconds(1);
    absl::Duration retry_soon_max = absl::Seconds(5);
    absl::Duration retry_max = absl::Seconds(60);
    absl::Duration retry_slow = absl::Seconds(60);
    // Backoff starts anew after so long without trouble.
    absl::Duration healthy_after = absl::Seconds(60);
    // From connect to the first access unit, and between access units.
    absl::Duration connect_timeout = absl::Seconds(30);
    absl::Duration stall_timeout = absl::Seconds(10);
    // Compressed GOP kept in memory in mode exact, bytes; past it the stream
    // decodes as it receives.
    int64_t gop_max_bytes = 32 << 20;
    // A thread that is at work on a stream for so much longer than its call may
    // take hangs (TaskScope).
    absl::Duration hang_after = absl::Seconds(60);
    // Certificates that camera certificates may go back to, PEM; empty: the
    // system's.
    std::string tls_ca_file = {};
    // fsync each picture as it is written.
    bool sync_frames = false;
  };
  using EventSink = std::function<void(v1::FromWorker)>;

  // `clock` must outlive the worker. `sources` makes the packet source of each
  // connection.
  StreamWorker(const Options& options, PacketSourceFactory sources,
               EventSink on_event, Clock& clock);
  ~StreamWorker();

  // Takes a message; returns at once. Messages for unknown streams are logged
  // and ignored.
  void Handle(const v1::ToWorker& message);

  // Ends every stream (TEARDOWN), waits, and tells StreamEnded for each. May
  // be called twice.
  void Stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::capture
