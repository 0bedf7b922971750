// SPDX-License-Identifier: Apache-2.0
#include "services/cli/exit_code.h"

#include "absl/strings/cord.h"

namespace camherd::cli {
namespace {

constexpr absl::string_view kUnreachableMark = "camherd.cli/unreachable";
constexpr absl::string_view kUsageMark = "camherd.cli/usage";

}  // namespace

absl::Status Unreachable(absl::string_view message) {
  absl::Status status = absl::UnavailableError(message);
  status.SetPayload(kUnreachableMark, absl::Cord());
  return status;
}

bool IsUnreachable(const absl::Status& status) {
  return status.GetPayload(kUnreachableMark).has_value();
}

absl::Status WrongUsage(absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kUsageMark, absl::Cord());
  return status;
}

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kDone;
  if (IsUnreachable(status)) return kUnreachable;
  return status.GetPayload(kUsageMark).has_value() ? kWrongUsage : kFailed;
}

}  // namespace camherd::cli
