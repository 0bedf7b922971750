// SPDX-License-Identifier: Apache-2.0
#include "services/common/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <cstdlib>
#include <memory>

#include "absl/time/time.h"
#include "services/common/camera_url.h"
#include "services/common/clock.h"
#include "services/common/json_line.h"
#include "services/common/time_proto.h"
#include "services/common/trace_scope.h"

namespace camherd {
namespace {

// The process's logging. `service` and `format` are set by InitLog before
// threads start; the logger itself is thread-safe.
struct State {
  State() {
    logger = std::make_unique<spdlog::logger>(
        "camherd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_pattern("%v");
    logger->flush_on(spdlog::level::trace);
  }
  std::unique_ptr<spdlog::logger> logger;
  std::string service = "-";
  LogFormat format = LogFormat::kText;
};

State& GetState() {
  static State& state = *new State;  // Never destroyed: threads may still log.
  return state;
}

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

bool NeedsQuotes(absl::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u >= 0x7f || c == '"' || c == '\\' || c == '=') {
      return true;
    }
  }
  return false;
}

void AppendText(absl::string_view key, absl::string_view value,
                std::string& line) {
  absl::StrAppend(&line, " ", key, "=");
  if (!NeedsQuotes(value)) {
    absl::StrAppend(&line, value);
    return;
  }
  line.push_back('"');
  AppendJsonEscaped(value, line);
  line.push_back('"');
}

void AppendJson(absl::string_view key, absl::string_view value,
                std::string& line) {
  line += line.size() > 1 ? ",\"" : "\"";
  AppendJsonEscaped(key, line);
  line += "\":\"";
  AppendJsonEscaped(value, line);
  line.push_back('"');
}

void Log(LogLevel level, absl::string_view level_name,
         absl::string_view message, const LogFields& fields) {
  State& state = GetState();
  const spdlog::level::level_enum spdlog_level = SpdlogLevel(level);
  if (!state.logger->should_log(spdlog_level)) return;
  const std::string time = FormatRfc3339(Clock::Real().Now());
  const TraceContext* const trace = TraceScope::Current();
  std::string line;
  if (state.format == LogFormat::kJson) {
    line = "{";
    AppendJson("time", time, line);
    AppendJson("level", level_name, line);
    AppendJson("service", state.service, line);
    AppendJson("msg", MaskSecrets(message), line);
    for (const LogField& field : fields) {
      AppendJson(field.key, MaskSecrets(field.value), line);
    }
    if (trace != nullptr) AppendJson("trace_id", trace->trace_id, line);
    line += "}";
  } else {
    line = absl::StrCat(time, " ", level_name, " ", state.service);
    AppendText("msg", MaskSecrets(message), line);
    for (const LogField& field : fields) {
      AppendText(field.key, MaskSecrets(field.value), line);
    }
    if (trace != nullptr) AppendText("trace_id", trace->trace_id, line);
  }
  state.logger->log(spdlog_level,
                    spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

void InitLog(absl::string_view service, LogLevel level, LogFormat format) {
  State& state = GetState();
  state.service = std::string(service);
  state.format = format;
  state.logger->set_level(SpdlogLevel(level));
}

absl::Status SetLogLevel(absl::string_view name) {
  LogLevel level;
  if (name == "debug") {
    level = LogLevel::kDebug;
  } else if (name == "info") {
    level = LogLevel::kInfo;
  } else if (name == "warning") {
    level = LogLevel::kWarning;
  } else if (name == "error") {
    level = LogLevel::kError;
  } else {
    std::string escaped;
    AppendJsonEscaped(name.substr(0, 100), escaped);
    return absl::InvalidArgumentError(absl::StrCat(
        "log_level must be one of [debug, info, warning, error], got \"",
        escaped, "\""));
  }
  GetState().logger->set_level(SpdlogLevel(level));
  return absl::OkStatus();
}

void LogDebug(absl::string_view message, const LogFields& fields) {
  Log(LogLevel::kDebug, "DEBUG", message, fields);
}

void LogInfo(absl::string_view message, const LogFields& fields) {
  Log(LogLevel::kInfo, "INFO", message, fields);
}

void LogWarning(absl::string_view message, const LogFields& fields) {
  Log(LogLevel::kWarning, "WARNING", message, fields);
}

void LogError(absl::string_view message, const LogFields& fields) {
  Log(LogLevel::kError, "ERROR", message, fields);
}

void LogFatal(absl::string_view message, const LogFields& fields) {
  Log(LogLevel::kError, "FATAL", message, fields);
  std::abort();
}

}  // namespace camherd
