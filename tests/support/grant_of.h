// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "camherd/v1/worker.pb.h"

namespace camherd::testing {

// What a worker is told whose stream may connect as it wants to.
// REQUIRES: wanted.has_connect_wanted().
inline v1::ToWorker GrantOf(const v1::FromWorker& wanted) {
  v1::ToWorker message;
  message.mutable_grant()->set_stream_id(wanted.stream_id());
  message.mutable_grant()->set_request(wanted.connect_wanted().request());
  return message;
}

}  // namespace camherd::testing
