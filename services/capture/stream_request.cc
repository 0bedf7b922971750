// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_request.h"

#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

constexpr int kMaxModels = 16;
constexpr int kMaxBatchSize = 64;
constexpr size_t kMaxCredential = 256;
// Ten years.
constexpr double kMaxTtlSeconds = 315360000;
// A number that every JSON reader keeps exact.
constexpr int64_t kMostFrames = 1000000000000;

std::string ShortName(v1::SamplingMode mode) {
  return absl::AsciiStrToLower(absl::string_view(v1::SamplingMode_Name(mode))
                                   .substr(sizeof("SAMPLING_MODE_") - 1));
}

std::string ShortName(v1::Transport transport) {
  return absl::AsciiStrToLower(absl::string_view(v1::Transport_Name(transport))
                                   .substr(sizeof("TRANSPORT_") - 1));
}

const char* TrueOrFalse(bool value) { return value ? "true" : "false"; }

absl::Status CheckCredentials(absl::string_view user,
                              absl::string_view password) {
  if (user.empty() && !password.empty()) {
    return absl::InvalidArgumentError(
        "user must not be empty where a password is given");
  }
  // Their values are secrets: only lengths are told.
  if (user.size() > kMaxCredential) {
    return absl::InvalidArgumentError(
        absl::StrCat("user must have at most ", kMaxCredential,
                     " characters, got ", user.size()));
  }
  if (password.size() > kMaxCredential) {
    return absl::InvalidArgumentError(
        absl::StrCat("password must have at most ", kMaxCredential,
                     " characters, got ", password.size()));
  }
  return absl::OkStatus();
}

absl::Status CheckInterval(double interval_seconds) {
  // Written so that NaN fails.
  if (interval_seconds >= kMinIntervalSeconds &&
      interval_seconds <= kMaxIntervalSeconds) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "interval_seconds must be in [0.1, 86400], got %g", interval_seconds));
}

absl::Status CheckModels(const std::vector<std::string>& models) {
  if (models.size() > kMaxModels) {
    return absl::InvalidArgumentError(absl::StrCat("models must name at most ",
                                                   kMaxModels, " models, got ",
                                                   models.size()));
  }
  std::set<std::string> seen;
  for (const std::string& model : models) {
    CAMHERD_RETURN_IF_ERROR(CheckId("model_name", model));
    if (!seen.insert(model).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "models must name each model once, got \"", model, "\" twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSamplingMode(int sampling_mode) {
  if (v1::SamplingMode_IsValid(sampling_mode)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("sampling_mode must be one of [auto, keyframe, exact, "
                   "full], got ",
                   sampling_mode));
}

absl::Status CheckTtl(double ttl_seconds) {
  // Written so that NaN fails.
  if (ttl_seconds == 0 || (ttl_seconds >= 1 && ttl_seconds <= kMaxTtlSeconds)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "ttl_seconds must be 0 or in [1, 315360000], got %.15g", ttl_seconds));
}

absl::Status CheckMaxFrames(int64_t max_frames) {
  if (max_frames >= 0 && max_frames <= kMostFrames) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "max_frames must be in [0, ", kMostFrames, "], got ", max_frames));
}

// What holds of a stream however it came about.
absl::Status CheckSpec(const v1::Stream& spec) {
  CAMHERD_RETURN_IF_ERROR(CheckInterval(spec.interval_seconds()));
  CAMHERD_RETURN_IF_ERROR(
      CheckModels({spec.models().begin(), spec.models().end()}));
  CAMHERD_RETURN_IF_ERROR(CheckSamplingMode(spec.sampling_mode()));
  CAMHERD_RETURN_IF_ERROR(CheckTtl(spec.ttl_seconds()));
  CAMHERD_RETURN_IF_ERROR(CheckMaxFrames(spec.max_frames()));
  if (!spec.detect_url().empty() && spec.models().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("detect_url must be empty where models is, since its "
                     "pictures are for models alone, got ",
                     spec.detect_url()));
  }
  return absl::OkStatus();
}

// The errors of CameraUrl::Parse name rtsp_url.
absl::StatusOr<CameraUrl> ParseDetectUrl(absl::string_view url,
                                         absl::string_view user = "",
                                         absl::string_view password = "") {
  absl::StatusOr<CameraUrl> parsed = CameraUrl::Parse(url, user, password);
  if (parsed.ok()) return parsed;
  absl::string_view message = parsed.status().message();
  if (!absl::ConsumePrefix(&message, "rtsp_url")) return parsed;
  return absl::Status(parsed.status().code(),
                      absl::StrCat("detect_url", message));
}

bool SameServer(const CameraUrl& a, const CameraUrl& b) {
  return a.host() == b.host() && a.port() == b.port();
}

// `url` with the login of the request; what it leaves out is that of
// `current` on the same server.
absl::StatusOr<CameraUrl> WithLogin(CameraUrl url,
                                    const std::optional<CameraUrl>& current,
                                    const v1::UpdateStreamRequest& request,
                                    bool may_lack_user) {
  const bool keeps = current.has_value() && !url.has_credentials() &&
                     SameServer(url, *current);
  std::string user = keeps ? current->user() : url.user();
  std::string password = keeps ? current->password() : url.password();
  if (request.has_user()) user = request.user();
  if (request.has_password()) password = request.password();
  // A password alone is for who has a user.
  if (may_lack_user && user.empty() && !request.has_user()) return url;
  if (request.has_user() || request.has_password()) {
    CAMHERD_RETURN_IF_ERROR(CheckCredentials(user, password));
  }
  if (user == url.user() && password == url.password()) return url;
  return url.WithCredentials(user, password);
}

}  // namespace

absl::Status CheckTransport(int transport, const CameraUrl& url) {
  if (!v1::Transport_IsValid(transport)) {
    return absl::InvalidArgumentError(
        absl::StrCat("transport must be one of [tcp, udp], got ", transport));
  }
  if (transport == v1::TRANSPORT_UDP && url.tls()) {
    return absl::InvalidArgumentError(
        "transport must be tcp for an rtsps camera, since UDP is not "
        "encrypted, got udp");
  }
  return absl::OkStatus();
}

absl::StatusOr<StreamRequest> CheckStartRequest(
    const v1::StartStreamRequest& request, const StreamDefaults& defaults) {
  if (request.rtsp_url().empty()) {
    return absl::InvalidArgumentError("rtsp_url must not be empty, got \"\"");
  }
  CAMHERD_RETURN_IF_ERROR(CheckCredentials(request.user(), request.password()));
  CAMHERD_ASSIGN_OR_RETURN(
      CameraUrl url,
      CameraUrl::Parse(request.rtsp_url(), request.user(), request.password()));
  if (!request.camera_id().empty()) {
    CAMHERD_RETURN_IF_ERROR(CheckId("camera_id", request.camera_id()));
  }
  CAMHERD_RETURN_IF_ERROR(CheckTransport(request.transport(), url));
  std::optional<CameraUrl> detect_url;
  if (!request.detect_url().empty()) {
    CAMHERD_ASSIGN_OR_RETURN(
        detect_url, ParseDetectUrl(request.detect_url(), request.user(),
                                   request.password()));
    if (!detect_url->has_credentials() && SameServer(*detect_url, url)) {
      CAMHERD_ASSIGN_OR_RETURN(
          detect_url, detect_url->WithCredentials(url.user(), url.password()));
    }
    CAMHERD_RETURN_IF_ERROR(CheckTransport(request.transport(), *detect_url));
  }
  const int batch_size =
      request.has_batch_size() ? request.batch_size() : defaults.batch_size;
  if (batch_size < 1 || batch_size > kMaxBatchSize) {
    return absl::InvalidArgumentError(absl::StrCat(
        "batch_size must be in [1, ", kMaxBatchSize, "], got ", batch_size));
  }

  StreamRequest out{
      .url = std::move(url), .detect_url = std::move(detect_url), .spec = {}};
  out.has_sampling_mode =
      request.sampling_mode() != v1::SAMPLING_MODE_UNSPECIFIED;
  out.has_transport = request.transport() != v1::TRANSPORT_UNSPECIFIED;
  out.has_batch_size = request.has_batch_size();
  out.has_tls_verify = request.has_tls_verify();
  out.spec.set_camera_id(request.camera_id());
  out.spec.set_rtsp_url(out.url.Masked());
  if (out.detect_url) out.spec.set_detect_url(out.detect_url->Masked());
  out.spec.set_interval_seconds(request.has_interval_seconds()
                                    ? request.interval_seconds()
                                    : defaults.interval_seconds);
  *out.spec.mutable_models() = request.models();
  out.spec.set_sampling_mode(out.has_sampling_mode ? request.sampling_mode()
                                                   : v1::SAMPLING_MODE_AUTO);
  out.spec.set_transport(out.has_transport ? request.transport()
                                           : v1::TRANSPORT_TCP);
  out.spec.set_batch_size(batch_size);
  out.spec.set_tls_verify(!request.has_tls_verify() || request.tls_verify());
  out.spec.set_ttl_seconds(request.ttl_seconds());
  out.spec.set_max_frames(request.max_frames());
  CAMHERD_RETURN_IF_ERROR(CheckSpec(out.spec));
  return out;
}

absl::StatusOr<StreamRequest> CheckUpdateRequest(
    const v1::UpdateStreamRequest& request, const v1::Stream& running,
    const std::optional<CameraUrl>& url,
    const std::optional<CameraUrl>& detect_url) {
  std::optional<CameraUrl> main = url;
  if (request.has_rtsp_url()) {
    CAMHERD_ASSIGN_OR_RETURN(main, CameraUrl::Parse(request.rtsp_url()));
  } else if (!main.has_value()) {
    return absl::InvalidArgumentError(
        "rtsp_url must be given where the stored one cannot be used");
  }
  CAMHERD_ASSIGN_OR_RETURN(main, WithLogin(*main, url, request,
                                           /*may_lack_user=*/false));

  std::optional<CameraUrl> detect = detect_url;
  if (request.has_detect_url()) {
    detect.reset();
    if (!request.detect_url().empty()) {
      CAMHERD_ASSIGN_OR_RETURN(detect, ParseDetectUrl(request.detect_url()));
    }
  } else if (!running.detect_url().empty() && !detect.has_value()) {
    return absl::InvalidArgumentError(
        "detect_url must be given where the stored one cannot be used");
  }
  if (detect.has_value()) {
    const bool known =
        detect_url.has_value() && SameServer(*detect, *detect_url);
    CAMHERD_ASSIGN_OR_RETURN(
        detect, WithLogin(*detect, known ? detect_url : main, request,
                          /*may_lack_user=*/true));
  }

  StreamRequest out{
      .url = *main, .detect_url = std::move(detect), .spec = running};
  v1::Stream& spec = out.spec;
  spec.set_rtsp_url(out.url.Masked());
  spec.set_detect_url(out.detect_url ? out.detect_url->Masked() : "");
  if (request.has_interval_seconds()) {
    spec.set_interval_seconds(request.interval_seconds());
  }
  if (request.sampling_mode() != v1::SAMPLING_MODE_UNSPECIFIED) {
    spec.set_sampling_mode(request.sampling_mode());
  }
  if (request.has_models()) *spec.mutable_models() = request.models().names();
  if (request.transport() != v1::TRANSPORT_UNSPECIFIED) {
    spec.set_transport(request.transport());
  }
  if (request.has_tls_verify()) spec.set_tls_verify(request.tls_verify());
  if (request.has_ttl_seconds()) {
    spec.set_ttl_seconds(request.ttl_seconds());
    spec.clear_expires_at();
  }
  if (request.has_max_frames()) spec.set_max_frames(request.max_frames());
  CAMHERD_RETURN_IF_ERROR(CheckSpec(spec));
  CAMHERD_RETURN_IF_ERROR(CheckTransport(spec.transport(), out.url));
  if (out.detect_url) {
    CAMHERD_RETURN_IF_ERROR(CheckTransport(spec.transport(), *out.detect_url));
  }
  return out;
}

std::string Difference(const CameraUrl& url,
                       const std::optional<CameraUrl>& detect_url,
                       const v1::Stream& running,
                       const StreamRequest& request) {
  std::vector<std::string> differences;
  if (!(url == request.url)) {
    differences.push_back(url.Masked() == request.url.Masked()
                              ? "rtsp_url has other credentials"
                              : absl::StrCat("rtsp_url is ", url.Masked(),
                                             ", asked for ",
                                             request.url.Masked()));
  }
  const v1::Stream& asked = request.spec;
  if (request.detect_url && detect_url != request.detect_url) {
    differences.push_back(
        running.detect_url() == asked.detect_url()
            ? "detect_url has other credentials"
            : absl::StrCat("detect_url is \"", running.detect_url(),
                           "\", asked for ", asked.detect_url()));
  }
  if (running.interval_seconds() != asked.interval_seconds()) {
    differences.push_back(
        absl::StrFormat("interval_seconds is %g, asked for %g",
                        running.interval_seconds(), asked.interval_seconds()));
  }
  const std::set<std::string> models(running.models().begin(),
                                     running.models().end());
  if (models !=
      std::set<std::string>(asked.models().begin(), asked.models().end())) {
    differences.push_back(absl::StrCat(
        "models is [", absl::StrJoin(running.models(), ", "), "], asked for [",
        absl::StrJoin(asked.models(), ", "), "]"));
  }
  if (request.has_sampling_mode &&
      running.sampling_mode() != asked.sampling_mode()) {
    differences.push_back(
        absl::StrCat("sampling_mode is ", ShortName(running.sampling_mode()),
                     ", asked for ", ShortName(asked.sampling_mode())));
  }
  if (request.has_transport && running.transport() != asked.transport()) {
    differences.push_back(
        absl::StrCat("transport is ", ShortName(running.transport()),
                     ", asked for ", ShortName(asked.transport())));
  }
  if (request.has_tls_verify && running.tls_verify() != asked.tls_verify()) {
    differences.push_back(
        absl::StrCat("tls_verify is ", TrueOrFalse(running.tls_verify()),
                     ", asked for ", TrueOrFalse(asked.tls_verify())));
  }
  if (request.has_batch_size && running.batch_size() != asked.batch_size()) {
    differences.push_back(absl::StrCat("batch_size is ", running.batch_size(),
                                       ", asked for ", asked.batch_size()));
  }
  if (asked.ttl_seconds() != 0 &&
      running.ttl_seconds() != asked.ttl_seconds()) {
    differences.push_back(
        absl::StrFormat("ttl_seconds is %.15g, asked for %.15g",
                        running.ttl_seconds(), asked.ttl_seconds()));
  }
  if (asked.max_frames() != 0 && running.max_frames() != asked.max_frames()) {
    differences.push_back(absl::StrCat("max_frames is ", running.max_frames(),
                                       ", asked for ", asked.max_frames()));
  }
  return absl::StrJoin(differences, "; ");
}

}  // namespace camherd::capture
