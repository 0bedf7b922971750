// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/common/clock.h"

namespace camherd {

// The file that says who changed what. One JSON object a line, never rewritten:
//
//   {"time":"2026-08-01T10:15:00.123Z","service":"capture",
//    "method":"StopStream","caller":"alice","role":"operator",
//    "address":"192.0.2.7","agent":"","target":"CAM-001",
//    "camera_id":"CAM-001","fields":"","result":"OK"}
//
// (in one line). All values are strings, a secret is in none of them. The file
// is made with mode 0600 and opened with O_APPEND, so that several services
// share one; one that was renamed or removed is begun anew.
//
// A line that cannot be written stops no change: it goes into the log instead,
// and counts.
//
// Thread-safe.
class AuditLog {
 public:
  struct Options {
    std::string path = {};
    std::string service = {};
    // Called for each line: written, or not.
    std::function<void(bool written)> counted = nullptr;
  };

  struct Entry {
    std::string method = {};
    // Who made the change, as far as that is known.
    std::string caller = {};
    std::string role = {};
    std::string address = {};
    // The program that called, where nobody says on whose behalf.
    std::string agent = {};
    // What was to be changed, as the caller named it; the camera that it was.
    std::string target = {};
    std::string camera_id = {};
    // Names of what was given, without values.
    std::string fields = {};
    // A canonical code.
    std::string result = {};
  };

  AuditLog(const Options& options, Clock& clock)
      : options_(options), clock_(clock) {}
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  void Write(const Entry& entry);

 private:
  // Opens the file unless it is open and still the one of that name.
  absl::Status Open() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Append(const std::string& line)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  Clock& clock_;
  absl::Mutex mu_;
  int fd_ ABSL_GUARDED_BY(mu_) = -1;
  // The last write ended within a line.
  bool torn_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace camherd
