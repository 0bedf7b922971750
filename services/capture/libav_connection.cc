// SPDX-License-Identifier: Apache-2.0
#include "services/capture/libav_connection.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/capture/tls_verifier.h"

extern "C" {
#include <libavformat/avio.h>
#include <libavutil/dict.h>
#include <libavutil/error.h>
#include <libavutil/log.h>
}

namespace camherd::capture {
namespace {

constexpr int kReadBytes = 4096;
// The socket's own time limit is the second net below ours.
constexpr absl::Duration kSocketSlack = absl::Seconds(1);

}  // namespace

LibavConnection::LibavConnection(std::function<bool()> cancelled, Clock& clock)
    : cancelled_(std::move(cancelled)), clock_(clock) {
  // What the library prints itself; a packet source's log takes all the same.
  av_log_set_level(AV_LOG_QUIET);
}

LibavConnection::~LibavConnection() {
  // A goodbye of TLS is sent at once or not at all.
  deadline_ = clock_.SteadyNow();
  avio_closep(&context_);
}

absl::Status LibavConnection::Open(const Target& target,
                                   absl::Duration deadline) {
  const std::string ip = target.address.ToString();
  peer_ = absl::StrCat(target.address.is_v4() ? ip : absl::StrCat("[", ip, "]"),
                       ":", target.port);
  tls_ = target.tls;
  Arm(deadline);
  const absl::Duration left =
      std::max(deadline - clock_.SteadyNow(), absl::ZeroDuration());
  AVDictionary* options = nullptr;
  av_dict_set_int(&options, "timeout",
                  absl::ToInt64Microseconds(left + kSocketSlack), 0);
  av_dict_set(&options, "protocol_whitelist", "tcp,tls", 0);
  const AVIOInterruptCB interrupt = {OnInterrupt, this};
  std::optional<TlsVerifier> verifier;
  if (tls_ && target.tls_verify) {
    verifier.emplace(target.host, target.tls_ca_file);
  }
  const TlsVerifier::Scope verify(verifier ? &*verifier : nullptr);
  const int error = avio_open2(
      &context_, absl::StrCat(tls_ ? "tls://" : "tcp://", peer_).c_str(),
      AVIO_FLAG_READ_WRITE | AVIO_FLAG_DIRECT, &interrupt, &options);
  av_dict_free(&options);
  if (error < 0) {
    context_ = nullptr;
    if (verifier && !verifier->refusal().ok()) return verifier->refusal();
    return Reason(error);
  }
  if (verifier && !verifier->verified()) {
    avio_closep(&context_);
    return absl::PermissionDeniedError(
        "the camera's certificate was not verified (tls_verify)");
  }
  open_ = true;
  return absl::OkStatus();
}

absl::Status LibavConnection::Write(absl::string_view bytes,
                                    absl::Duration deadline) {
  if (context_ == nullptr) return absl::UnavailableError("not connected");
  Arm(deadline);
  avio_write(context_, reinterpret_cast<const unsigned char*>(bytes.data()),
             static_cast<int>(bytes.size()));
  avio_flush(context_);
  if (context_->error < 0) return Reason(context_->error);
  return absl::OkStatus();
}

absl::StatusOr<std::string> LibavConnection::Read(absl::Duration deadline) {
  if (context_ == nullptr) return absl::UnavailableError("not connected");
  Arm(deadline);
  std::string bytes(kReadBytes, '\0');
  const int count = avio_read_partial(
      context_, reinterpret_cast<unsigned char*>(bytes.data()), kReadBytes);
  if (count <= 0) return Reason(count == 0 ? AVERROR_EOF : count);
  bytes.resize(static_cast<size_t>(count));
  return bytes;
}

// Asked by the library wherever it waits, at least every 0.1 s.
int LibavConnection::OnInterrupt(void* self) {
  auto* connection = static_cast<LibavConnection*>(self);
  connection->gone_ = connection->gone_ || connection->cancelled_();
  connection->expired_ =
      connection->expired_ ||
      connection->clock_.SteadyNow() >= connection->deadline_;
  return connection->gone_ || connection->expired_ ? 1 : 0;
}

void LibavConnection::Arm(absl::Duration deadline) {
  deadline_ = deadline;
  expired_ = false;
}

absl::Status LibavConnection::Reason(int error) const {
  if (gone_) return absl::CancelledError("cancelled");
  if (expired_ || error == AVERROR(ETIMEDOUT)) {
    return absl::DeadlineExceededError(
        open_ ? "the camera did not answer in time"
              : absl::StrCat("nothing answered at ", peer_, " in time"));
  }
  switch (error) {
    case AVERROR(ECONNREFUSED):
      return absl::UnavailableError(absl::StrCat(
          "the connection was refused: nothing listens at ", peer_));
    case AVERROR(ENETUNREACH):
    case AVERROR(EHOSTUNREACH):
      return absl::UnavailableError(
          absl::StrCat("there is no way to ", peer_, " from here"));
    default:
      break;
  }
  if (open_) {
    return absl::UnavailableError("the camera closed the connection");
  }
  if (tls_) {
    return absl::FailedPreconditionError(absl::StrCat(
        "what listens at ", peer_, " did not agree to a TLS connection"));
  }
  char text[AV_ERROR_MAX_STRING_SIZE] = {0};
  av_strerror(error, text, sizeof(text));
  return absl::UnavailableError(
      absl::StrCat("cannot connect to ", peer_, ": ", text));
}

CameraConnectionFactory MakeLibavConnections(Clock& clock) {
  return [&clock](std::function<bool()> cancelled)
             -> std::unique_ptr<CameraConnection> {
    return std::make_unique<LibavConnection>(std::move(cancelled), clock);
  };
}

}  // namespace camherd::capture
