// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace camherd {

// A flag that can be waited for with poll(): readable once set, for ever.
//
// Thread-safe.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  void Set();
  bool IsSet() const;
  // For poll(); belongs to this object.
  int fd() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace camherd
