// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/page_token.h"

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "services/common/file.h"

namespace camherd::aggregator {
namespace {

constexpr int kMaxPageSize = 1000;
constexpr size_t kMaxToken = 1000;

std::string FilterDigest(absl::string_view filter) {
  return Sha256Hex(filter).substr(0, 8);
}

}  // namespace

std::string MakePageToken(absl::string_view filter,
                          const std::vector<std::string>& position) {
  return absl::WebSafeBase64Escape(
      absl::StrCat(FilterDigest(filter), "\n", absl::StrJoin(position, "\n")));
}

absl::StatusOr<std::vector<std::string>> ReadPageToken(absl::string_view token,
                                                       absl::string_view filter,
                                                       size_t parts) {
  std::string text;
  if (token.size() > kMaxToken || !absl::WebSafeBase64Unescape(token, &text)) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_token is not one of this service, got \"",
                     absl::CHexEscape(token.substr(0, 80)), "\""));
  }
  std::vector<std::string> fields = absl::StrSplit(text, '\n');
  if (fields.size() != parts + 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_token is not one of this list, got \"",
                     absl::CHexEscape(token.substr(0, 80)), "\""));
  }
  if (fields[0] != FilterDigest(filter)) {
    return absl::InvalidArgumentError(
        "page_token belongs to other filters; they must be the same for all "
        "pages");
  }
  fields.erase(fields.begin());
  return fields;
}

absl::StatusOr<int> CheckPageSize(int page_size, int fallback) {
  if (page_size < 0 || page_size > kMaxPageSize) {
    return absl::InvalidArgumentError(absl::StrCat(
        "page_size must be in [0, ", kMaxPageSize, "], got ", page_size));
  }
  return page_size == 0 ? fallback : page_size;
}

}  // namespace camherd::aggregator
