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
// caller has it already. The caller is to ask each time: no address keeps its
// content for good, since another data folder numbers its records from 1 again.
HttpResponse JpegAnswer(const HttpRequest& request, std::string jpeg,
                        absl::string_view version);

// `bytes` likewise.
HttpResponse TaggedAnswer(const HttpRequest& request, std::string bytes,
                          absl::string_view content_type,
                          absl::string_view version);

}  // namespace camherd::gateway
