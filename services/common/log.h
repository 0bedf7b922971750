// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// Structured log lines on standard error: a fixed message and key=value
// fields.
//
//   LogInfo("stream lost", {{"stream", id}, {"code", "UNAVAILABLE"}});
//   2026-08-01T10:15:00.123Z INFO capture msg="stream lost" stream=gate-3
//     code=UNAVAILABLE
//
// Values are quoted where they hold spaces or quotes, and control characters
// are escaped, so one event is always one line. As the last net (the first is
// the type CameraUrl), user info of anything that looks like a URL is masked.
//
// Thread-safe.
namespace camherd {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// One field. The value is anything absl::StrCat takes.
struct LogField {
  template <typename T>
  LogField(absl::string_view k, const T& v) : key(k), value(absl::StrCat(v)) {}
  LogField(absl::string_view k, bool v) : key(k), value(v ? "true" : "false") {}
  LogField(absl::string_view k, const absl::Status& v)
      : key(k), value(v.ToString()) {}
  absl::string_view key;
  std::string value;
};
using LogFields = std::vector<LogField>;

// Sets up the process's logging; called once, first thing in main.
void InitLog(absl::string_view service, LogLevel level = LogLevel::kInfo,
             LogFormat format = LogFormat::kText);

// Returns kInvalidArgument for anything but debug, info, warning, error.
absl::Status SetLogLevel(absl::string_view name);

void LogDebug(absl::string_view message, const LogFields& fields = {});
void LogInfo(absl::string_view message, const LogFields& fields = {});
void LogWarning(absl::string_view message, const LogFields& fields = {});
void LogError(absl::string_view message, const LogFields& fields = {});

// Logs the broken invariant and aborts.
[[noreturn]] void LogFatal(absl::string_view message,
                           const LogFields& fields = {});

}  // namespace camherd
