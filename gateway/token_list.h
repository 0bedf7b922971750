// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gateway/caller.h"

namespace camherd::gateway {

// The tokens that are taken, as gateway.tokens_file and gateway.tokens have
// them. A line each:
//
//   <SHA-256 of the token, 64 hexadecimal digits> <role> <name>
//       [camera=<camera id>]... [expires=<RFC 3339 time>]
//
// Empty lines, and lines that begin with #, count for nothing. A token itself
// stands nowhere.
//
// Immutable, thread-safe.
class TokenList {
 public:
  struct Token {
    // SHA-256, 32 bytes.
    std::string digest;
    Role role = Role::kNone;
    std::string name;
    std::vector<std::string> cameras;
    absl::Time expires = absl::InfiniteFuture();
  };

  // kInvalidArgument naming the line, and never what it holds: a digest that is
  // none, an unknown role, a name or camera that is no id, a digest or a name
  // twice.
  static absl::StatusOr<TokenList> Parse(const std::vector<std::string>& lines);

  // The lines of a file. kPermissionDenied where others than its owner and
  // group can read it, or others than its owner can write to it;
  // kInvalidArgument as above, kFailedPrecondition where it is no file;
  // kOutOfRange over 1 MiB.
  static absl::StatusOr<std::vector<std::string>> ReadLines(
      const std::string& path);

  // The token with that digest; null: none. Takes the same time wherever the
  // first difference is, and whichever token it is.
  const Token* Find(absl::string_view digest) const;

  size_t size() const { return tokens_.size(); }

 private:
  std::vector<Token> tokens_;
};

}  // namespace camherd::gateway
