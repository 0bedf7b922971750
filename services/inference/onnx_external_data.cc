// SPDX-License-Identifier: Apache-2.0
#include "services/inference/onnx_external_data.h"

#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/wire_format_lite.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"

namespace camherd::inference {
namespace {

namespace fs = std::filesystem;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// What protobuf's own parser goes down to.
constexpr int kMaxDepth = 100;
constexpr int kMaxText = 4096;
constexpr size_t kMaxShown = 100;

enum class Message {
  kModel,
  kTraining,
  kFunction,
  kGraph,
  kNode,
  kAttribute,
  kSparseTensor,
  kTensor,
};

// Every way from the model to a tensor (onnx.proto3): field `number` of `in` is
// a message `child`. All other fields are skipped.
struct Field {
  Message in;
  int number;
  Message child;
};
constexpr Field kFields[] = {
    {Message::kModel, 7, Message::kGraph},
    {Message::kModel, 20, Message::kTraining},
    {Message::kModel, 25, Message::kFunction},
    {Message::kTraining, 1, Message::kGraph},
    {Message::kTraining, 2, Message::kGraph},
    {Message::kFunction, 7, Message::kNode},
    {Message::kFunction, 11, Message::kAttribute},
    {Message::kGraph, 1, Message::kNode},
    {Message::kGraph, 5, Message::kTensor},
    {Message::kGraph, 15, Message::kSparseTensor},
    {Message::kNode, 5, Message::kAttribute},
    {Message::kAttribute, 5, Message::kTensor},
    {Message::kAttribute, 6, Message::kGraph},
    {Message::kAttribute, 10, Message::kTensor},
    {Message::kAttribute, 11, Message::kGraph},
    {Message::kAttribute, 22, Message::kSparseTensor},
    {Message::kAttribute, 23, Message::kSparseTensor},
    {Message::kSparseTensor, 1, Message::kTensor},
    {Message::kSparseTensor, 2, Message::kTensor},
};
constexpr int kGraphOfModel = 7;
constexpr int kTensorName = 8;
constexpr int kTensorExternalData = 13;
constexpr int kTensorDataLocation = 14;
constexpr uint64_t kDataIsExternal = 1;
constexpr int kEntryKey = 1;
constexpr int kEntryValue = 2;

// A text of the file as a message may show it.
std::string Shown(absl::string_view text) {
  const bool cut = text.size() > kMaxShown;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxShown)),
                      cut ? "...\"" : "\"");
}

// True for a path that every runtime takes for the same file below the
// network's folder. OpenVINO leaves out what is before a colon and dots and
// slashes in front, and both OpenVINO and ONNX Runtime take
// "*/_ORT_MEM_ADDR_/*" for an address in memory.
bool IsPlain(absl::string_view location) {
  while (absl::ConsumePrefix(&location, "./")) {
  }
  return !location.empty() && location[0] != '.' && location[0] != '/' &&
         !absl::StrContains(location, "..") &&
         std::none_of(location.begin(), location.end(), [](char c) {
           return absl::ascii_iscntrl(c) || c == ':' || c == '\\' || c == '*';
         });
}

// "offset" and "length": digits only, since a runtime takes "-1" for 2^64 - 1.
std::optional<uint64_t> ParseNumber(absl::string_view text) {
  uint64_t value = 0;
  if (!std::all_of(text.begin(), text.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(text, &value)) {
    return std::nullopt;
  }
  return value;
}

// Not thread-safe.
class Reader {
 public:
  Reader(const std::string& path, CodedInputStream& in)
      : path_(path), in_(in) {}

  absl::Status Read() {
    CAMHERD_RETURN_IF_ERROR(ReadMessage(Message::kModel, 0));
    if (!has_graph_) return NoOnnx("it holds no graph");
    return absl::OkStatus();
  }

 private:
  // The external data of one tensor.
  struct External {
    std::string tensor;
    bool is_external = false;
    std::optional<std::string> location;
    std::optional<std::string> offset;
    std::optional<std::string> length;
  };

  absl::Status NoOnnx(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, " is no ONNX network: ", what));
  }
  absl::Status CutShort() const { return NoOnnx("it is cut short or damaged"); }

  // The next field; 0 at the end of the message.
  absl::Status ReadTag(uint32_t* tag) {
    *tag = in_.ReadTag();
    const bool good = *tag == 0 ? in_.ConsumedEntireMessage()
                                : WireFormatLite::GetTagFieldNumber(*tag) != 0;
    return good ? absl::OkStatus() : CutShort();
  }
  // The length of a field, which is inside the message it is in.
  absl::Status ReadLength(int* length) {
    const bool good =
        in_.ReadVarintSizeAsInt(length) && *length <= in_.BytesUntilLimit();
    return good ? absl::OkStatus() : CutShort();
  }

  absl::Status Skip(uint32_t tag) {
    int length = 0;
    uint64_t ignored = 0;
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        return in_.ReadVarint64(&ignored) ? absl::OkStatus() : CutShort();
      case WireFormatLite::WIRETYPE_FIXED64:
        length = 8;
        break;
      case WireFormatLite::WIRETYPE_FIXED32:
        length = 4;
        break;
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
        CAMHERD_RETURN_IF_ERROR(ReadLength(&length));
        break;
      default:
        return CutShort();
    }
    return in_.Skip(length) ? absl::OkStatus() : CutShort();
  }

  // A text of at most kMaxText bytes; of a longer one that many.
  absl::Status ReadText(std::string* text) {
    int length = 0;
    CAMHERD_RETURN_IF_ERROR(ReadLength(&length));
    const int kept = std::min(length, kMaxText);
    const bool read = in_.ReadString(text, kept) && in_.Skip(length - kept);
    return read ? absl::OkStatus() : CutShort();
  }

  absl::Status ReadMessage(Message message, int depth) {
    if (depth > kMaxDepth) return NoOnnx("it is nested too deeply");
    External external;
    for (;;) {
      uint32_t tag = 0;
      CAMHERD_RETURN_IF_ERROR(ReadTag(&tag));
      if (tag == 0) break;
      CAMHERD_RETURN_IF_ERROR(ReadField(message, tag, depth, external));
    }
    return message == Message::kTensor ? CheckTensor(external)
                                       : absl::OkStatus();
  }

  absl::Status ReadField(Message message, uint32_t tag, int depth,
                         External& external) {
    const int number = WireFormatLite::GetTagFieldNumber(tag);
    const auto type = WireFormatLite::GetTagWireType(tag);
    if (message == Message::kTensor) {
      if (number == kTensorDataLocation &&
          type == WireFormatLite::WIRETYPE_VARINT) {
        uint64_t location = 0;
        if (!in_.ReadVarint64(&location)) return CutShort();
        external.is_external =
            external.is_external || location == kDataIsExternal;
        return absl::OkStatus();
      }
      if (type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
        if (number == kTensorName) return ReadText(&external.tensor);
        if (number == kTensorExternalData) return ReadEntry(external);
      }
      return Skip(tag);
    }
    const auto* const field = std::find_if(
        std::begin(kFields), std::end(kFields), [&](const Field& candidate) {
          return candidate.in == message && candidate.number == number;
        });
    if (field == std::end(kFields) ||
        type != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      return Skip(tag);
    }
    has_graph_ =
        has_graph_ || (message == Message::kModel && number == kGraphOfModel);
    int length = 0;
    CAMHERD_RETURN_IF_ERROR(ReadLength(&length));
    const auto limit = in_.PushLimit(length);
    CAMHERD_RETURN_IF_ERROR(ReadMessage(field->child, depth + 1));
    in_.PopLimit(limit);
    return absl::OkStatus();
  }

  // One StringStringEntryProto of external_data.
  absl::Status ReadEntry(External& external) {
    int length = 0;
    CAMHERD_RETURN_IF_ERROR(ReadLength(&length));
    const auto limit = in_.PushLimit(length);
    std::string key;
    std::string value;
    for (;;) {
      uint32_t tag = 0;
      CAMHERD_RETURN_IF_ERROR(ReadTag(&tag));
      if (tag == 0) break;
      const int number = WireFormatLite::GetTagFieldNumber(tag);
      if ((number == kEntryKey || number == kEntryValue) &&
          WireFormatLite::GetTagWireType(tag) ==
              WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
        CAMHERD_RETURN_IF_ERROR(ReadText(number == kEntryKey ? &key : &value));
      } else {
        CAMHERD_RETURN_IF_ERROR(Skip(tag));
      }
    }
    in_.PopLimit(limit);
    std::optional<std::string>* const known =
        key == "location" ? &external.location
        : key == "offset" ? &external.offset
        : key == "length" ? &external.length
                          : nullptr;
    if (known == nullptr) return absl::OkStatus();
    if (known->has_value()) {
      return NoOnnx(absl::StrCat("external data names its ", key, " twice"));
    }
    *known = std::move(value);
    return absl::OkStatus();
  }

  absl::Status CheckTensor(const External& external) {
    const bool any = external.location.has_value() ||
                     external.offset.has_value() || external.length.has_value();
    if (!any && !external.is_external) return absl::OkStatus();
    const std::string location = external.location.value_or("");
    const auto refuse = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat(
          path_, ": the data of the tensor ", Shown(external.tensor),
          " are in ", Shown(location), ", ", what));
    };
    if (location.size() >= size_t{kMaxText} || !IsPlain(location)) {
      return refuse("which is not a plain path in the network's folder");
    }
    auto found = sizes_.find(location);
    if (found == sizes_.end()) {
      const fs::path folder = fs::absolute(path_).parent_path();
      std::error_code error;
      const fs::path root = fs::canonical(folder, error);
      const fs::path file = fs::canonical(folder / location, error);
      if (error || !fs::is_regular_file(file, error)) {
        return refuse("where there is no file");
      }
      if (std::mismatch(root.begin(), root.end(), file.begin(), file.end())
              .first != root.end()) {
        return refuse("which is a link out of the network's folder");
      }
      const uintmax_t size = fs::file_size(file, error);
      if (error) return refuse(error.message());
      found = sizes_.emplace(location, size).first;
    }
    const auto offset = ParseNumber(external.offset.value_or("0"));
    const auto length = ParseNumber(external.length.value_or("0"));
    if (!offset.has_value() || !length.has_value()) {
      return refuse("with an offset or a length that is no number");
    }
    if (*offset > found->second || *length > found->second - *offset) {
      return refuse(absl::StrCat("of which bytes ", *offset, " to ", *offset,
                                 "+", *length, " are used and which has ",
                                 found->second));
    }
    return absl::OkStatus();
  }

  const std::string& path_;
  CodedInputStream& in_;
  bool has_graph_ = false;
  // Files that are as they must be, by location, and their sizes.
  std::map<std::string, uintmax_t> sizes_;
};

}  // namespace

absl::Status CheckOnnxExternalData(const std::string& path) {
  // A pipe would be waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ErrnoStatus(errno, "open", path);
  google::protobuf::io::FileInputStream file(fd);
  file.SetCloseOnDelete(true);
  struct stat info = {};
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "fstat", path);
  if (!S_ISREG(info.st_mode) || info.st_size > INT_MAX) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is no ONNX network: it must be a file of at most 2 GiB"));
  }
  CodedInputStream in(&file);
  in.SetTotalBytesLimit(INT_MAX);
  in.PushLimit(static_cast<int>(info.st_size));
  return Reader(path, in).Read();
}

}  // namespace camherd::inference
