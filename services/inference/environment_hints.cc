// SPDX-License-Identifier: Apache-2.0
#include "services/inference/environment_hints.h"

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace camherd::inference {
namespace {

struct Case {
  absl::string_view sign;
  absl::string_view hint;
};

constexpr absl::string_view kNetwork =
    "The package index cannot be reached: check network, DNS and proxy "
    "(https_proxy), or set PIP_INDEX_URL / UV_INDEX_URL to a mirror.";
constexpr absl::string_view kDisk =
    "The disk is full: free some room or move the data folder, then prepare "
    "the model again.";
constexpr absl::string_view kCertificates =
    "The index's certificate is not trusted: install ca-certificates or set "
    "SSL_CERT_FILE.";
constexpr absl::string_view kPip =
    "This Python has no pip or venv: apt-get install python3-venv, or install "
    "uv.";
constexpr absl::string_view kWheels =
    "No wheel fits this Python and machine: prefer Python 3.10-3.12 (torch, "
    "torchvision), or change the version in the requirements file.";
constexpr absl::string_view kMemory =
    "The installer ran out of memory: give the service more.";

// In order: an installer without network also says that it found no version.
constexpr std::array<Case, 27> kCases = {{
    {"No space left on device", kDisk},
    {"Errno 28", kDisk},
    {"os error 28", kDisk},
    {"Disk quota exceeded", kDisk},
    {"CERTIFICATE_VERIFY_FAILED", kCertificates},
    {"invalid peer certificate", kCertificates},
    {"Temporary failure in name resolution", kNetwork},
    {"Name or service not known", kNetwork},
    {"failed to lookup address", kNetwork},
    {"dns error", kNetwork},
    {"NewConnectionError", kNetwork},
    {"Failed to establish a new connection", kNetwork},
    {"Connection refused", kNetwork},
    {"ConnectTimeout", kNetwork},
    {"ReadTimeout", kNetwork},
    {"operation timed out", kNetwork},
    {"Network is unreachable", kNetwork},
    {"error sending request", kNetwork},
    {"ProxyError", kNetwork},
    {"No module named pip", kPip},
    {"ensurepip is not available", kPip},
    {"No module named ensurepip", kPip},
    {"No matching distribution found", kWheels},
    {"Could not find a version", kWheels},
    {"no wheels with a matching", kWheels},
    {"No solution found", kWheels},
    {"MemoryError", kMemory},
}};

}  // namespace

std::string HintForInstallLog(absl::string_view log) {
  const std::string lower = absl::AsciiStrToLower(log);
  for (const Case& one : kCases) {
    if (absl::StrContains(lower, absl::AsciiStrToLower(one.sign))) {
      return std::string(one.hint);
    }
  }
  return "";
}

}  // namespace camherd::inference
