// SPDX-License-Identifier: Apache-2.0
#include "services/common/audit_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/common/camera_url.h"
#include "services/common/file.h"
#include "services/common/json_line.h"
#include "services/common/log.h"
#include "services/common/time_proto.h"

namespace camherd {
namespace {

// Of one value: a line stays short enough to be written at once.
constexpr size_t kMaxValueBytes = 256;

std::string Shown(const std::string& value) {
  return MaskSecrets(absl::string_view(value).substr(0, kMaxValueBytes));
}

}  // namespace

AuditLog::~AuditLog() {
  absl::MutexLock lock(&mu_);
  if (fd_ >= 0) close(fd_);
}

void AuditLog::Write(const Entry& entry) {
  const std::vector<std::pair<const char*, std::string>> values = {
      {"time", FormatRfc3339(clock_.Now())}, {"service", options_.service},
      {"method", Shown(entry.method)},       {"caller", Shown(entry.caller)},
      {"role", Shown(entry.role)},           {"address", Shown(entry.address)},
      {"agent", Shown(entry.agent)},         {"target", Shown(entry.target)},
      {"camera_id", Shown(entry.camera_id)}, {"fields", Shown(entry.fields)},
      {"result", Shown(entry.result)}};
  std::string line;
  for (const auto& [key, value] : values) {
    absl::StrAppend(&line, line.empty() ? "{\"" : ",\"", key, "\":\"");
    AppendJsonEscaped(value, line);
    line.push_back('"');
  }
  line += "}\n";
  absl::Status status;
  {
    absl::MutexLock lock(&mu_);
    status = Append(line);
  }
  if (options_.counted) options_.counted(status.ok());
  if (status.ok()) return;
  LogFields fields = {{"error", status}};
  for (const auto& [key, value] : values) {
    if (key != absl::string_view("time") && key != absl::string_view("service"))
      fields.push_back({key, value});
  }
  LogError("an audit line was not written", fields);
}

absl::Status AuditLog::Open() {
  struct stat named = {};
  struct stat open_one = {};
  if (fd_ >= 0 && fstat(fd_, &open_one) == 0 &&
      stat(options_.path.c_str(), &named) == 0 &&
      named.st_ino == open_one.st_ino && named.st_dev == open_one.st_dev) {
    return absl::OkStatus();
  }
  if (fd_ >= 0) close(fd_);
  fd_ = open(options_.path.c_str(),
             O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
  if (fd_ < 0) return ErrnoStatus(errno, "open", options_.path);
  torn_ = false;
  return absl::OkStatus();
}

absl::Status AuditLog::Append(const std::string& line) {
  if (const absl::Status opened = Open(); !opened.ok()) return opened;
  // What was cut off by a full disk stays a line of its own.
  const std::string bytes = torn_ ? absl::StrCat("\n", line) : line;
  ssize_t written = 0;
  do {
    written = write(fd_, bytes.data(), bytes.size());
  } while (written < 0 && errno == EINTR);
  if (written < 0) return ErrnoStatus(errno, "write", options_.path);
  torn_ = static_cast<size_t>(written) < bytes.size();
  if (!torn_) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      options_.path, " took ", written, " of ", bytes.size(), " bytes"));
}

}  // namespace camherd
