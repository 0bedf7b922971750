// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace camherd::inference {

// A file of weights as the manifest names it.
struct WeightsEntry {
  // Name without folders.
  std::string file;
  // Where its publisher has it; for people, and for fetching where `sha256`
  // is known.
  std::string url;
  // Hexadecimal, lower-case; computed from the publisher's file, else empty:
  // it binds what is downloaded, never a local file.
  std::string sha256;
  std::string licence;
  // Engines that can load it; empty: all of the manifest's.
  std::vector<std::string> engines;
  // It is taken only where int8 is asked for.
  bool int8 = false;
};

// How a picture becomes the network's input.
struct InputSpec {
  int width = 640;
  int height = 640;
  // "rgb" or "bgr".
  std::string color = "rgb";
  // Pixel values 0..255 are divided by it.
  double scale = 255;
  // "center" or "top_left": where the picture lies in the padded input.
  std::string letterbox = "center";
  // Value of the padding, 0..255.
  int pad = 114;
  // "auto": the least input for a picture's shape, where the network leaves
  // height and width free; "square": always `width` x `height`.
  std::string shape = "auto";
};

// What models/<name>/model.yaml says. Read once, then constant.
struct ModelManifest {
  // Name of the folder, and its absolute path.
  std::string name;
  std::string dir;

  std::string description;
  // In order of preference.
  std::vector<std::string> engines;
  // In order of preference; none for engines that need none.
  std::vector<WeightsEntry> weights;
  InputSpec input;
  // Layout of the network's output: "yolov8" or "yolox"; empty where the
  // engine answers boxes.
  std::string output;
  // All classes in the order of the network's output; empty: `classes`.
  std::vector<std::string> class_names;
  // Classes that are kept.
  std::vector<std::string> classes;
  // Classes that make a complaint; all of `classes` unless said.
  std::vector<std::string> complaint_classes;
  // Precisions whose mAP is good enough, in order of preference, for engines
  // that can choose: "bf16", "f32".
  std::vector<std::string> precisions = {"f32"};
  double min_score = 0.25;
  double nms_iou = 0.7;
  // Key of the record section and under complaint_type.
  std::string section;
  std::string complaint_type;
  // Room the virtual environment takes, bytes; 0: not known.
  int64_t environment_disk_bytes = 0;

  std::string requirements_path() const;
  std::string runner_path() const;

  // Reads `dir`/model.yaml. kInvalidArgument, naming file, line, key and
  // value: not YAML, a key that is not known or comes twice, a bad value.
  // kNotFound: no such file.
  static absl::StatusOr<ModelManifest> Load(const std::string& dir);
};

// Engines a manifest may name; not all of them are built.
const std::vector<std::string>& KnownEngines();

}  // namespace camherd::inference
