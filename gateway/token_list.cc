// SPDX-License-Identifier: Apache-2.0
#include "gateway/token_list.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/camera_url.h"
#include "services/common/secret_file.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr size_t kDigestBytes = 32;

absl::StatusOr<Role> ReadRole(absl::string_view text) {
  for (const Role role : {Role::kViewer, Role::kOperator, Role::kAdmin}) {
    if (text == RoleName(role)) return role;
  }
  return absl::InvalidArgumentError(
      "the role must be one of [viewer, operator, admin]");
}

absl::StatusOr<TokenList::Token> ReadLine(absl::string_view line) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (words.size() < 3) {
    return absl::InvalidArgumentError(
        "a token is `<SHA-256> <role> <name> [camera=<id>]... "
        "[expires=<time>]`");
  }
  TokenList::Token token;
  if (words[0].size() != 2 * kDigestBytes ||
      !std::all_of(words[0].begin(), words[0].end(), [](char c) {
        return absl::ascii_isxdigit(static_cast<unsigned char>(c));
      })) {
    return absl::InvalidArgumentError(
        "the first word must be the SHA-256 of the token, 64 hexadecimal "
        "digits");
  }
  token.digest = absl::HexStringToBytes(words[0]);
  CAMHERD_ASSIGN_OR_RETURN(token.role, ReadRole(words[1]));
  token.name = std::string(words[2]);
  if (!IsValidId(token.name)) {
    return absl::InvalidArgumentError(
        "the name must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
  }
  for (size_t i = 3; i < words.size(); ++i) {
    absl::string_view word = words[i];
    if (absl::ConsumePrefix(&word, "camera=")) {
      if (!IsValidId(word)) {
        return absl::InvalidArgumentError(
            "camera= must be a camera id, [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
      }
      token.cameras.emplace_back(word);
    } else if (absl::ConsumePrefix(&word, "expires=")) {
      std::string error;
      if (!absl::ParseTime(absl::RFC3339_full, word, &token.expires, &error)) {
        return absl::InvalidArgumentError(
            "expires= must be a time such as 2026-12-31T23:59:59Z");
      }
    } else {
      return absl::InvalidArgumentError(
          "after the name come only camera=<id> and expires=<time>");
    }
  }
  return token;
}

}  // namespace

absl::StatusOr<TokenList> TokenList::Parse(
    const std::vector<std::string>& lines) {
  TokenList list;
  std::set<std::string> names;
  std::set<std::string> digests;
  for (size_t i = 0; i < lines.size(); ++i) {
    const absl::string_view line = absl::StripAsciiWhitespace(lines[i]);
    if (line.empty() || line.front() == '#') continue;
    absl::StatusOr<Token> token = ReadLine(line);
    if (token.ok() && !names.insert(token->name).second) {
      token = absl::InvalidArgumentError("the name is there twice");
    }
    if (token.ok() && !digests.insert(token->digest).second) {
      token = absl::InvalidArgumentError("the token is there twice");
    }
    if (!token.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", i + 1, ": ", token.status().message()));
    }
    list.tokens_.push_back(*std::move(token));
  }
  return list;
}

absl::StatusOr<std::vector<std::string>> TokenList::ReadLines(
    const std::string& path) {
  CAMHERD_ASSIGN_OR_RETURN(const std::string text,
                           ReadSecretFile(path, kMaxFileBytes));
  return std::vector<std::string>(absl::StrSplit(text, '\n'));
}

const TokenList::Token* TokenList::Find(absl::string_view digest) const {
  const Token* found = nullptr;
  if (digest.size() != kDigestBytes) return nullptr;
  for (const Token& token : tokens_) {
    uint8_t differences = 0;
    for (size_t i = 0; i < kDigestBytes; ++i) {
      differences |= static_cast<uint8_t>(token.digest[i] ^ digest[i]);
    }
    if (differences == 0) found = &token;
  }
  return found;
}

}  // namespace camherd::gateway
