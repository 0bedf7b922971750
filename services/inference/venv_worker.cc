// SPDX-License-Identifier: Apache-2.0
// The wire, as models/camherd_worker.py draws it too:
//
//   +----------------+--------------------+--------+--------+----
//   | u32 length n   | n bytes of JSON    | blob 0 | blob 1 | ...
//   +----------------+--------------------+--------+--------+----
//     big-endian,      UTF-8, an object     lengths: the header's "blobs",
//     1..1 MiB                              each 0..16 MiB, at most 64
#include "services/inference/venv_worker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"

namespace camherd::inference {
namespace {

constexpr size_t kMaxHeaderBytes = 1 << 20;
constexpr size_t kMaxLastLines = 10;
constexpr int kExitGraceMs = 500;
// Lines logged from one worker; what comes after is only kept as last lines.
constexpr int kMaxLinesLogged = 1000;

uint32_t BigEndian(const char* p) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(p);
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 |
         uint32_t{bytes[2]} << 8 | uint32_t{bytes[3]};
}

}  // namespace

absl::StatusOr<std::unique_ptr<VenvWorker>> VenvWorker::Start(Options options) {
  std::array<int, 2> sockets;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0) {
    return ErrnoStatus(errno, "socketpair", options.model);
  }
  std::unique_ptr<VenvWorker> worker(new VenvWorker());
  worker->model_ = options.model;
  worker->socket_ = sockets[0];
  fcntl(sockets[0], F_SETFL, O_NONBLOCK);
  options.process.argv.insert(options.process.argv.end(), {"--worker", "3"});
  options.process.pass_fd = sockets[1];
  auto process = ChildProcess::Spawn(options.process);
  close(sockets[1]);
  CAMHERD_RETURN_IF_ERROR(process.status());
  worker->process_ = *std::move(process);
  return worker;
}

VenvWorker::~VenvWorker() {
  if (process_ != nullptr) process_->Kill();
  if (socket_ >= 0) close(socket_);
}

void VenvWorker::DrainOutput() {
  if (!output_open_) return;
  output_open_ = process_->ReadOutput([this](const std::string& line) {
    if (++lines_logged_ <= kMaxLinesLogged) {
      LogInfo("worker printed", {{"model", model_}, {"line", line}});
    } else if (lines_logged_ == kMaxLinesLogged + 1) {
      LogWarning("worker prints too much, the rest is not logged",
                 {{"model", model_}});
    }
    last_lines_.push_back(line);
    if (last_lines_.size() > kMaxLastLines) last_lines_.pop_front();
  });
}

std::string VenvWorker::Kill() {
  DrainOutput();
  const std::string end = process_->Kill();
  DrainOutput();
  const size_t skip = last_lines_.size() > 3 ? last_lines_.size() - 3 : 0;
  const std::string lines =
      absl::StrJoin(last_lines_.begin() + skip, last_lines_.end(), " | ");
  return absl::StrCat("its process ended with ", end,
                      lines.empty() ? "" : "; last lines: ", lines);
}

absl::Status VenvWorker::Ended() {
  // It closes its socket a moment before it has ended; its own exit code says
  // more than our signal.
  pollfd entry = {process_->exit_fd(), POLLIN, 0};
  poll(&entry, 1, kExitGraceMs);
  return absl::UnavailableError(Kill());
}

absl::Status VenvWorker::Wait(short events, int wake_fd,
                              absl::Duration deadline, const StopSignal& stop,
                              bool* woken) {
  for (;;) {
    std::array<pollfd, 5> fds = {
        pollfd{socket_, events, 0}, pollfd{process_->exit_fd(), POLLIN, 0},
        pollfd{stop.fd(), POLLIN, 0},
        pollfd{output_open_ ? process_->output_fd() : -1, POLLIN, 0},
        pollfd{wake_fd, POLLIN, 0}};
    int timeout_ms = -1;
    if (deadline != absl::InfiniteDuration()) {
      const absl::Duration left = deadline - Clock::Real().SteadyNow();
      if (left <= absl::ZeroDuration()) {
        return absl::DeadlineExceededError("it did not answer in time");
      }
      timeout_ms = static_cast<int>(
          std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 60000));
    }
    if (poll(fds.data(), fds.size(), timeout_ms) < 0 && errno != EINTR) {
      return ErrnoStatus(errno, "poll", model_);
    }
    if (fds[3].revents != 0) DrainOutput();
    if (fds[2].revents != 0) return absl::CancelledError("stopped");
    // What it said before it ended still counts.
    if (fds[0].revents != 0) return absl::OkStatus();
    if (fds[1].revents != 0) return Ended();
    if (fds[4].revents != 0) {
      *woken = true;
      return absl::OkStatus();
    }
  }
}

absl::Status VenvWorker::Send(absl::string_view header,
                              absl::Span<const absl::string_view> blobs,
                              absl::Duration deadline, const StopSignal& stop) {
  const auto length = static_cast<uint32_t>(header.size());
  const std::array<char, 4> prefix = {
      static_cast<char>(length >> 24), static_cast<char>(length >> 16),
      static_cast<char>(length >> 8), static_cast<char>(length)};
  std::vector<absl::string_view> pieces = {
      absl::string_view(prefix.data(), prefix.size()), header};
  pieces.insert(pieces.end(), blobs.begin(), blobs.end());
  for (absl::string_view piece : pieces) {
    while (!piece.empty()) {
      const ssize_t n = send(socket_, piece.data(), piece.size(), MSG_NOSIGNAL);
      if (n > 0) {
        piece.remove_prefix(static_cast<size_t>(n));
        continue;
      }
      if (errno == EINTR) continue;
      if (errno == EPIPE || errno == ECONNRESET) return Ended();
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        return ErrnoStatus(errno, "send", model_);
      }
      bool woken = false;
      CAMHERD_RETURN_IF_ERROR(Wait(POLLOUT, -1, deadline, stop, &woken));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> VenvWorker::Receive(absl::Duration deadline,
                                                const StopSignal& stop) {
  for (;;) {
    if (received_.size() >= 4) {
      const size_t length = BigEndian(received_.data());
      if (length == 0 || length > kMaxHeaderBytes) {
        return absl::DataLossError(
            absl::StrCat("it sent a header of ", length, " bytes"));
      }
      if (received_.size() >= 4 + length) {
        std::string header = received_.substr(4, length);
        received_.erase(0, 4 + length);
        return header;
      }
    }
    bool woken = false;
    CAMHERD_RETURN_IF_ERROR(Wait(POLLIN, -1, deadline, stop, &woken));
    std::array<char, 65536> buffer;
    const ssize_t n = recv(socket_, buffer.data(), buffer.size(), 0);
    if (n > 0) {
      received_.append(buffer.data(), static_cast<size_t>(n));
    } else if (n == 0 ||
               (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
      return Ended();
    }
  }
}

absl::Status VenvWorker::WaitIdle(int wake_fd, const StopSignal& stop) {
  if (!received_.empty()) {
    return absl::DataLossError("it sent more than it was asked for");
  }
  bool woken = false;
  CAMHERD_RETURN_IF_ERROR(
      Wait(POLLIN, wake_fd, absl::InfiniteDuration(), stop, &woken));
  if (woken) return absl::OkStatus();
  char byte;
  const ssize_t n = recv(socket_, &byte, 1, MSG_PEEK);
  if (n > 0) return absl::DataLossError("it sent what nobody asked for");
  return Ended();
}

}  // namespace camherd::inference
