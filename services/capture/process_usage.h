// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

// What processes use and may use, from /proc and the cgroup.
namespace camherd::capture {

struct ProcessUsage {
  // User and system time since its start.
  double cpu_seconds = 0;
  // Private memory that it may write to, touched or not: what RLIMIT_DATA
  // counts.
  int64_t memory_bytes = 0;
};

// kNotFound: there is no such process any more. One that has ended and is not
// reaped yet has its CPU time.
absl::StatusOr<ProcessUsage> ReadProcessUsage(pid_t pid);

// Cores that this process may use: by its affinity, and by the quotas of its
// cgroup (version 2) and of those above.
double UsableCores();

// Bytes of memory that it may use: the machine's, or its cgroup's limit.
int64_t UsableMemory();

// The smallest quota from `cgroup` (as in "/user.slice") up to `root`, in
// cores; 0: none.
double CgroupCores(const std::string& root, const std::string& cgroup);

}  // namespace camherd::capture
