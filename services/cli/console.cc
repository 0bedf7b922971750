// SPDX-License-Identifier: Apache-2.0
#include "services/cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/common/utf8.h"
#include "services/common/visible.h"

namespace camherd::cli {
namespace {

constexpr absl::string_view kPlain = "\x1b[0m";
constexpr absl::string_view kClearLine = "\r\x1b[K";

absl::string_view Sequence(Colour colour) {
  switch (colour) {
    case Colour::kNone:
      return "";
    case Colour::kDim:
      return "\x1b[2m";
    case Colour::kBold:
      return "\x1b[1m";
    case Colour::kRed:
      return "\x1b[31m";
    case Colour::kGreen:
      return "\x1b[32m";
    case Colour::kYellow:
      return "\x1b[33m";
    case Colour::kBlue:
      return "\x1b[34m";
    case Colour::kCyan:
      return "\x1b[36m";
  }
  return "";
}

bool WantsColour(FILE* file) {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return isatty(fileno(file)) == 1 &&
         (no_colour == nullptr || *no_colour == '\0') && term != nullptr &&
         absl::string_view(term) != "dumb";
}

// The code point of a well-formed sequence.
uint32_t CodePoint(absl::string_view c) {
  const auto byte = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<unsigned char>(c[i]));
  };
  switch (c.size()) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1f) << 6 | (byte(1) & 0x3f);
    case 3:
      return (byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    default:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3f) << 12 |
             (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
  }
}

// What terminals give a character: marks none, East Asian wide ones two. Names
// of cameras are all that this is for; the ranges are Unicode's blocks.
size_t WidthOf(uint32_t c) {
  const auto in = [c](uint32_t first, uint32_t last) {
    return c >= first && c <= last;
  };
  if (in(0x300, 0x36f) || in(0x1ab0, 0x1aff) || in(0x20d0, 0x20ff) ||
      in(0xfe00, 0xfe0f) || in(0xfe20, 0xfe2f)) {
    return 0;
  }
  if (in(0x1100, 0x115f) || in(0x2e80, 0xa4cf) || in(0xac00, 0xd7a3) ||
      in(0xf900, 0xfaff) || in(0xfe30, 0xfe6f) || in(0xff00, 0xff60) ||
      in(0xffe0, 0xffe6) || in(0x1f300, 0x1faff) || in(0x20000, 0x3fffd)) {
    return 2;
  }
  return 1;
}

// Takes the first character of `text`, which is not empty.
absl::string_view TakeCharacter(absl::string_view& text) {
  const size_t length = std::max<size_t>(1, Utf8Length(text));
  const absl::string_view character = text.substr(0, length);
  text.remove_prefix(length);
  return character;
}

}  // namespace

Console::Options Console::OfProcess() {
  Options options;
  options.colour_out = WantsColour(stdout);
  options.colour_err = WantsColour(stderr);
  const char* term = std::getenv("TERM");
  options.live_err = isatty(STDERR_FILENO) == 1 && term != nullptr &&
                     absl::string_view(term) != "dumb";
  winsize size = {};
  if (isatty(STDOUT_FILENO) == 1 &&
      ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
    options.columns = size.ws_col;
  }
  return options;
}

void Console::Out(absl::string_view text) {
  absl::MutexLock lock(&mu_);
  ClearProgress();
  // At once: whoever reads a pipe waits for the line too.
  if (std::fwrite(text.data(), 1, text.size(), options_.out) != text.size() ||
      std::fflush(options_.out) != 0) {
    failed_ = true;
  }
}

void Console::Say(absl::string_view message) {
  absl::MutexLock lock(&mu_);
  ClearProgress();
  absl::FPrintF(options_.err, "camherd: %s\n", message);
  std::fflush(options_.err);
}

void Console::Progress(absl::string_view text, bool milestone) {
  absl::MutexLock lock(&mu_);
  if (options_.live_err) {
    absl::FPrintF(options_.err, "%s%s", kClearLine, text);
    progress_ = true;
  } else if (milestone) {
    absl::FPrintF(options_.err, "%s\n", text);
  }
  std::fflush(options_.err);
}

void Console::ClearProgress() {
  if (!progress_) return;
  absl::FPrintF(options_.err, "%s", kClearLine);
  std::fflush(options_.err);
  progress_ = false;
}

std::string Console::Paint(Colour colour, absl::string_view text) const {
  if (!options_.colour_out || colour == Colour::kNone || text.empty()) {
    return std::string(text);
  }
  return absl::StrCat(Sequence(colour), text, kPlain);
}

bool Console::Flush() {
  absl::MutexLock lock(&mu_);
  ClearProgress();
  if (std::fflush(options_.out) != 0) failed_ = true;
  return !failed_;
}

std::string Printable(absl::string_view text) {
  std::string out;
  while (!text.empty()) {
    const absl::string_view character = TakeCharacter(text);
    const auto first = static_cast<unsigned char>(character[0]);
    const bool bare = character.size() == 1 &&
                      (first < 0x20 || first == 0x7f || first >= 0x80);
    if (bare) {
      absl::StrAppendFormat(&out, "\\x%02x", first);
    } else {
      out.append(character.data(), character.size());
    }
  }
  return Visible(out);
}

size_t Width(absl::string_view text) {
  size_t width = 0;
  while (!text.empty()) width += WidthOf(CodePoint(TakeCharacter(text)));
  return width;
}

std::string Cut(absl::string_view text, size_t columns) {
  if (Width(text) <= columns) return std::string(text);
  std::string out;
  size_t width = 0;
  while (!text.empty()) {
    const absl::string_view character = TakeCharacter(text);
    width += WidthOf(CodePoint(character));
    if (width + 1 > columns) break;
    out.append(character.data(), character.size());
  }
  return columns == 0 ? "" : out + "…";
}

std::string ShortAge(absl::Duration age) {
  if (age < absl::ZeroDuration()) return "-";
  const auto whole = [age](absl::Duration unit) { return age / unit; };
  if (age < absl::Minutes(2)) {
    return absl::StrCat(whole(absl::Seconds(1)), " s");
  }
  if (age < absl::Hours(2)) {
    return absl::StrCat(whole(absl::Minutes(1)), " min");
  }
  if (age < absl::Hours(48)) {
    return absl::StrCat(whole(absl::Hours(1)), " h");
  }
  return absl::StrCat(whole(absl::Hours(24)), " d");
}

std::string LocalTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, absl::LocalTimeZone());
}

std::string ShortBytes(double bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 ? absl::StrFormat("%.0f B", bytes)
                   : absl::StrFormat("%.1f %s", bytes, kUnits[unit]);
}

std::string ShortNumber(double value) {
  return absl::StrFormat("%.15g", value);
}

}  // namespace camherd::cli
