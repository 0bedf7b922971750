// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_status.h"

#include <cstdint>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/camera_url.h"
#include "services/common/retry_delay.h"

namespace camherd {
namespace {

constexpr char kPushbackKey[] = "grpc-retry-pushback-ms";
constexpr char kNoEffectKey[] = "camherd-no-effect";

// Messages travel in the trailing metadata, which peers limit to 8 KiB.
constexpr size_t kMaxMessage = 4000;

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status,
                          grpc::ServerContextBase* context) {
  if (status.ok()) return grpc::Status::OK;
  if (context != nullptr) {
    if (const auto delay = RetryDelay(status)) {
      context->AddTrailingMetadata(
          kPushbackKey, absl::StrCat(absl::ToInt64Milliseconds(*delay)));
    }
    if (HadNoEffect(status)) context->AddTrailingMetadata(kNoEffectKey, "1");
  }
  std::string message = MaskSecrets(status.message());
  if (message.size() > kMaxMessage) {
    message.resize(kMaxMessage - 3);
    message += "...";
  }
  // The numbers are the same by definition.
  return grpc::Status(static_cast<grpc::StatusCode>(status.raw_code()),
                      message);
}

absl::Status FromGrpcStatus(const grpc::Status& status,
                            const grpc::ClientContext* context) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
  if (context == nullptr) return result;
  const auto& metadata = context->GetServerTrailingMetadata();
  const auto it = metadata.find(kPushbackKey);
  int64_t ms = 0;
  if (it != metadata.end() &&
      absl::SimpleAtoi(absl::string_view(it->second.data(), it->second.size()),
                       &ms) &&
      ms >= 0) {
    result = WithRetryDelay(std::move(result), absl::Milliseconds(ms));
  }
  if (metadata.find(kNoEffectKey) != metadata.end()) {
    result = WithoutEffect(std::move(result));
  }
  return result;
}

}  // namespace camherd
