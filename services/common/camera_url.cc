// SPDX-License-Identifier: Apache-2.0
#include "services/common/camera_url.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "services/common/status_macros.h"

namespace camherd {
namespace {

constexpr size_t kMaxUrl = 2048;
constexpr size_t kMaxCredential = 256;
constexpr size_t kMaxShown = 100;
constexpr absl::string_view kMask = "***";
constexpr absl::string_view kUserInfoMask = "***:***@";

bool IsUnreserved(char c) {
  return absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

bool IsControl(char c) {
  const unsigned char u = static_cast<unsigned char>(c);
  return u < 0x20 || u == 0x7f;
}

bool IsWhite(char c) { return static_cast<unsigned char>(c) <= 0x20; }

bool HasControl(absl::string_view text) {
  return std::any_of(text.begin(), text.end(), IsControl);
}

// RFC 3986: what a URI may hold, `%` aside; no `#`, since a fragment is never
// sent to a camera.
bool IsUriCharacter(char c) {
  return IsUnreserved(c) || absl::StrContains("!$&'()*+,;=:@/?[]", c);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Leaves what is no percent-encoding as it is.
std::string PercentDecode(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 &&
        HexDigit(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(HexDigit(text[i + 1]) * 16 +
                                      HexDigit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string PercentEncode(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (IsUnreserved(c)) {
      out.push_back(c);
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::string UserInfo(absl::string_view user, absl::string_view password) {
  return absl::StrCat(PercentEncode(user), ":", PercentEncode(password));
}

bool PercentsAreValid(absl::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') continue;
    if (i + 2 >= text.size() || HexDigit(text[i + 1]) < 0 ||
        HexDigit(text[i + 2]) < 0) {
      return false;
    }
    i += 2;
  }
  return true;
}

// Whether a parameter of this name holds a secret: `password`, `userPwd`,
// `access_token`, also behind others as in `channel_1_password`.
bool IsSecretKey(absl::string_view raw) {
  const std::string key = absl::AsciiStrToLower(PercentDecode(raw));
  std::string letters;
  for (const char c : key) {
    if (absl::ascii_isalnum(c)) letters.push_back(c);
  }
  for (const absl::string_view ending : {"password",      "passwd",
                                         "passwort",      "passphrase",
                                         "pwd",           "pass",
                                         "psw",           "pw",
                                         "token",         "key",
                                         "secret",        "auth",
                                         "authorization", "authentication",
                                         "authbasic",     "user",
                                         "username",      "userid",
                                         "usr",           "login",
                                         "account",       "loginuse",
                                         "loginpas",      "credential",
                                         "credentials",   "signature",
                                         "sig",           "jwt",
                                         "session",       "sessionid"}) {
    if (absl::EndsWith(letters, ending)) return true;
  }
  // Single letters only on their own.
  return key == "p" || key == "u" || key == "pin";
}

// `name:secret@` inside a piece of a path or query, as in a nested URL.
bool HoldsUserInfo(absl::string_view piece) {
  const std::string decoded = PercentDecode(piece);
  const size_t at = decoded.rfind('@');
  return at != std::string::npos && decoded.find(':') < at;
}

// The first `=` or `%3D` of a piece: (where it begins, where it ends).
std::pair<size_t, size_t> FindEquals(absl::string_view piece) {
  for (size_t i = 0; i < piece.size(); ++i) {
    if (piece[i] == '=') return {i, i + 1};
    if (absl::StartsWithIgnoreCase(piece.substr(i), "%3d")) return {i, i + 3};
  }
  return {absl::string_view::npos, absl::string_view::npos};
}

// One `key=value`, or anything else between delimiters.
std::string MaskPiece(absl::string_view piece) {
  std::string out;
  // What follows an `=` holds user info only where all of it does.
  const bool user_info = HoldsUserInfo(piece);
  while (true) {
    const auto [equals, value] = FindEquals(piece);
    if (equals == absl::string_view::npos) {
      return absl::StrCat(out, user_info ? kMask : piece);
    }
    const absl::string_view key = piece.substr(0, equals);
    // The `=` may be one of the password.
    if (user_info && absl::StrContains(PercentDecode(key), ':')) {
      return absl::StrCat(out, kMask);
    }
    if (user_info || (value < piece.size() && IsSecretKey(key))) {
      return absl::StrCat(out, piece.substr(0, value), kMask);
    }
    // `a=1_password=x`: some cameras separate by `_` or `-` alone.
    absl::StrAppend(&out, piece.substr(0, value));
    piece.remove_prefix(value);
  }
}

// Path and query of a URL. In a path `/` also ends a value, and the segment
// after one like `password` or `token` is a value too.
std::string MaskPathAndQuery(absl::string_view text) {
  std::string out;
  const size_t query = std::min(text.find('?'), text.size());
  bool secret_segment = false;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    const bool in_query = i > query;
    const bool ends = i == text.size() || text[i] == '&' || text[i] == ';' ||
                      i == query || text[i] == '#' ||
                      (!in_query && text[i] == '/');
    if (!ends) continue;
    const absl::string_view piece = text.substr(begin, i - begin);
    if (secret_segment && !piece.empty()) {
      absl::StrAppend(&out, kMask);
    } else {
      out += MaskPiece(piece);
    }
    if (!piece.empty() || i == query) {
      secret_segment = i < query && text[i] == '/' && IsSecretKey(piece) &&
                       piece.size() > 2 &&
                       FindEquals(piece).first == absl::string_view::npos;
    }
    if (i < text.size()) out.push_back(text[i]);
    begin = i + 1;
  }
  return out;
}

// `key=value` pairs in text that is no URL.
std::string MaskPairs(absl::string_view text) {
  std::string out;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    const bool ends = i == text.size() || IsWhite(text[i]) ||
                      absl::StrContains("&;/?#,\"'<>()", text[i]);
    if (!ends) continue;
    out += MaskPiece(text.substr(begin, i - begin));
    if (i < text.size()) out.push_back(text[i]);
    begin = i + 1;
  }
  return out;
}

// Of the word that `begin` is in.
size_t WordEnd(absl::string_view text, size_t begin) {
  while (begin < text.size() && !IsWhite(text[begin])) ++begin;
  return begin;
}

bool IsSchemeCharacter(char c) {
  return absl::ascii_isalnum(c) || c == '+' || c == '-' || c == '.';
}

// For error messages about a value that did not parse: everything before the
// last `@` counts as user info.
std::string ShowUnparsed(absl::string_view url) {
  std::string masked;
  absl::string_view rest = url;
  const size_t scheme = url.find("://");
  if (scheme != absl::string_view::npos &&
      std::all_of(url.begin(), url.begin() + scheme, IsSchemeCharacter)) {
    masked = std::string(url.substr(0, scheme + 3));
    rest = url.substr(scheme + 3);
  }
  if (const size_t at = rest.rfind('@'); at != absl::string_view::npos) {
    absl::StrAppend(&masked, kUserInfoMask);
    rest = rest.substr(at + 1);
  }
  masked += MaskPathAndQuery(rest);
  return masked;
}

std::string Shown(absl::string_view value) {
  return absl::StrCat("\"", absl::CHexEscape(value.substr(0, kMaxShown)),
                      value.size() > kMaxShown ? "...\"" : "\"");
}

absl::Status Bad(absl::string_view rule, absl::string_view url) {
  return absl::InvalidArgumentError(
      absl::StrCat("rtsp_url ", rule, ", got ", Shown(ShowUnparsed(url))));
}

// rtsp://admin:12/34@host/ reads as host `admin`, port 12.
constexpr absl::string_view kAtAfterHost =
    "must not hold an @ after the host: is there a / or ? in the password "
    "(written %2F, %3F), or an @ in the path (written %40)?";

bool MayHoldAPassword(absl::string_view authority, absl::string_view path) {
  return absl::StrContains(authority, ':') && absl::StrContains(path, '@');
}

bool IsHostName(absl::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  return std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
  });
}

// Whoever looks it up takes a name whose last label is a number for an IPv4
// address (WHATWG URL §3.5): 2130706433, 0x7f.1 and 0177.0.0.1 are all
// 127.0.0.1, which nobody sees in them.
bool IsOddNumber(absl::string_view host) {
  absl::string_view last = absl::StripSuffix(host, ".");
  last = last.substr(last.rfind('.') + 1);
  const bool hexadecimal =
      absl::ConsumePrefix(&last, "0x") || absl::ConsumePrefix(&last, "0X");
  const bool number =
      (hexadecimal || !last.empty()) &&
      std::all_of(last.begin(), last.end(), [&](char c) {
        return hexadecimal ? absl::ascii_isxdigit(c) : absl::ascii_isdigit(c);
      });
  in_addr address;
  return number && inet_pton(AF_INET, std::string(host).c_str(), &address) != 1;
}

bool IsIpv6(absl::string_view host) {
  in6_addr address;
  return inet_pton(AF_INET6, std::string(host).c_str(), &address) == 1;
}

absl::Status CheckCredential(absl::string_view field, absl::string_view value) {
  if (value.size() > kMaxCredential) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must be at most ", kMaxCredential, " bytes, got ",
                     value.size()));
  }
  if (HasControl(value)) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must hold no control characters"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CameraUrl> CameraUrl::Parse(absl::string_view url,
                                           absl::string_view user,
                                           absl::string_view password) {
  if (url.empty()) {
    return absl::InvalidArgumentError("rtsp_url must not be empty, got \"\"");
  }
  if (url.size() > kMaxUrl) {
    return Bad(absl::StrCat("must be at most ", kMaxUrl, " characters"), url);
  }
  CameraUrl result;
  absl::string_view rest = url;
  if (absl::StartsWithIgnoreCase(rest, "rtsps://")) {
    rest.remove_prefix(8);
    result.tls_ = true;
    result.port_ = 322;
  } else if (absl::StartsWithIgnoreCase(rest, "rtsp://")) {
    rest.remove_prefix(7);
  } else {
    return Bad("must begin with rtsp:// or rtsps://", url);
  }
  if (std::any_of(rest.begin(), rest.end(), IsWhite) || HasControl(rest)) {
    return Bad("must hold no spaces or control characters", url);
  }
  if (absl::StrContains(rest, '#')) {
    return Bad("must hold no # (in a password it is written %23)", url);
  }
  const bool plain = std::all_of(rest.begin(), rest.end(), [](char c) {
    return c == '%' || IsUriCharacter(c);
  });
  if (!plain || !PercentsAreValid(rest)) {
    return Bad(
        "must be percent-encoded (RFC 3986): it holds a character that needs "
        "%XX, or a % without two hexadecimal digits",
        url);
  }
  if (HasControl(PercentDecode(rest))) {
    return Bad("must hold no control characters, percent-encoded ones neither",
               url);
  }

  const size_t authority_end = std::min(rest.find_first_of("/?"), rest.size());
  absl::string_view authority = rest.substr(0, authority_end);
  const absl::string_view path = rest.substr(authority_end);

  std::string user_info;
  const size_t at = authority.find('@');
  if (at != absl::string_view::npos) {
    if (authority.find('@', at + 1) != absl::string_view::npos) {
      return Bad(
          "must hold one @ before the host (in a password it is "
          "written %40)",
          url);
    }
    const absl::string_view info = authority.substr(0, at);
    authority.remove_prefix(at + 1);
    const size_t colon = info.find(':');
    result.user_ = PercentDecode(info.substr(0, colon));
    if (colon != absl::string_view::npos) {
      result.password_ = PercentDecode(info.substr(colon + 1));
    }
    CAMHERD_RETURN_IF_ERROR(CheckCredential("rtsp_url's user", result.user_));
    CAMHERD_RETURN_IF_ERROR(
        CheckCredential("rtsp_url's password", result.password_));
    if (result.has_credentials()) {
      user_info = PercentEncode(result.user_);
      if (colon != absl::string_view::npos) {
        absl::StrAppend(&user_info, ":", PercentEncode(result.password_));
      }
    }
  } else if (MayHoldAPassword(authority, path)) {
    return Bad(kAtAfterHost, url);
  }
  CAMHERD_RETURN_IF_ERROR(CheckCredential("user", user));
  CAMHERD_RETURN_IF_ERROR(CheckCredential("password", password));
  if (!user.empty()) {
    result.user_ = std::string(user);
    result.password_ = std::string(password);
    user_info = UserInfo(user, password);
  } else if (!password.empty()) {
    return absl::InvalidArgumentError(
        "user must not be empty where password "
        "is given, got \"\"");
  }

  absl::string_view host = authority;
  absl::string_view port;
  bool has_port = false;
  if (absl::StartsWith(authority, "[")) {
    const size_t close = authority.find(']');
    if (close == absl::string_view::npos) {
      return Bad("must close the [ of its host", url);
    }
    host = authority.substr(1, close - 1);
    const absl::string_view after = authority.substr(close + 1);
    if (!IsIpv6(host) || (!after.empty() && after[0] != ':')) {
      return Bad(
          "must have an IPv6 address in its brackets, then at most a "
          "port",
          url);
    }
    has_port = !after.empty();
    if (has_port) port = after.substr(1);
  } else {
    const size_t colon = authority.find(':');
    host = authority.substr(0, colon);
    has_port = colon != absl::string_view::npos;
    if (has_port) port = authority.substr(colon + 1);
    if (host.empty()) return Bad("must name a host", url);
    if (!IsHostName(host)) {
      return Bad(
          "must have a host of letters, digits, `.`, `-` and `_`, or "
          "an IPv6 address in brackets",
          url);
    }
  }
  if (has_port) {
    uint32_t number = 0;
    if (port.empty() || port.size() > 5 ||
        !std::all_of(port.begin(), port.end(), absl::ascii_isdigit) ||
        !absl::SimpleAtoi(port, &number) || number < 1 || number > 65535) {
      return Bad("must have a port in [1, 65535]", url);
    }
    result.port_ = static_cast<uint16_t>(number);
  }
  if (!absl::StartsWith(authority, "[") && IsOddNumber(host)) {
    return Bad("must have an IPv4 address as four decimal numbers", url);
  }

  result.host_ = absl::AsciiStrToLower(host);
  result.authority_ = absl::StrCat(
      absl::StartsWith(authority, "[") ? absl::StrCat("[", result.host_, "]")
                                       : result.host_,
      has_port ? absl::StrCat(":", result.port_) : "");
  result.path_and_query_ = std::string(path);
  CAMHERD_RETURN_IF_ERROR(result.Compose(user_info));
  return result;
}

absl::Status CameraUrl::Compose(absl::string_view user_info) {
  const absl::string_view scheme = tls_ ? "rtsps://" : "rtsp://";
  full_ = absl::StrCat(scheme, user_info, user_info.empty() ? "" : "@",
                       authority_, path_and_query_);
  masked_ = absl::StrCat(scheme, user_info.empty() ? "" : kUserInfoMask,
                         authority_, MaskPathAndQuery(path_and_query_));
  if (user_info.empty() && MayHoldAPassword(authority_, path_and_query_)) {
    return Bad(kAtAfterHost, full_);
  }
  if (full_.size() > kMaxUrl) {
    return Bad(absl::StrCat("must be at most ", kMaxUrl,
                            " characters with its user and password "
                            "percent-encoded"),
               full_);
  }
  return absl::OkStatus();
}

absl::StatusOr<CameraUrl> CameraUrl::WithCredentials(
    absl::string_view user, absl::string_view password) const {
  CAMHERD_RETURN_IF_ERROR(CheckCredential("user", user));
  CAMHERD_RETURN_IF_ERROR(CheckCredential("password", password));
  CameraUrl result = *this;
  result.user_ = std::string(user);
  result.password_ = std::string(password);
  CAMHERD_RETURN_IF_ERROR(
      result.Compose(result.has_credentials() ? UserInfo(user, password) : ""));
  return result;
}

std::string CameraUrl::ProcessName() const {
  constexpr size_t kMaxName = 64;
  // Masking neither adds nor takes a `/`, so the last segments correspond.
  absl::string_view path =
      absl::string_view(path_and_query_).substr(0, path_and_query_.find('?'));
  while (absl::ConsumeSuffix(&path, "/")) {
  }
  const std::string masked = MaskPathAndQuery(path);
  const absl::string_view segment = path.substr(path.rfind('/') + 1);
  if (absl::EndsWith(masked, absl::StrCat("/", segment)) &&
      !absl::StrContains(segment, '=')) {
    const absl::string_view cut = segment.substr(0, kMaxName);
    if (IsValidId(cut)) return std::string(cut);
  }
  const std::string port = absl::StrCat("-", port_);
  std::string name;
  for (const char c : host_) {
    const bool valid =
        absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
    if (name.empty() && !absl::ascii_isalnum(c)) continue;
    name.push_back(valid ? c : '-');
  }
  if (name.empty()) name = "camera";
  return absl::StrCat(name.substr(0, kMaxName - port.size()), port);
}

std::string MaskSecrets(absl::string_view text) {
  std::string out;
  // No `@` is left before this place, which is the end of a word: it is looked
  // for once, however many quotes stand in the word.
  const char* searched = text.data();
  while (!text.empty()) {
    const size_t separator = text.find("://");
    if (separator == absl::string_view::npos) break;
    absl::string_view rest = text.substr(separator + 3);
    out += MaskPairs(text.substr(0, separator));
    out += "://";
    // User info goes to the last `@` before white space. Before a path it may
    // hold white space itself, since people type such passwords.
    const bool known = rest.data() < searched;
    size_t end =
        known ? static_cast<size_t>(searched - rest.data()) : WordEnd(rest, 0);
    size_t at =
        known ? absl::string_view::npos : rest.substr(0, end).rfind('@');
    if (at == absl::string_view::npos &&
        rest.substr(0, end).find_first_of("/?#\"'<>") ==
            absl::string_view::npos) {
      absl::string_view line = rest.substr(0, rest.find("://"));
      line = line.substr(0, line.find('\n'));
      if (const size_t first = line.find('@');
          first != absl::string_view::npos) {
        end = WordEnd(rest, first);
        at = rest.substr(0, end).rfind('@');
      }
    }
    searched = rest.data() + end;
    if (at != absl::string_view::npos) {
      absl::StrAppend(&out, kUserInfoMask);
      rest.remove_prefix(at + 1);
      end -= at + 1;
    }
    // Then the host, and path and query to white space or a quote.
    const size_t stop =
        std::min(end, rest.substr(0, end).find_first_of("\"'<>"));
    out += MaskPathAndQuery(rest.substr(0, stop));
    text = rest.substr(stop);
  }
  return out + MaskPairs(text);
}

bool IsValidId(absl::string_view id) {
  if (id.empty() || id.size() > 64 || !absl::ascii_isalnum(id[0])) return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
}

absl::Status CheckId(absl::string_view field, absl::string_view id) {
  if (IsValidId(id)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}, got ",
                   Shown(MaskSecrets(id))));
}

}  // namespace camherd
