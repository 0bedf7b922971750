// SPDX-License-Identifier: Apache-2.0
#include "services/inference/model_manifest.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/camera_url.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"
#include "services/common/utf8.h"

namespace camherd::inference {
namespace {

constexpr size_t kMaxManifestBytes = 1 << 20;
constexpr size_t kMaxClasses = 10000;

bool Contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// Reads the keys of one YAML map; the first error wins and names its line.
class MapReader {
 public:
  MapReader(const YAML::Node& node, std::string file, std::string prefix,
            absl::Status* status)
      : node_(node),
        file_(std::move(file)),
        prefix_(std::move(prefix)),
        status_(status) {
    if (!node_.IsMap()) {
      Fail(node_, absl::StrCat(prefix_.empty() ? "the file" : prefix_,
                               " must be a map"));
      return;
    }
    std::set<std::string> seen;
    for (const auto& entry : node_) {
      if (!entry.first.IsScalar() ||
          !seen.insert(entry.first.Scalar()).second) {
        Fail(entry.first, absl::StrCat("key \"", KeyOf(entry.first),
                                       "\" comes twice or is no word"));
      }
    }
  }

  bool Has(const char* key) {
    asked_.insert(key);
    return node_.IsMap() && node_[key].IsDefined();
  }

  YAML::Node Get(const char* key) {
    return Has(key) ? node_[key] : YAML::Node(YAML::NodeType::Undefined);
  }

  std::string String(const char* key, const std::string& fallback) {
    if (!Has(key)) return fallback;
    const YAML::Node value = node_[key];
    if (!value.IsScalar()) {
      Fail(value, absl::StrCat(prefix_, key, " must be one value"));
      return fallback;
    }
    return value.Scalar();
  }

  std::string Choice(const char* key, const std::string& fallback,
                     const std::vector<std::string>& choices) {
    const std::string value = String(key, fallback);
    if (Has(key) && !Contains(choices, value)) {
      Fail(node_[key], absl::StrCat(prefix_, key, " must be one of [",
                                    absl::StrJoin(choices, ", "), "], got \"",
                                    absl::CHexEscape(value), "\""));
    }
    return value;
  }

  double Number(const char* key, double fallback, double min, double max) {
    if (!Has(key)) return fallback;
    const std::string text = String(key, "");
    double value = 0;
    if (!absl::SimpleAtod(text, &value) || !std::isfinite(value) ||
        value < min || value > max) {
      Fail(node_[key],
           absl::StrCat(prefix_, key, " must be in [", min, ", ", max,
                        "], got \"", absl::CHexEscape(text), "\""));
      return fallback;
    }
    return value;
  }

  int Integer(const char* key, int fallback, int min, int max) {
    const double value = Number(key, fallback, min, max);
    if (value != std::floor(value)) {
      Fail(node_[key],
           absl::StrCat(prefix_, key, " must be a whole number, got ", value));
    }
    return static_cast<int>(value);
  }

  // A number with an optional suffix MiB or GiB.
  int64_t Bytes(const char* key) {
    if (!Has(key)) return 0;
    std::string text = String(key, "");
    double unit = 1;
    const std::string whole = text;
    for (const auto& [suffix, factor] :
         {std::pair<absl::string_view, double>{"MiB", 1 << 20},
          {"GiB", 1 << 30}}) {
      if (text.size() > suffix.size() &&
          absl::string_view(text).substr(text.size() - suffix.size()) ==
              suffix) {
        unit = factor;
        text.resize(text.size() - suffix.size());
        break;
      }
    }
    double value = 0;
    if (!absl::SimpleAtod(text, &value) || !(value >= 0) ||
        value * unit > 1e15) {
      Fail(node_[key],
           absl::StrCat(prefix_, key, " must be a number of bytes, got \"",
                        absl::CHexEscape(whole), "\""));
      return 0;
    }
    return static_cast<int64_t>(value * unit);
  }

  // A list of distinct, non-empty strings.
  std::vector<std::string> List(const char* key) {
    std::vector<std::string> items;
    if (!Has(key)) return items;
    const YAML::Node list = node_[key];
    if (!list.IsSequence() || list.size() > kMaxClasses) {
      Fail(list, absl::StrCat(prefix_, key, " must be a list"));
      return items;
    }
    for (const YAML::Node& item : list) {
      if (!item.IsScalar() || item.Scalar().empty() ||
          item.Scalar().size() > 200 || Contains(items, item.Scalar())) {
        Fail(item, absl::StrCat(prefix_, key,
                                " must hold different, non-empty words"));
        return items;
      }
      items.push_back(item.Scalar());
    }
    return items;
  }

  void Fail(const YAML::Node& node, const std::string& message) {
    if (!status_->ok()) return;
    *status_ = absl::InvalidArgumentError(
        absl::StrCat(file_, ":", node.Mark().line + 1, ": ", message));
  }

  // Fails at `key`, or at the map where the key is absent.
  void FailAt(const char* key, const std::string& message) {
    Fail(Has(key) ? node_[key] : node_, absl::StrCat(prefix_, key, message));
  }

  // Refuses every key nobody asked for.
  void Finish() {
    if (!node_.IsMap()) return;
    for (const auto& entry : node_) {
      if (asked_.count(KeyOf(entry.first)) == 0) {
        Fail(entry.first,
             absl::StrCat("unknown key \"", prefix_,
                          absl::CHexEscape(KeyOf(entry.first)),
                          "\"; known are [", absl::StrJoin(asked_, ", "), "]"));
      }
    }
  }

 private:
  static std::string KeyOf(const YAML::Node& key) {
    return key.IsScalar() ? key.Scalar() : std::string();
  }

  const YAML::Node node_;
  const std::string file_;
  const std::string prefix_;
  absl::Status* const status_;
  std::set<std::string> asked_;
};

WeightsEntry ReadWeights(const YAML::Node& node, const std::string& file,
                         absl::Status* status) {
  MapReader map(node, file, "weights.", status);
  WeightsEntry entry;
  entry.file = map.String("file", "");
  if (!IsValidId(entry.file)) {
    map.FailAt("file",
               absl::StrCat(" must be a file name without folders, ", "got \"",
                            absl::CHexEscape(entry.file), "\""));
  }
  entry.url = map.String("url", "");
  if (!entry.url.empty() && entry.url.rfind("https://", 0) != 0) {
    map.FailAt("url", absl::StrCat(" must begin with https://, got \"",
                                   absl::CHexEscape(entry.url), "\""));
  }
  entry.sha256 = map.String("sha256", "");
  if (!entry.sha256.empty() &&
      (entry.sha256.size() != 64 ||
       !std::all_of(entry.sha256.begin(), entry.sha256.end(), [](char c) {
         return absl::ascii_isxdigit(c) && !absl::ascii_isupper(c);
       }))) {
    map.FailAt("sha256", absl::StrCat(" must be 64 lower-case hexadecimal ",
                                      "digits, got \"",
                                      absl::CHexEscape(entry.sha256), "\""));
  }
  entry.licence = map.String("licence", "");
  entry.int8 = map.Choice("precision", "", {"int8"}) == "int8";
  entry.engines = map.List("engines");
  for (const std::string& engine : entry.engines) {
    if (!Contains(KnownEngines(), engine)) {
      map.FailAt(
          "engines",
          absl::StrCat(" must be of [", absl::StrJoin(KnownEngines(), ", "),
                       "], got \"", absl::CHexEscape(engine), "\""));
    }
  }
  map.Finish();
  return entry;
}

void ReadInput(const YAML::Node& node, const std::string& file,
               InputSpec* input, absl::Status* status) {
  MapReader map(node, file, "input.", status);
  input->width = map.Integer("width", input->width, 16, 8192);
  input->height = map.Integer("height", input->height, 16, 8192);
  input->color = map.Choice("color", input->color, {"rgb", "bgr"});
  input->scale = map.Number("scale", input->scale, 1e-6, 1e6);
  input->letterbox =
      map.Choice("letterbox", input->letterbox, {"center", "top_left"});
  input->pad = map.Integer("pad", input->pad, 0, 255);
  input->shape = map.Choice("shape", input->shape, {"auto", "square"});
  map.Finish();
}

// A key of a record: an id that is not one of the record's own.
void CheckKey(MapReader& map, const char* key, const std::string& value) {
  if (!IsValidId(value) || value == "basic" || value == "meta") {
    map.FailAt(key, absl::StrCat(" must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
                                 " and not be basic or meta, got \"",
                                 absl::CHexEscape(value), "\""));
  }
}

void CheckSubset(MapReader& map, const char* key,
                 const std::vector<std::string>& items,
                 const std::vector<std::string>& all, const char* of) {
  for (const std::string& item : items) {
    if (!Contains(all, item)) {
      map.FailAt(key, absl::StrCat(" names \"", absl::CHexEscape(item),
                                   "\", which is not one of ", of));
    }
  }
}

ModelManifest Read(const YAML::Node& root, const std::string& file,
                   absl::Status* status) {
  ModelManifest manifest;
  MapReader map(root, file, "", status);
  manifest.description = map.String("description", "");
  manifest.engines = map.List("engines");
  if (manifest.engines.empty()) {
    map.FailAt("engines", " must name at least one engine");
  }
  CheckSubset(
      map, "engines", manifest.engines, KnownEngines(),
      absl::StrCat("[", absl::StrJoin(KnownEngines(), ", "), "]").c_str());
  if (map.Has("weights")) {
    const YAML::Node list = map.Get("weights");
    if (!list.IsSequence()) {
      map.FailAt("weights", " must be a list of maps");
    } else {
      for (const YAML::Node& node : list) {
        manifest.weights.push_back(ReadWeights(node, file, status));
      }
    }
  }
  if (map.Has("input")) {
    ReadInput(map.Get("input"), file, &manifest.input, status);
  }
  manifest.output = map.Choice("output", "", {"yolov8", "yolox"});
  manifest.class_names = map.List("class_names");
  manifest.classes = map.List("classes");
  if (manifest.classes.empty()) {
    map.FailAt("classes", " must name at least one class");
  }
  if (!manifest.class_names.empty()) {
    CheckSubset(map, "classes", manifest.classes, manifest.class_names,
                "class_names");
  }
  manifest.complaint_classes = map.Has("complaint_classes")
                                   ? map.List("complaint_classes")
                                   : manifest.classes;
  CheckSubset(map, "complaint_classes", manifest.complaint_classes,
              manifest.classes, "classes");
  if (map.Has("precisions")) {
    manifest.precisions = map.List("precisions");
    CheckSubset(map, "precisions", manifest.precisions, {"bf16", "f32"},
                "[bf16, f32]");
    if (manifest.precisions.empty()) {
      map.FailAt("precisions", " must name at least one precision");
    }
  }
  manifest.min_score = map.Number("min_score", manifest.min_score, 0, 1);
  manifest.nms_iou = map.Number("nms_iou", manifest.nms_iou, 0, 1);
  manifest.section = map.String("section", "");
  CheckKey(map, "section", manifest.section);
  manifest.complaint_type = map.String("complaint_type", manifest.section);
  CheckKey(map, "complaint_type", manifest.complaint_type);
  if (map.Has("environment")) {
    MapReader environment(map.Get("environment"), file, "environment.", status);
    manifest.environment_disk_bytes = environment.Bytes("disk_bytes");
    environment.Finish();
  }
  map.Finish();
  return manifest;
}

}  // namespace

const std::vector<std::string>& KnownEngines() {
  static const auto& engines = *new std::vector<std::string>{
      "openvino", "onnxruntime", "venv", "hog", "kserve"};
  return engines;
}

std::string ModelManifest::requirements_path() const {
  return absl::StrCat(dir, "/requirements_", name, ".txt");
}

std::string ModelManifest::runner_path() const {
  return absl::StrCat(dir, "/run_inference.py");
}

absl::StatusOr<ModelManifest> ModelManifest::Load(const std::string& dir) {
  const std::filesystem::path folder =
      std::filesystem::absolute(dir).lexically_normal();
  const std::string name = folder.filename().string();
  CAMHERD_RETURN_IF_ERROR(CheckId("model folder", name));
  const std::string file = (folder / "model.yaml").string();
  CAMHERD_ASSIGN_OR_RETURN(const std::string text,
                           ReadFile(file, kMaxManifestBytes));
  if (!IsUtf8(text)) {
    return absl::InvalidArgumentError(absl::StrCat(file, " must be UTF-8"));
  }
  try {
    absl::Status status;
    ModelManifest manifest = Read(YAML::Load(text), file, &status);
    CAMHERD_RETURN_IF_ERROR(status);
    manifest.name = name;
    manifest.dir = folder.string();
    return manifest;
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ":", error.mark.line + 1, ": ", error.msg));
  }
}

}  // namespace camherd::inference
