// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/stop_signal.h"
#include "services/inference/prepare_progress.h"

namespace camherd::inference {

// Builds the virtual environments of models, once each:
//
//   <venvs>/<model>/                 the environment, built in its final place
//   <venvs>/<model>/.deps_installed  the marker, written last
//   <venvs>/<model>.log              what the installers printed
//   <venvs>/<model>.lock             held while it is being built
//   <venvs>/<model>.before           what is there while it is built again
//
// The marker, one "key value" a line:
//
//   camherd-environment 1
//   requirements <SHA-256 of the requirements files, hexadecimal>
//   python <version> <path of the interpreter it was made from>
//
// No marker, another hash of the requirements, or an interpreter that no
// longer runs: the environment is wiped and built again. An empty marker, or
// one that is not ours (document A's), is honoured with a warning.
//
// What is built again on request is put aside first, and back if the build does
// not succeed: its worker may still run.
//
// It is built by uv where there is one, else by venv and pip, with the first
// of Python 3.12, 3.11 and 3.10 that runs. Only wheels are installed unless
// `only_binary` is off, since building a package runs its code.
//
// Thread-safe; two threads or processes that build the same model take turns,
// and the second finds it ready.
class Environment {
 public:
  struct Options {
    // Absolute.
    std::string venvs_dir = {};
    // Interpreter to use; empty: searched for in PATH.
    std::string python = {};
    // Path of uv; empty: searched for in PATH; "off": never used.
    std::string uv = {};
    bool only_binary = true;
    // Longest time for one step (creating, installing).
    absl::Duration timeout = absl::Minutes(60);
  };

  struct Request {
    std::string model = {};
    // Absolute path of requirements_<model>.txt.
    std::string requirements = {};
    // Room it takes when installed, bytes; 0: not known, not checked.
    int64_t disk_bytes = 0;
    // Built again even if it is ready.
    bool rebuild = false;
  };

  // An environment that is ready.
  struct Ready {
    // Its interpreter.
    std::string python = {};
    // False: it was there before.
    bool built = false;
    absl::Duration build_time = absl::ZeroDuration();
  };

  explicit Environment(const Options& options) : options_(options) {}

  // Makes the environment, or finds it ready. Blocks for seconds to minutes;
  // reports CREATING and INSTALLING. Failures carry the installer's last lines
  // in the message and, where it is a known case, a hint:
  //   kInvalidArgument     the requirements are refused or not there
  //   kFailedPrecondition  no fit Python, or not enough room on the disk
  //   kInternal            the installer failed
  //   kCancelled           `stop` was set; the rest is wiped by the next build
  absl::StatusOr<Ready> Ensure(const Request& request,
                               const PrepareProgressFn& progress,
                               const StopSignal& stop);

  std::string LogPath(const std::string& model) const;

 private:
  const Options options_;
};

// "KEY=value" for a program that runs in an environment: EnvironmentForChildren
// without what installers need, caches in `cache_dir`, at most so many threads,
// nothing asked of the network.
std::vector<std::string> VariablesInEnvironment(const std::string& cache_dir,
                                                int threads);

}  // namespace camherd::inference
