#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace camherd {

// Reads the section of one service from camherd.yaml. A service asks for each
// of its keys once, with default and range, then calls Finish(): the first bad
// value, and any key of the section that was not asked for, is an error that
// names key, value and line.
//
//   CAMHERD_ASSIGN_OR_RETURN(YamlConfig config, YamlConfig::Load(path, env));
//   ConfigSection section = config.Section("capture");
//   options.interval = section.Seconds("interval_seconds", 3, 0.1, 86400);
//   CAMHERD_RETURN_IF_ERROR(section.Finish());
//
// `CAMHERD_<SECTION>_<KEY>` in the environment overrides a key (two levels;
// lists by comma). An environment variable of a known section with an unknown
// key is an error too. CAMHERD_DATA_DIR and CAMHERD_WEIGHTS_DIR are reserved
// names and no overrides.
//
// Not thread-safe.
class ConfigSection;

class YamlConfig {
 public:
  using Environment = std::map<std::string, std::string>;

  // `path` empty: defaults and environment only. kInvalidArgument with path
  // and line: not YAML, not a map of maps, a key twice, a section that is not
  // one of Sections(). kNotFound: no such file.
  static absl::StatusOr<YamlConfig> Load(const std::string& path,
                                         const Environment& environment);

  // The process's environment.
  static Environment ProcessEnvironment();

  // "common", "capture", "inference", "aggregator", "gateway".
  static const std::vector<std::string>& Sections();

  // REQUIRES: `name` is one of Sections().
  ConfigSection Section(absl::string_view name) const;

  // The environment it was loaded with.
  const Environment& environment() const { return environment_; }

 private:
  friend class ConfigSection;
  struct Value {
    std::vector<std::string> items;  // One for a scalar.
    bool is_list = false;
    std::string where;  // "camherd.yaml:12" or "$CAMHERD_CAPTURE_X".
  };

  std::string path_;
  Environment environment_;
  std::map<std::string, std::map<std::string, Value>> sections_;
};

class ConfigSection {
 public:
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
  friend class YamlConfig;
  const YamlConfig::Value* Find(absl::string_view key);
  void Note(absl::string_view key, absl::string_view value);

  std::string name_;
  std::map<std::string, YamlConfig::Value> values_;
  std::map<std::string, bool> asked_;
  std::vector<std::string> effective_;
  absl::Status status_;
};

}  // namespace camherd
