// SPDX-License-Identifier: Apache-2.0
#include "services/capture/worker_event.h"

#include <cstdint>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/timestamp.pb.h"
#include "services/capture/ip_address.h"
#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

// No sum of as many as there can be is too large for its type.
constexpr int64_t kMostCounted = 1'000'000'000'000;
constexpr int64_t kMostBytes = int64_t{1} << 53;
constexpr int64_t kMostFrameBytes = 64 << 20;
constexpr int32_t kMostSide = 65535;
constexpr double kMostSeconds = 1e9;
constexpr size_t kMostText = 16 << 10;
constexpr size_t kMostName = 256;
constexpr size_t kSha256Bytes = 32;
// Years 1970 to 9999.
constexpr int64_t kLastSecond = 253402300799;
constexpr int32_t kLastNano = 999999999;

template <typename T>
absl::Status In(absl::string_view field, T value, T least, T most) {
  // Not so for NaN.
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("a worker's ", field, " must be in [",
                                          least, ", ", most, "], got ", value));
}

absl::Status Short(absl::string_view field, absl::string_view text,
                   size_t most) {
  if (text.size() <= most) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("a worker's ", field,
                                          " must have at most ", most,
                                          " bytes, got ", text.size()));
}

absl::Status Known(absl::string_view field, bool known, int value) {
  if (known) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "a worker's ", field, " must be one of its enum, got ", value));
}

absl::Status Seconds(absl::string_view field, double value) {
  return In(field, value, 0.0, kMostSeconds);
}

absl::Status CheckTime(absl::string_view field,
                       const google::protobuf::Timestamp& time) {
  CAMHERD_RETURN_IF_ERROR(In<int64_t>(absl::StrCat(field, ".seconds"),
                                      time.seconds(), 0, kLastSecond));
  return In(absl::StrCat(field, ".nanos"), time.nanos(), 0, kLastNano);
}

absl::Status Check(const v1::StateChanged& state) {
  CAMHERD_RETURN_IF_ERROR(
      Known("state", v1::StreamState_IsValid(state.state()), state.state()));
  CAMHERD_RETURN_IF_ERROR(Short("reason", state.reason(), kMostText));
  CAMHERD_RETURN_IF_ERROR(
      Seconds("retry_after_seconds", state.retry_after_seconds()));
  CAMHERD_RETURN_IF_ERROR(Short("codec", state.codec(), kMostName));
  if (!state.local_ip().empty() && !IpAddress::Parse(state.local_ip()).ok()) {
    return absl::DataLossError(absl::StrCat(
        "a worker's local_ip must be an IP address, got \"",
        absl::CHexEscape(state.local_ip().substr(0, kMostName)), "\""));
  }
  CAMHERD_RETURN_IF_ERROR(
      In<int64_t>("connects", state.connects(), 0, kMostCounted));
  return In<int64_t>("disconnects", state.disconnects(), 0, kMostCounted);
}

absl::Status Check(const v1::PictureLook& look) {
  constexpr double kMost = std::numeric_limits<double>::max();
  CAMHERD_RETURN_IF_ERROR(In("look.mean", look.mean(), 0.0, 255.0));
  CAMHERD_RETURN_IF_ERROR(In("look.contrast", look.contrast(), 0.0, kMost));
  CAMHERD_RETURN_IF_ERROR(In("look.dark_share", look.dark_share(), 0.0, 1.0));
  CAMHERD_RETURN_IF_ERROR(
      In("look.clipped_share", look.clipped_share(), 0.0, 1.0));
  return In("look.sharpness", look.sharpness(), 0.0, kMost);
}

absl::Status Check(const v1::FrameInfo& frame) {
  CAMHERD_RETURN_IF_ERROR(
      In<int64_t>("frame_seq", frame.frame_seq(), 1, kMostCounted));
  CAMHERD_RETURN_IF_ERROR(CheckTime("captured_at", frame.captured_at()));
  CAMHERD_RETURN_IF_ERROR(In("width", frame.width(), 1, kMostSide));
  CAMHERD_RETURN_IF_ERROR(In("height", frame.height(), 1, kMostSide));
  CAMHERD_RETURN_IF_ERROR(In("mean_luma", frame.mean_luma(), 0.0, 255.0));
  if (frame.sha256().size() != kSha256Bytes) {
    return absl::DataLossError(absl::StrCat("a worker's sha256 must have ",
                                            kSha256Bytes, " bytes, got ",
                                            frame.sha256().size()));
  }
  CAMHERD_RETURN_IF_ERROR(
      In<int64_t>("size_bytes", frame.size_bytes(), 1, kMostFrameBytes));
  return In("offset_seconds", frame.offset_seconds(), -kMostSeconds,
            kMostSeconds);
}

absl::Status Check(const v1::SampleTaken& sample) {
  CAMHERD_RETURN_IF_ERROR(Check(sample.frame()));
  CAMHERD_RETURN_IF_ERROR(
      Known("effective_mode", v1::SamplingMode_IsValid(sample.effective_mode()),
            sample.effective_mode()));
  CAMHERD_RETURN_IF_ERROR(Seconds("gop_seconds", sample.gop_seconds()));
  CAMHERD_RETURN_IF_ERROR(
      In<int64_t>("received_bytes", sample.received_bytes(), 0, kMostBytes));
  CAMHERD_RETURN_IF_ERROR(Seconds("decode_seconds", sample.decode_seconds()));
  CAMHERD_RETURN_IF_ERROR(Seconds("encode_seconds", sample.encode_seconds()));
  return Check(sample.look());
}

absl::Status Check(const v1::StreamEnded& ended) {
  if (!ended.lost() && ended.reason().empty() &&
      ended.retry_after_seconds() == 0 && ended.quarantine_seconds() == 0) {
    return absl::OkStatus();
  }
  return absl::DataLossError("a worker must not say that a stream is lost");
}

absl::Status Check(const v1::ProbeSourceResponse& step) {
  CAMHERD_RETURN_IF_ERROR(
      Known("step", v1::ProbeStep_IsValid(step.step()), step.step()));
  CAMHERD_RETURN_IF_ERROR(Seconds("elapsed_seconds", step.elapsed_seconds()));
  CAMHERD_RETURN_IF_ERROR(Short("detail", step.detail(), kMostText));
  CAMHERD_RETURN_IF_ERROR(Short("hint", step.hint(), kMostText));
  return CheckTime("at", step.at());
}

}  // namespace

absl::Status CheckWorkerEvent(const v1::FromWorker& event) {
  CAMHERD_RETURN_IF_ERROR(Short("stream_id", event.stream_id(), kMostName));
  switch (event.message_case()) {
    case v1::FromWorker::kState:
      return Check(event.state());
    case v1::FromWorker::kSample:
      return Check(event.sample());
    case v1::FromWorker::kMissed:
      CAMHERD_RETURN_IF_ERROR(
          Short("reason", event.missed().reason(), kMostName));
      return In<int64_t>("count", event.missed().count(), 0, kMostCounted);
    case v1::FromWorker::kEnded:
      return Check(event.ended());
    case v1::FromWorker::kConnectWanted:
      return Short("host", event.connect_wanted().host(), kMostName);
    case v1::FromWorker::kProbeStep:
      return Check(event.probe_step());
    case v1::FromWorker::kProbeEnded:
      CAMHERD_RETURN_IF_ERROR(
          Short("message", event.probe_ended().message(), kMostText));
      return In<int32_t>(
          "code", event.probe_ended().code(), 0,
          static_cast<int32_t>(absl::StatusCode::kUnauthenticated));
    case v1::FromWorker::kConnectionClosed:
    case v1::FromWorker::kPong:
    case v1::FromWorker::kCrashed:
      return absl::OkStatus();
    case v1::FromWorker::MESSAGE_NOT_SET:
      break;
  }
  return absl::DataLossError("a worker must say something");
}

}  // namespace camherd::capture
