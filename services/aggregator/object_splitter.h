// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace camherd::aggregator {

// Cuts a file of JSON objects into the objects, piece by piece as it is read:
// one a line, over several lines, one after another, or in an array, in one
// line or many. A byte order mark at the beginning is passed over.
//
// What is no object costs no object beside it. One that is cut off, by a
// newline in a text, the end of the file, or by nothing that a reader could
// see, costs itself only: the search goes on inside it, at the next line that
// begins with "{" and is indented no deeper, or at the next `{"basic"`. The
// time is linear in the file's length, since no object may be nested deeper
// than kMaxDepth.
//
// Not thread-safe.
class ObjectSplitter {
 public:
  static constexpr int kMaxDepth = 64;

  // Told of each object, with the line it begins in, from 1. False: it is no
  // JSON after all, look inside it. An error ends the splitting.
  using ObjectFn = std::function<absl::StatusOr<bool>(
      int64_t line, absl::string_view object)>;
  // Told of what is none, with the line where it begins.
  using FaultFn = std::function<void(int64_t line, const std::string& cause)>;

  // Longer objects are faults.
  ObjectSplitter(size_t max_object_bytes, ObjectFn object, FaultFn fault);

  // The next bytes. Errors are those of `object`.
  absl::Status Add(absl::string_view bytes);
  // There are no more.
  absl::Status Finish();

 private:
  static constexpr size_t kNone = std::string::npos;

  absl::Status Scan();
  // Takes a byte or begins an object; false: more bytes must be seen first.
  bool ScanBetween();
  // Takes what there is of the object.
  absl::Status ScanObject();
  bool MayBegin(size_t at) const;
  void ReportOther();
  absl::Status Complete();
  void CutOff(const std::string& cause);
  // Goes on at the first place in [begin_ + 1, at_) where an object can begin;
  // false: there is none.
  bool ResumeInside();

  const size_t max_object_bytes_;
  const ObjectFn object_;
  const FaultFn fault_;

  std::string buffer_;
  size_t at_ = 0;  // Next byte of buffer_ to look at.
  bool started_ = false;
  bool finished_ = false;
  int64_t line_ = 1;
  // Spaces before at_ in its line; negative: something else stands there.
  int column_ = 0;
  bool in_array_ = false;
  bool any_token_ = false;

  // Between objects.
  bool in_nuls_ = false;
  std::string other_;       // What is no object, still to be reported.
  int64_t fault_line_ = 0;  // Has its report.
  // After an object that was cut off: what follows may still be of it. An
  // object begins there only where it is indented by at most `wake_column_`.
  bool wake_ = false;
  int wake_column_ = 0;

  // The object under way, from begin_ on.
  size_t begin_ = kNone;
  int64_t begin_line_ = 0;
  int begin_column_ = 0;
  int depth_ = 0;
  bool in_text_ = false;
  bool escaped_ = false;
};

}  // namespace camherd::aggregator
