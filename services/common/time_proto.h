// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/time/time.h"
#include "google/protobuf/timestamp.pb.h"

namespace camherd {

google::protobuf::Timestamp ToProto(absl::Time time);
absl::Time FromProto(const google::protobuf::Timestamp& timestamp);

// RFC 3339, UTC, milliseconds: 2026-08-01T10:15:00.123Z.
std::string FormatRfc3339(absl::Time time);

}  // namespace camherd
