// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace camherd {

// The section of one service in the configuration. A service asks for each of
// its keys once, with default and range, then calls Finish(): the first bad
// value, and any key of the section that was not asked for, is an error that
// names key, value and line.
//
// Not thread-safe.
class ConfigSection {
 public:
  // One key's value as it was written.
  struct Value {
    std::vector<std::string> items;  // One for a scalar, none for null.
    bool is_list = false;
    std::string where;  // "camherd.yaml:12" or "$CAMHERD_CAPTURE_X".
  };

  // By YamlConfig::Section.
  ConfigSection(absl::string_view name, std::map<std::string, Value> values)
      : name_(name), values_(std::move(values)) {}

  std::string String(absl::string_view key, absl::string_view fallback);
  bool Bool(absl::string_view key, bool fallback);
  int64_t Int(absl::string_view key, int64_t fallback, int64_t min,
              int64_t max);
  double Double(absl::string_view key, double fallback, double min, double max);
  // A number of seconds.
  absl::Duration Seconds(absl::string_view key, double fallback, double min,
                         double max);
  // A number of bytes; suffixes KiB, MiB, GiB, TiB are taken.
  int64_t Bytes(absl::string_view key, int64_t fallback, int64_t min,
                int64_t max);
  std::vector<std::string> List(absl::string_view key,
                                const std::vector<std::string>& fallback);
  // One of `choices`.
  std::string Choice(absl::string_view key, absl::string_view fallback,
                     const std::vector<std::string>& choices);

  // Adds an error of the service's own about `key`; the first error wins.
  void Fail(absl::string_view key, absl::string_view message);

  // The first error, or kInvalidArgument for keys nobody asked for.
  absl::Status Finish();

  // The effective values in order of asking, "key=value", for the start log;
  // keys that hold secrets (token, password) are masked.
  const std::vector<std::string>& effective() const { return effective_; }

 private:
  const Value* Find(absl::string_view key);
  void Note(absl::string_view key, absl::string_view value);

  std::string name_;
  std::map<std::string, Value> values_;
  std::map<std::string, bool> asked_;
  std::vector<std::string> effective_;
  absl::Status status_;
};

}  // namespace camherd
