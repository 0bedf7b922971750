// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "gateway/http_message.h"
#include "google/protobuf/message.h"

// The answers that several routes give. Thread-safe.
namespace camherd::gateway {

// 200 (or `code`) with the message as JSON.
HttpResponse JsonAnswer(const google::protobuf::Message& message,
                        HttpCode code = HttpCode::kOk,
                        bool with_pictures = false);

// A JPEG with an ETag made of `version`, which names its content: 304 where the
// caller has it already. `max_age` 0: the caller asks again each time.
HttpResponse JpegAnswer(const HttpRequest& request, std::string jpeg,
                        absl::string_view version, int max_age_seconds);

// `bytes` with an ETag of their own.
HttpResponse TaggedAnswer(const HttpRequest& request, std::string bytes,
                          absl::string_view content_type,
                          absl::string_view version, int max_age_seconds);

}  // namespace camherd::gateway
