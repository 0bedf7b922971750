// SPDX-License-Identifier: Apache-2.0
#include "services/capture/probe_command.h"

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/capture/probe_request.h"

namespace camherd::capture {
namespace {

constexpr int kFailed = 1;
constexpr int kUsageError = 2;
// Longer than any URL that is taken.
constexpr size_t kMaxLine = 8192;

int Wrong(FILE* err, absl::string_view message) {
  absl::FPrintF(err, "camherd-capture: %s\n", message);
  return kUsageError;
}

// The first line without its end; kOutOfRange: it does not end.
absl::StatusOr<std::string> ReadLine(FILE* in) {
  std::string line;
  for (int c = std::getc(in); c != EOF && c != '\n'; c = std::getc(in)) {
    if (line.size() == kMaxLine) {
      return absl::OutOfRangeError(absl::StrCat(
          "the line on standard input is longer than ", kMaxLine, " bytes"));
    }
    line.push_back(static_cast<char>(c));
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

std::string StepName(v1::ProbeStep step) {
  return absl::AsciiStrToLower(absl::string_view(v1::ProbeStep_Name(step))
                                   .substr(sizeof("PROBE_STEP_") - 1));
}

}  // namespace

int RunProbeCommand(const std::string& value, SourceProber& prober, FILE* in,
                    FILE* out, FILE* err) {
  if (value != "-") {
    return Wrong(err,
                 "--probe takes nothing but -, and the URL from standard "
                 "input: a URL may hold a password, and everyone on this "
                 "machine can see the arguments of a process");
  }
  const absl::StatusOr<std::string> line = ReadLine(in);
  if (!line.ok()) return Wrong(err, line.status().message());
  v1::ProbeSourceRequest request;
  request.set_rtsp_url(*line);
  const absl::StatusOr<ProbeTarget> target = CheckProbeRequest(request);
  if (!target.ok()) {
    return Wrong(err, MaskSecrets(target.status().message()));
  }
  bool all_well = true;
  const absl::Status status = prober.Probe(
      *target,
      [&](const v1::ProbeSourceResponse& step) {
        all_well = all_well && step.ok();
        absl::FPrintF(out, "%-8s  %-6s  %6.2f s  %s\n", StepName(step.step()),
                      step.ok() ? "ok" : "failed", step.elapsed_seconds(),
                      step.detail());
        if (!step.hint().empty()) {
          absl::FPrintF(out, "          %s\n", step.hint());
        }
        std::fflush(out);
      },
      [] { return false; });
  if (!status.ok()) {
    absl::FPrintF(err, "camherd-capture: %s\n", MaskSecrets(status.message()));
    return kFailed;
  }
  return all_well ? 0 : kFailed;
}

}  // namespace camherd::capture
