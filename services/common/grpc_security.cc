// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_security.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/file.h"
#include "services/common/secret_file.h"
#include "services/common/status_macros.h"

namespace camherd {
namespace {

constexpr size_t kMaxFileBytes = 64 << 10;
constexpr size_t kMinTokenBytes = 16;
constexpr size_t kMaxTokenBytes = 256;

// As in RFC 6750 §2.1.
bool IsToken(absl::string_view text) {
  return text.size() >= kMinTokenBytes && text.size() <= kMaxTokenBytes &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || absl::StrContains("-._~+/=", c);
         });
}

absl::StatusOr<std::vector<std::string>> ReadTokens(const std::string& path) {
  CAMHERD_ASSIGN_OR_RETURN(const std::string text,
                           ReadSecretFile(path, kMaxFileBytes));
  std::vector<std::string> tokens;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    if (!IsToken(line)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, " line ", number, " must be a token: ", kMinTokenBytes, " to ",
          kMaxTokenBytes, " of A-Z a-z 0-9 - . _ ~ + / ="));
    }
    tokens.emplace_back(line);
  }
  if (tokens.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " holds no token"));
  }
  return tokens;
}

}  // namespace

absl::StatusOr<GrpcSecurity> LoadGrpcSecurity(ConfigSection& section) {
  GrpcSecurity security;
  const std::string token_file = section.String("token_file", "");
  security.certificate_file = section.String("tls_certificate_file", "");
  security.key_file = section.String("tls_key_file", "");
  security.ca_file = section.String("tls_ca_file", "");
  security.reload_seconds =
      static_cast<unsigned>(section.Int("tls_reload_seconds", 10, 1, 86400));
  if (!token_file.empty()) {
    absl::StatusOr<std::vector<std::string>> tokens = ReadTokens(token_file);
    if (tokens.ok()) {
      security.tokens = *std::move(tokens);
    } else {
      section.Fail("token_file",
                   absl::StrCat("is not usable: ", tokens.status().message()));
    }
  }
  const std::pair<const char*, const std::string&> files[] = {
      {"tls_certificate_file", security.certificate_file},
      {"tls_key_file", security.key_file},
      {"tls_ca_file", security.ca_file}};
  const bool any = std::any_of(std::begin(files), std::end(files),
                               [](const auto& f) { return !f.second.empty(); });
  for (const auto& [key, path] : files) {
    if (!any) break;
    if (path.empty()) {
      section.Fail(key, "must be set where the others of tls are");
    } else if (access(path.c_str(), R_OK) != 0) {
      section.Fail(key,
                   absl::StrCat("must be a file that can be read: ",
                                ErrnoStatus(errno, "access", path).message()));
    }
  }
  CAMHERD_RETURN_IF_ERROR(section.Finish());
  return security;
}

bool IsLocalGrpcAddress(absl::string_view listen) {
  if (absl::StartsWith(listen, "unix:") ||
      absl::StartsWith(listen, "unix-abstract:")) {
    return true;
  }
  const absl::string_view host = listen.substr(0, listen.rfind(':'));
  return host == "localhost" || host == "[::1]" || host == "::1" ||
         absl::StartsWith(host, "127.");
}

}  // namespace camherd
