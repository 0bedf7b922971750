// SPDX-License-Identifier: Apache-2.0
// Input: packets of the socket between supervisor and worker, each behind its
// length in two bytes, big-endian. The first byte says who sends: odd, the
// worker; even, the supervisor.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "services/capture/spool_layout.h"
#include "services/capture/stream_worker.h"
#include "services/capture/worker_event.h"
#include "services/capture/worker_socket.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/capture/supervisor_testbed.h"

namespace camherd::fuzz {
namespace {

using capture::ReceiveFromWorkerSocket;
using capture::SendToWorkerSocket;

// Both ends of a socket; what is sent at one is received at the other.
class Link {
 public:
  Link() {
    const auto made = capture::MakeWorkerSocketPair();
    Promise(made.ok(), "a socket can be made");
    ends_ = *made;
  }
  ~Link() {
    close(ends_.supervisor);
    close(ends_.worker);
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // As it comes over the socket; std::nullopt: the receiver hangs up.
  template <typename Message>
  std::optional<Message> Pass(absl::string_view packet) {
    Message message;
    if (send(ends_.worker, packet.data(), packet.size(), MSG_NOSIGNAL) < 0) {
      return std::nullopt;
    }
    const absl::StatusOr<bool> more =
        ReceiveFromWorkerSocket(ends_.supervisor, message, /*wait=*/false);
    if (!more.ok()) {
      Promise(absl::IsDataLoss(more.status()), "a bad packet is lost",
              more.status().ToString());
      PromiseUtf8(more.status().message());
      return std::nullopt;
    }
    if (!*more) return std::nullopt;
    // What was received can be sent, and is the same.
    Message again;
    Promise(SendToWorkerSocket(ends_.worker, message, /*wait=*/false).ok(),
            "a message can be sent", message.DebugString());
    const absl::StatusOr<bool> back =
        ReceiveFromWorkerSocket(ends_.supervisor, again, /*wait=*/false);
    Promise(back.ok() && *back &&
                again.SerializeAsString() == message.SerializeAsString(),
            "a message arrives as it was sent", message.DebugString());
    return message;
  }

 private:
  capture::WorkerSocketPair ends_;
};

// A capture service whose only worker says what it is told to. Its streams
// stay apart: each input has one of its own.
class Supervisor {
 public:
  Supervisor() : testbed_(Clock::Real()) {
    InitLog("fuzz", LogLevel::kError, LogFormat::kText);
    testbed_.options.session.sync = false;
    testbed_.options.housekeeping_interval = absl::Hours(1);
    testbed_.options.cameras.refresh = absl::Hours(1);
    testbed_.Start();
  }

  void Serve(absl::string_view input) {
    v1::StartStreamRequest request;
    request.set_rtsp_url("rtsp://127.0.0.1/fuzz");
    request.set_detect_url("rtsp://127.0.0.1/detect");
    request.add_models("animals");
    request.set_batch_size(3);
    const auto started = testbed_.supervisor->StartStream(request);
    Promise(started.ok(), "a stream starts", started.status().ToString());
    const std::string id = started->stream().stream_id();
    const std::string detect = absl::StrCat(id, "/detect");
    for (const std::string& source : {id, detect}) {
      const std::string folder = testbed_.worker->Assigned(source).spool_dir();
      for (int64_t seq = 1; seq < 8; ++seq) {
        Promise(WriteFileAtomically(capture::FrameFile(folder, seq), "jpeg",
                                    Sync::kNone)
                    .ok(),
                "a frame can be written");
      }
    }
    Link link;
    while (input.size() > 2) {
      const size_t length = static_cast<unsigned char>(input[0]) << 8 |
                            static_cast<unsigned char>(input[1]);
      input.remove_prefix(2);
      const absl::string_view packet = input.substr(0, length);
      input.remove_prefix(packet.size());
      auto event = link.Pass<v1::FromWorker>(packet);
      if (!event.has_value()) break;
      if (const absl::Status status = capture::CheckWorkerEvent(*event);
          !status.ok()) {
        // Its process is ended.
        PromisePrintable(status.message());
        break;
      }
      // Ids are drawn anew each time.
      event->set_stream_id(event->stream_id() == "d" ? detect : id);
      if (event->has_sample() && event->sample().masks_version() == 0) {
        event->mutable_sample()->set_masks_version(
            testbed_.worker->Assigned(event->stream_id()).masks_version());
      }
      testbed_.supervisor->OnEvent(*event);
    }
    CheckStream(id);
    v1::DeleteStreamRequest gone;
    gone.set_stream(id);
    const auto deleted = testbed_.supervisor->DeleteStream(gone);
    Promise(deleted.ok(), "a stream can be deleted",
            deleted.status().ToString());
  }

 private:
  void CheckStream(const std::string& id) {
    v1::GetStreamRequest request;
    request.set_stream(id);
    const auto stream = testbed_.supervisor->GetStream(request);
    Promise(stream.ok(), "a stream can be told of", stream.status().ToString());
    const v1::Accounting& a = stream->accounting();
    Promise(a.due() == a.captured() + capture::testing::Sum(a.missed()) &&
                a.captured() == a.recorded() +
                                    capture::testing::Sum(a.dropped()) +
                                    a.spooled() + a.ranked_only(),
            "the accounting is right", a.DebugString());
    Promise(a.due() >= 0 && a.captured() >= 0, "counts are not negative",
            a.DebugString());
    v1::Stream again;
    Promise(again.ParseFromString(stream->SerializeAsString()),
            "a stream can be sent", stream->DebugString());
  }

  capture::testing::Testbed testbed_;
};

// A camera that is not there.
class NoCamera : public capture::PacketSource {
 public:
  absl::StatusOr<capture::VideoParameters> Open() override {
    return absl::UnavailableError("there is no camera");
  }
  absl::StatusOr<capture::AccessUnit> Read() override {
    return absl::CancelledError("there is no camera");
  }
  void Cancel() override {}
  std::string local_ip() const override { return ""; }
  int64_t received_bytes() const override { return 0; }
};

void ServeWorker(absl::string_view input) {
  Link link;
  capture::StreamWorker::Options options;
  options.decode_threads = 1;
  capture::StreamWorker worker(
      options,
      [](const CameraUrl&, const capture::PacketSource::Options&) {
        return std::make_unique<NoCamera>();
      },
      [](const v1::FromWorker& event) {
        Promise(event.SerializeAsString().size() < 60000, "an event is short",
                event.DebugString());
      },
      Clock::Real());
  while (input.size() > 2) {
    const size_t length = static_cast<unsigned char>(input[0]) << 8 |
                          static_cast<unsigned char>(input[1]);
    input.remove_prefix(2);
    const absl::string_view packet = input.substr(0, length);
    input.remove_prefix(packet.size());
    const auto message = link.Pass<v1::ToWorker>(packet);
    if (!message.has_value()) break;
    // It is one that runs, and tries no camera.
    if (!message->has_probe()) worker.Handle(*message);
  }
  worker.Stop();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Supervisor& supervisor = *new Supervisor;
  absl::string_view input = Text(data, size);
  if (input.empty()) return -1;
  const bool from_worker = (static_cast<unsigned char>(input[0]) & 1) != 0;
  input.remove_prefix(1);
  if (from_worker) {
    supervisor.Serve(input);
  } else {
    ServeWorker(input);
  }
  return 0;
}

}  // namespace camherd::fuzz
