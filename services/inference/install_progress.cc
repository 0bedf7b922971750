// SPDX-License-Identifier: Apache-2.0
#include "services/inference/install_progress.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace camherd::inference {
namespace {

constexpr size_t kMaxName = 80;

std::string FirstWord(absl::string_view text) {
  return std::string(text.substr(0, text.find_first_of(" =<>!~;[(")))
      .substr(0, kMaxName);
}

}  // namespace

void InstallProgress::AddLine(absl::string_view line) {
  line = absl::StripAsciiWhitespace(line);
  if (absl::ConsumePrefix(&line, "Resolved ")) {
    // uv: "Resolved 59 packages in 1.2s"
    int total = 0;
    if (absl::SimpleAtoi(line.substr(0, line.find(' ')), &total)) {
      total_ = total;
      step_ = "downloading";
    }
  } else if (absl::ConsumePrefix(&line, "Prepared ")) {
    installing_ = true;
  } else if (absl::ConsumePrefix(&line, "Collecting ")) {
    // pip: "Collecting torch==2.14.1"
    ++collected_;
    step_ = absl::StrCat("collecting ", FirstWord(line));
  } else if (absl::ConsumePrefix(&line, "Downloading ")) {
    // uv: "Downloading torch (800.1MiB)"; pip prints the file's name.
    step_ = absl::StrCat("downloading ", line.substr(0, kMaxName));
  } else if (absl::ConsumePrefix(&line, "Installing collected packages: ")) {
    const std::vector<absl::string_view> names = absl::StrSplit(line, ", ");
    total_ = static_cast<int>(names.size());
    installing_ = true;
  }
}

int InstallProgress::done() const { return std::min(installed_, total_); }

std::string InstallProgress::text() const {
  if (total_ > 0 && (installing_ || installed_ > 0)) {
    return absl::StrCat("installing ", done(), " of ", total_);
  }
  if (collected_ > 0) return absl::StrCat(step_, " (package ", collected_, ")");
  return step_;
}

}  // namespace camherd::inference
