// SPDX-License-Identifier: Apache-2.0
#include "services/common/trace_context.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/file.h"
#include "services/common/log.h"

namespace camherd {
namespace {

constexpr size_t kTraceDigits = 32;
constexpr size_t kSpanDigits = 16;
constexpr size_t kLength = 2 + 1 + kTraceDigits + 1 + kSpanDigits + 1 + 2;

bool IsHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
}

bool IsId(absl::string_view text) {
  return IsHex(text) && text.find_first_not_of('0') != absl::string_view::npos;
}

std::string RandomId(size_t digits) {
  std::string bytes(digits / 2, '\0');
  std::string id;
  do {
    while (getrandom(bytes.data(), bytes.size(), 0) !=
           static_cast<ssize_t>(bytes.size())) {
      if (errno != EINTR) LogFatal("the system gives no random numbers");
    }
    id = absl::BytesToHexString(bytes);
  } while (!IsId(id));
  return id;
}

}  // namespace

std::optional<TraceContext> TraceContext::Parse(absl::string_view header) {
  if (header.size() < kLength || header[2] != '-' ||
      header[3 + kTraceDigits] != '-' ||
      header[4 + kTraceDigits + kSpanDigits] != '-') {
    return std::nullopt;
  }
  const absl::string_view version = header.substr(0, 2);
  const absl::string_view trace = header.substr(3, kTraceDigits);
  const absl::string_view span = header.substr(4 + kTraceDigits, kSpanDigits);
  const absl::string_view flags = header.substr(kLength - 2, 2);
  if (!IsHex(version) || version == "ff" || !IsId(trace) || !IsId(span) ||
      !IsHex(flags)) {
    return std::nullopt;
  }
  if (header.size() > kLength && (version == "00" || header[kLength] != '-')) {
    return std::nullopt;
  }
  TraceContext context;
  context.trace_id = std::string(trace);
  context.span_id = std::string(span);
  const char last = flags[1];
  const int digit = last <= '9' ? last - '0' : last - 'a' + 10;
  context.sampled = (digit & 1) != 0;
  return context;
}

TraceContext TraceContext::New() {
  TraceContext context;
  context.trace_id = RandomId(kTraceDigits);
  return context.Child();
}

TraceContext TraceContext::OfBatch(absl::string_view session_id,
                                   int64_t batch_seq) {
  const std::string name = Sha256Hex(absl::StrCat(session_id, "/", batch_seq));
  TraceContext context;
  context.trace_id = name.substr(0, kTraceDigits);
  context.span_id = name.substr(kTraceDigits, kSpanDigits);
  return context;
}

TraceContext TraceContext::Child() const {
  TraceContext context = *this;
  context.span_id = RandomId(kSpanDigits);
  return context;
}

std::string TraceContext::ToHeader() const {
  return absl::StrCat("00-", trace_id, "-", span_id, sampled ? "-01" : "-00");
}

}  // namespace camherd
