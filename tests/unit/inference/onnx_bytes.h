// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// ONNX files made byte by byte (onnx.proto3; the numbers are those of its
// fields), so that a test needs neither the onnx package nor its schema.
namespace camherd::inference::testing::onnx {

inline std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) {
    bytes.push_back(static_cast<char>(value | 0x80));
  }
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

// A field that is a number, and one that is a text or a message.
inline std::string Number(uint64_t field, uint64_t value) {
  return Varint(field << 3) + Varint(value);
}
inline std::string Bytes(uint64_t field, absl::string_view bytes) {
  return absl::StrCat(Varint(field << 3 | 2), Varint(bytes.size()), bytes);
}

using Entries = std::vector<std::pair<std::string, std::string>>;

// TensorProto.external_data and data_location.
inline std::string External(const Entries& entries) {
  std::string tensor;
  for (const auto& [key, value] : entries) {
    tensor += Bytes(13, Bytes(1, key) + Bytes(2, value));
  }
  return tensor + Number(14, 1);
}

// A TensorProto of floats; `data` is External or Bytes(9, ...).
inline std::string Tensor(std::initializer_list<uint64_t> dims,
                          absl::string_view name, const std::string& data) {
  std::string tensor;
  for (const uint64_t dim : dims) tensor += Number(1, dim);
  return absl::StrCat(tensor, Number(2, 1), Bytes(8, name), data);
}

// A ValueInfoProto of floats.
inline std::string Value(absl::string_view name,
                         std::initializer_list<uint64_t> dims) {
  std::string shape;
  for (const uint64_t dim : dims) shape += Bytes(1, Number(1, dim));
  return Bytes(1, name) + Bytes(2, Bytes(1, Number(1, 1) + Bytes(2, shape)));
}

// The GraphProto comes last.
inline std::string Model(const std::string& graph) {
  return Number(1, 8) + Bytes(8, Number(2, 13)) + Bytes(7, graph);
}

// A network that loads: its output is the mean of `input` plus `weights`, a
// Tensor of the name "weights". For 64x64 and one class a yolov8 output is
// [1, 5, 84].
inline std::string Network(const std::string& weights,
                           std::initializer_list<uint64_t> output,
                           std::initializer_list<uint64_t> input = {1, 3, 64,
                                                                    64}) {
  const std::string axes = Bytes(1, "axes") + Number(8, 1) + Number(8, 2) +
                           Number(8, 3) + Number(20, 7);
  const std::string keepdims =
      Bytes(1, "keepdims") + Number(3, 0) + Number(20, 2);
  const std::string mean = Bytes(1, "images") + Bytes(2, "mean") +
                           Bytes(4, "ReduceMean") + Bytes(5, axes) +
                           Bytes(5, keepdims);
  const std::string add = Bytes(1, "mean") + Bytes(1, "weights") +
                          Bytes(2, "output0") + Bytes(4, "Add");
  return Model(Bytes(1, mean) + Bytes(1, add) + Bytes(2, "test") +
               Bytes(5, weights) + Bytes(11, Value("images", input)) +
               Bytes(12, Value("output0", output)));
}

// Its weights for one class, all zero, in the file.
inline std::string Weights() {
  return Tensor({1, 5, 84}, "weights",
                Bytes(9, std::string(size_t{5} * 84 * 4, '\0')));
}

}  // namespace camherd::inference::testing::onnx
