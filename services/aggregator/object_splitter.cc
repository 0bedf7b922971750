// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/object_splitter.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {
namespace {

constexpr absl::string_view kMark = "\xEF\xBB\xBF";
// How document A's objects begin.
constexpr absl::string_view kBegin = "{\"basic\"";
constexpr size_t kShown = 24;
constexpr size_t kKeptCapacity = size_t{4} << 20;
constexpr int kAnyColumn = std::numeric_limits<int>::max();

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r'; }

}  // namespace

ObjectSplitter::ObjectSplitter(size_t max_object_bytes, ObjectFn object,
                               FaultFn fault)
    : max_object_bytes_(max_object_bytes),
      object_(std::move(object)),
      fault_(std::move(fault)) {}

absl::Status ObjectSplitter::Add(absl::string_view bytes) {
  buffer_.append(bytes.data(), bytes.size());
  CAMHERD_RETURN_IF_ERROR(Scan());
  const size_t done = begin_ == kNone ? at_ : begin_;
  buffer_.erase(0, done);
  at_ -= done;
  if (begin_ != kNone) begin_ = 0;
  if (buffer_.empty() && buffer_.capacity() > kKeptCapacity) {
    buffer_.shrink_to_fit();
  }
  return absl::OkStatus();
}

absl::Status ObjectSplitter::Finish() {
  finished_ = true;
  CAMHERD_RETURN_IF_ERROR(Scan());
  while (begin_ != kNone) {
    CutOff("the record is cut off: the file ends within it");
    CAMHERD_RETURN_IF_ERROR(Scan());
  }
  ReportOther();
  if (in_array_) {
    fault_(line_, "the array has no end: the file was cut off");
  }
  return absl::OkStatus();
}

absl::Status ObjectSplitter::Scan() {
  if (!started_) {
    if (buffer_.size() < kMark.size() && !finished_) return absl::OkStatus();
    started_ = true;
    if (absl::StartsWith(buffer_, kMark)) at_ = kMark.size();
  }
  while (at_ < buffer_.size()) {
    if (begin_ == kNone) {
      if (!ScanBetween()) break;
    } else {
      CAMHERD_RETURN_IF_ERROR(ScanObject());
    }
  }
  return absl::OkStatus();
}

bool ObjectSplitter::ScanBetween() {
  const char c = buffer_[at_];
  if (c == '{') {
    if (wake_ && buffer_.size() - at_ < kBegin.size() && !finished_) {
      return false;
    }
    if (MayBegin(at_)) {
      ReportOther();
      begin_ = at_;
      begin_line_ = line_;
      begin_column_ = column_ < 0 ? kAnyColumn : column_;
      depth_ = 0;
      in_text_ = false;
      escaped_ = false;
      in_nuls_ = false;
      any_token_ = true;
      column_ = -1;
      return true;
    }
  }
  ++at_;
  if (c == '\n') {
    ReportOther();
    ++line_;
    column_ = 0;
    return true;
  }
  const bool bracket = c == '[' || c == ']';
  const bool space = IsSpace(c);
  if (space && column_ >= 0) {
    ++column_;
  } else {
    column_ = -1;
  }
  if (c == '\0') {
    ReportOther();
    if (!std::exchange(in_nuls_, true)) {
      fault_(line_, "NUL bytes where a record should be");
    }
  } else if (!other_.empty() || !(space || bracket || c == ',')) {
    if (wake_ || fault_line_ == line_) return true;
    other_ += c;
    if (other_.size() == kShown) ReportOther();
  } else if (bracket && (c == ']' || !any_token_)) {
    in_array_ = c == '[';
  }
  any_token_ = any_token_ || !space;
  return true;
}

void ObjectSplitter::ReportOther() {
  if (other_.empty()) return;
  fault_line_ = line_;
  fault_(line_, absl::StrCat("a record must be a JSON object, got \"",
                             absl::CHexEscape(other_), "\""));
  other_.clear();
}

bool ObjectSplitter::MayBegin(size_t at) const {
  return !wake_ || wake_column_ == kAnyColumn ||
         (column_ >= 0 && column_ <= wake_column_) ||
         absl::StartsWith(absl::string_view(buffer_).substr(at), kBegin);
}

absl::Status ObjectSplitter::ScanObject() {
  while (at_ < buffer_.size()) {
    if (at_ - begin_ >= max_object_bytes_) {
      CutOff(absl::StrCat("a record must have at most ", max_object_bytes_,
                          " bytes, got more"));
      return absl::OkStatus();
    }
    const char c = buffer_[at_];
    if (in_text_) {
      if (c == '\n') {
        CutOff("the record is cut off: its line ends in the middle of a text");
        return absl::OkStatus();
      }
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_text_ = false;
      }
      ++at_;
      continue;
    }
    ++at_;
    switch (c) {
      case '"':
        in_text_ = true;
        break;
      case '\n':
        ++line_;
        break;
      case '{':
      case '[':
        if (++depth_ <= kMaxDepth) break;
        CutOff(absl::StrCat("a record must be nested at most ", kMaxDepth,
                            " deep, got more"));
        return absl::OkStatus();
      case '}':
      case ']':
        if (--depth_ > 0) break;
        return Complete();
      default:
        break;
    }
  }
  return absl::OkStatus();
}

absl::Status ObjectSplitter::Complete() {
  CAMHERD_ASSIGN_OR_RETURN(
      const bool good, object_(begin_line_, absl::string_view(buffer_).substr(
                                                begin_, at_ - begin_)));
  wake_ = false;
  // It may be the end of one record and whole others.
  if (!good && ResumeInside()) return absl::OkStatus();
  begin_ = kNone;
  column_ = -1;
  return absl::OkStatus();
}

void ObjectSplitter::CutOff(const std::string& cause) {
  fault_(begin_line_, cause);
  fault_line_ = line_;
  if (ResumeInside()) return;
  wake_ = true;
  wake_column_ = begin_column_;
  begin_ = kNone;
  column_ = -1;
}

bool ObjectSplitter::ResumeInside() {
  const absl::string_view text(buffer_);
  size_t place = text.substr(0, at_).find(kBegin, begin_ + 1);
  int place_column = kAnyColumn;
  if (begin_column_ != kAnyColumn) {
    size_t newline = text.find('\n', begin_);
    while (newline < std::min(at_, place)) {
      const size_t first = text.find_first_not_of(" \t\r", newline + 1);
      if (first >= at_) break;
      const int column = static_cast<int>(first - newline - 1);
      if (text[first] == '{' && column <= begin_column_ && first <= place) {
        place = first;
        place_column = column;
        break;
      }
      newline = text.find('\n', first);
    }
  }
  if (place == absl::string_view::npos) return false;
  line_ =
      begin_line_ +
      std::count(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
                 buffer_.begin() + static_cast<std::ptrdiff_t>(place), '\n');
  begin_ = place;
  begin_line_ = line_;
  begin_column_ = place_column;
  at_ = place;
  depth_ = 0;
  in_text_ = false;
  escaped_ = false;
  wake_ = false;
  return true;
}

}  // namespace camherd::aggregator
