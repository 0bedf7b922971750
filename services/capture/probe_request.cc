// SPDX-License-Identifier: Apache-2.0
#include "services/capture/probe_request.h"

#include <utility>

#include "services/capture/stream_request.h"
#include "services/common/status_macros.h"

namespace camherd::capture {

absl::StatusOr<ProbeTarget> CheckProbeRequest(
    const v1::ProbeSourceRequest& request) {
  v1::StartStreamRequest start;
  start.set_rtsp_url(request.rtsp_url());
  start.set_user(request.user());
  start.set_password(request.password());
  start.set_transport(request.transport());
  if (request.has_tls_verify()) start.set_tls_verify(request.tls_verify());
  CAMHERD_ASSIGN_OR_RETURN(StreamRequest checked, CheckStartRequest(start, {}));
  return ProbeTarget{.url = std::move(checked.url),
                     .transport = checked.spec.transport(),
                     .tls_verify = checked.spec.tls_verify()};
}

}  // namespace camherd::capture
