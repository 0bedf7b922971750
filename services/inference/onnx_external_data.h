// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"

namespace camherd::inference {

// Where the tensors of an ONNX file may have their data: in the file itself or
// in regular files of its folder and the folders below. A runtime opens and
// maps whatever a tensor names, so a file of others must be asked before.
//
// Reads `path` as a stream, and of it no more than the places of external data
// (onnx.proto3: TensorProto.external_data); it needs little memory and time in
// proportion to the file's length, whatever the file says of itself.
//
//   kInvalidArgument  one line: it is no ONNX file, is cut short, is nested
//                     deeper than protobuf reads it; or a tensor's data are by
//                     an absolute path, by "..", by a symbolic link out of the
//                     folder, in something that is no file, past its end, or
//                     at an address in memory
//   and errors of files
//
// Thread-safe.
absl::Status CheckOnnxExternalData(const std::string& path);

}  // namespace camherd::inference
