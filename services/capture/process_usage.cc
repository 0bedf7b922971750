// SPDX-License-Identifier: Apache-2.0
#include "services/capture/process_usage.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

constexpr size_t kMaxProcFile = 1 << 16;
// Where version 2 is mounted, alone or beside version 1.
constexpr const char* kCgroupRoots[] = {"/sys/fs/cgroup",
                                        "/sys/fs/cgroup/unified"};
// Of /proc/<pid>/stat after the name, which may hold blanks and brackets:
// utime and stime; of /proc/<pid>/statm: data and stack.
constexpr size_t kUserTime = 11;
constexpr size_t kSystemTime = 12;
constexpr size_t kData = 5;

// This process's cgroup of version 2, "/" at worst.
std::string OwnCgroup() {
  const absl::StatusOr<std::string> text =
      ReadFile("/proc/self/cgroup", kMaxProcFile);
  if (!text.ok()) return "/";
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (absl::ConsumePrefix(&line, "0::")) return std::string(line);
  }
  return "/";
}

// What `file` says from the cgroup up to the root.
void ForEachLevel(const std::string& root, absl::string_view cgroup,
                  absl::string_view file,
                  absl::FunctionRef<void(absl::string_view)> on_text) {
  while (true) {
    const absl::StatusOr<std::string> text =
        ReadFile(absl::StrCat(root, cgroup, "/", file), kMaxProcFile);
    if (text.ok()) on_text(absl::StripAsciiWhitespace(*text));
    if (cgroup.empty() || cgroup == "/") return;
    cgroup = cgroup.substr(0, cgroup.rfind('/'));
  }
}

}  // namespace

absl::StatusOr<ProcessUsage> ReadProcessUsage(pid_t pid) {
  const std::string folder = absl::StrCat("/proc/", pid);
  CAMHERD_ASSIGN_OR_RETURN(
      const std::string stat,
      ReadFile(absl::StrCat(folder, "/stat"), kMaxProcFile));
  CAMHERD_ASSIGN_OR_RETURN(
      const std::string statm,
      ReadFile(absl::StrCat(folder, "/statm"), kMaxProcFile));
  const std::vector<absl::string_view> times =
      absl::StrSplit(absl::string_view(stat).substr(stat.rfind(')') + 1), ' ',
                     absl::SkipEmpty());
  const std::vector<absl::string_view> pages =
      absl::StrSplit(statm, ' ', absl::SkipEmpty());
  int64_t user = 0;
  int64_t system = 0;
  int64_t data = 0;
  if (times.size() <= kSystemTime || pages.size() <= kData ||
      !absl::SimpleAtoi(times[kUserTime], &user) ||
      !absl::SimpleAtoi(times[kSystemTime], &system) ||
      !absl::SimpleAtoi(pages[kData], &data)) {
    return absl::InternalError(absl::StrCat(folder, " reads otherwise"));
  }
  return ProcessUsage{static_cast<double>(user + system) / sysconf(_SC_CLK_TCK),
                      data * sysconf(_SC_PAGESIZE)};
}

double CgroupCores(const std::string& root, const std::string& cgroup) {
  double cores = 0;
  ForEachLevel(root, cgroup, "cpu.max", [&](absl::string_view text) {
    // "max 100000", or microseconds in each period of so many.
    const std::vector<absl::string_view> fields = absl::StrSplit(text, ' ');
    double quota = 0;
    double period = 0;
    if (fields.size() != 2 || !absl::SimpleAtod(fields[0], &quota) ||
        !absl::SimpleAtod(fields[1], &period) || quota <= 0 || period <= 0) {
      return;
    }
    cores = cores == 0 ? quota / period : std::min(cores, quota / period);
  });
  return cores;
}

double UsableCores() {
  double cores = std::max(1U, std::thread::hardware_concurrency());
  cpu_set_t affinity;
  if (sched_getaffinity(0, sizeof(affinity), &affinity) == 0) {
    cores = std::max(1, CPU_COUNT(&affinity));
  }
  for (const char* root : kCgroupRoots) {
    const double quota = CgroupCores(root, OwnCgroup());
    if (quota > 0) cores = std::min(cores, quota);
  }
  return cores;
}

int64_t UsableMemory() {
  int64_t memory =
      sysconf(_SC_PHYS_PAGES) * static_cast<int64_t>(sysconf(_SC_PAGESIZE));
  for (const char* root : kCgroupRoots) {
    ForEachLevel(root, OwnCgroup(), "memory.max", [&](absl::string_view text) {
      int64_t limit = 0;
      if (absl::SimpleAtoi(text, &limit)) memory = std::min(memory, limit);
    });
  }
  return memory;
}

}  // namespace camherd::capture
