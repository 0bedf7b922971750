// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "services/common/proto_json.h"

namespace camherd::gateway {

// The fields of a request that starts a stream: those of StartStreamRequest,
// `model_name` (one name or a list) for `models`, and `interval` for
// `interval_seconds`, as the documents have them.
const FieldRules& StartRules();

}  // namespace camherd::gateway
