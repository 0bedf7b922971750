// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace camherd::cli {

enum class Colour { kNone, kDim, kBold, kRed, kGreen, kYellow, kBlue, kCyan };

// Where a command prints: results to `out`, everything else to `err`.
//
// Thread-safe: a line is never torn by another.
class Console {
 public:
  struct Options {
    FILE* out = stdout;
    FILE* err = stderr;
    // Results as JSON, one value a line.
    bool json = false;
    // Escape sequences, per file.
    bool colour_out = false;
    bool colour_err = false;
    // `err` is a terminal, where a line can be written over.
    bool live_err = false;
    // Columns of `out`; 0: it is no terminal, nothing is cut.
    int columns = 0;
  };

  // The process's: colours where a file is a terminal, unless NO_COLOR
  // (no-color.org) or TERM=dumb are in the environment.
  static Options OfProcess();

  explicit Console(const Options& options) : options_(options) {}

  bool json() const { return options_.json; }
  int columns() const { return options_.columns; }

  // Texts with their ends of line. What comes from a service has to be made
  // Printable before.
  void Out(absl::string_view text);
  // A line for people, with `camherd: ` before it.
  void Say(absl::string_view message);
  // A line that the next one writes over on a terminal; elsewhere a line where
  // `milestone` holds, else nothing.
  void Progress(absl::string_view text, bool milestone);

  std::string Paint(Colour colour, absl::string_view text) const;

  // False: something could not be written to `out`, such as to a full disk.
  bool Flush();

 private:
  void ClearProgress() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  absl::Mutex mu_;
  bool failed_ ABSL_GUARDED_BY(mu_) = false;
  bool progress_ ABSL_GUARDED_BY(mu_) = false;
};

// `text` as one line that a terminal shows as it is: control characters, those
// that turn the direction of writing, and bytes that are no UTF-8 as \xNN.
std::string Printable(absl::string_view text);

// Columns that a Printable text takes.
size_t Width(absl::string_view text);

// The first `columns` columns of it, with "…" where it is longer.
std::string Cut(absl::string_view text, size_t columns);

// "12 s", "5 min", "3 h", "4 d"; "-" where it is negative.
std::string ShortAge(absl::Duration age);

// Local time, "2026-08-01 10:15:00".
std::string LocalTime(absl::Time time);

// 1234567 as "1.2 MB"; under 1000 "123 B".
std::string ShortBytes(double bytes);

// A number as a person writes it: 3, not 3.000000.
std::string ShortNumber(double value);

}  // namespace camherd::cli
