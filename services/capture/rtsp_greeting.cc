// SPDX-License-Identifier: Apache-2.0
#include "services/capture/rtsp_greeting.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

// Of an answer's head, and of a body that has to be skipped.
constexpr size_t kMaxHead = 16 << 10;
constexpr size_t kMaxBody = 64 << 10;
constexpr size_t kMaxShown = 120;
constexpr absl::string_view kProtocol = "RTSP/";
constexpr int kUnauthorized = 401;

struct Reply {
  int status = 0;
  // Names lower-case.
  std::vector<std::pair<std::string, std::string>> headers;

  std::string Header(absl::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return value;
    }
    return "";
  }
};

// Fit to be shown: the camera may have sent anything.
std::string Shown(absl::string_view text) {
  std::string out(text.substr(0, kMaxShown));
  for (char& c : out) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return out;
}

// The URL as a camera is to see it: without user info.
std::string RequestUri(const CameraUrl& url) {
  std::string uri = url.Full();
  const size_t authority = uri.find("://") + 3;
  const size_t end = std::min(uri.find_first_of("/?", authority), uri.size());
  const size_t at = uri.find('@', authority);
  if (at < end) uri.erase(authority, at + 1 - authority);
  return uri;
}

absl::Status NoRtsp(absl::string_view begin) {
  return absl::DataLossError(absl::StartsWith(begin, "HTTP")
                                 ? "a web server answers there, no RTSP server"
                                 : "what answers there is no RTSP server");
}

// Asks one question after the other and reads the answers.
class Dialog {
 public:
  Dialog(CameraConnection& connection, std::string uri, absl::Duration deadline)
      : connection_(connection), uri_(std::move(uri)), deadline_(deadline) {}

  absl::StatusOr<Reply> Ask(absl::string_view method,
                            absl::string_view headers) {
    CAMHERD_RETURN_IF_ERROR(connection_.Write(
        absl::StrCat(method, " ", uri_, " RTSP/1.0\r\nCSeq: ", ++sequence_,
                     "\r\nUser-Agent: Camherd\r\n", headers, "\r\n"),
        deadline_));
    size_t head = std::string::npos;
    while ((head = pending_.find("\r\n\r\n")) == std::string::npos) {
      CAMHERD_RETURN_IF_ERROR(CheckBegin());
      if (pending_.size() > kMaxHead) {
        return absl::DataLossError("the answer's head does not end");
      }
      CAMHERD_ASSIGN_OR_RETURN(const std::string more,
                               connection_.Read(deadline_));
      pending_ += more;
    }
    CAMHERD_RETURN_IF_ERROR(CheckBegin());
    const absl::StatusOr<Reply> reply =
        Parse(absl::string_view(pending_).substr(0, head));
    pending_.erase(0, head + 4);
    return reply;
  }

  // Reads the body of `reply`, so that the next answer is next.
  absl::Status SkipBody(const Reply& reply) {
    const std::string length = reply.Header("content-length");
    if (length.empty()) return absl::OkStatus();
    size_t left = 0;
    if (!absl::SimpleAtoi(length, &left) || left > kMaxBody) {
      return absl::DataLossError(
          absl::StrCat("the answer's length is ", Shown(length)));
    }
    while (pending_.size() < left) {
      CAMHERD_ASSIGN_OR_RETURN(const std::string more,
                               connection_.Read(deadline_));
      pending_ += more;
    }
    pending_.erase(0, left);
    return absl::OkStatus();
  }

 private:
  // As much as has come begins like RTSP.
  absl::Status CheckBegin() const {
    const size_t size = std::min(pending_.size(), kProtocol.size());
    if (pending_.compare(0, size, kProtocol.data(), size) == 0) {
      return absl::OkStatus();
    }
    return NoRtsp(pending_);
  }

  // `RTSP/1.0 200 OK`, then `Name: value` (RFC 2326 §7).
  static absl::StatusOr<Reply> Parse(absl::string_view head) {
    Reply reply;
    bool first = true;
    for (absl::string_view line : absl::StrSplit(head, "\r\n")) {
      if (std::exchange(first, false)) {
        const std::vector<absl::string_view> words =
            absl::StrSplit(line, absl::MaxSplits(' ', 2));
        if (words.size() < 2 || words[1].size() != 3 ||
            !absl::SimpleAtoi(words[1], &reply.status) || reply.status < 100) {
          return NoRtsp(head);
        }
        continue;
      }
      const std::pair<absl::string_view, absl::string_view> parts =
          absl::StrSplit(line, absl::MaxSplits(':', 1));
      reply.headers.emplace_back(
          absl::AsciiStrToLower(absl::StripAsciiWhitespace(parts.first)),
          std::string(absl::StripAsciiWhitespace(parts.second)));
    }
    return reply;
  }

  CameraConnection& connection_;
  const std::string uri_;
  const absl::Duration deadline_;
  int sequence_ = 0;
  std::string pending_;
};

// The first word of each WWW-Authenticate (RFC 7235 §4.1).
void AddSchemes(const Reply& reply, std::vector<std::string>* schemes) {
  if (reply.status != kUnauthorized) return;
  for (const auto& [name, value] : reply.headers) {
    if (name != "www-authenticate") continue;
    const absl::string_view word = *absl::StrSplit(value, ' ').begin();
    std::string scheme = absl::AsciiStrToLower(Shown(word.substr(0, 16)));
    if (std::find(schemes->begin(), schemes->end(), scheme) == schemes->end()) {
      schemes->push_back(std::move(scheme));
    }
  }
}

}  // namespace

absl::StatusOr<RtspGreeting> GreetRtspServer(CameraConnection& connection,
                                             const CameraUrl& url,
                                             absl::Duration deadline) {
  Dialog dialog(connection, RequestUri(url), deadline);
  RtspGreeting greeting;
  CAMHERD_ASSIGN_OR_RETURN(const Reply options, dialog.Ask("OPTIONS", ""));
  greeting.options_status = options.status;
  greeting.server = Shown(options.Header("server"));
  greeting.methods = Shown(options.Header("public"));
  AddSchemes(options, &greeting.schemes);
  const absl::Status skipped = dialog.SkipBody(options);
  const absl::StatusOr<Reply> described =
      skipped.ok() ? dialog.Ask("DESCRIBE", "Accept: application/sdp\r\n")
                   : absl::StatusOr<Reply>(skipped);
  // Some close after an answer of 401 and want to be called again.
  if (absl::IsUnavailable(described.status())) return greeting;
  CAMHERD_RETURN_IF_ERROR(described.status());
  greeting.describe_status = described->status;
  if (greeting.server.empty()) {
    greeting.server = Shown(described->Header("server"));
  }
  AddSchemes(*described, &greeting.schemes);
  return greeting;
}

}  // namespace camherd::capture
