// SPDX-License-Identifier: Apache-2.0
#include "services/inference/environment.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "services/common/camera_url.h"
#include "services/common/child_process.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/inference/environment_hints.h"
#include "services/inference/install_progress.h"
#include "services/inference/requirements_check.h"
#include "services/inference/status_hint.h"

namespace camherd::inference {
namespace {

namespace fs = std::filesystem;
using camherd::v1::MODEL_STATE_CREATING;
using camherd::v1::MODEL_STATE_INSTALLING;

constexpr char kMarkerTitle[] = "camherd-environment 1";
constexpr size_t kTailLines = 20;
constexpr char kNoPythonHint[] =
    "Install one of Python 3.10 to 3.12 (Debian 12: apt-get install python3 "
    "python3-venv), or set inference.python to its path.";

// Prints version, the real path behind shims and environments, and whether
// venv can work.
constexpr char kProbe[] =
    "import os, sys\n"
    "try:\n"
    "    import ensurepip, venv\n"
    "    pip = 'pip'\n"
    "except ImportError:\n"
    "    pip = 'nopip'\n"
    "base = getattr(sys, '_base_executable', None) or sys.executable\n"
    "print('camherd-probe', '.'.join(map(str, sys.version_info[:3])), pip, "
    "os.path.realpath(base))\n";

struct Python {
  std::string path;
  std::string version;
  int minor = 0;
  bool has_pip = false;
};

std::vector<std::string> FindInPath(absl::string_view name) {
  std::vector<std::string> found;
  const char* path = std::getenv("PATH");
  for (const absl::string_view dir : absl::StrSplit(
           path == nullptr ? "/usr/bin:/bin" : path, ':', absl::SkipEmpty())) {
    std::string candidate = absl::StrCat(dir, "/", name);
    if (access(candidate.c_str(), X_OK) == 0) {
      found.push_back(std::move(candidate));
    }
  }
  return found;
}

// What `candidate` says of itself; kNotFound where it does not run.
absl::StatusOr<Python> Probe(const std::string& candidate,
                             const StopSignal& stop) {
  Python python;
  const absl::Status status =
      RunCommand({.argv = {candidate, "-I", "-c", kProbe},
                  .env = EnvironmentForChildren()},
                 absl::Seconds(20), stop, [&](const std::string& line) {
                   const std::vector<std::string> words =
                       absl::StrSplit(line, absl::MaxSplits(' ', 3));
                   if (words.size() != 4 || words[0] != "camherd-probe") return;
                   python.version = words[1];
                   python.has_pip = words[2] == "pip";
                   python.path = words[3];
                 });
  CAMHERD_RETURN_IF_ERROR(status);
  const std::vector<std::string> parts = absl::StrSplit(python.version, '.');
  if (parts.size() != 3 || parts[0] != "3" ||
      !absl::SimpleAtoi(parts[1], &python.minor)) {
    return absl::NotFoundError(absl::StrCat(candidate, " is no Python 3"));
  }
  return python;
}

absl::StatusOr<Python> FindPython(const std::string& configured,
                                  const StopSignal& stop) {
  if (!configured.empty()) {
    absl::StatusOr<Python> python = Probe(configured, stop);
    if (python.ok()) return python;
    return WithHint(
        absl::FailedPreconditionError(absl::StrCat(
            "inference.python does not run: ", python.status().message())),
        kNoPythonHint);
  }
  std::vector<std::string> seen;
  for (const char* name :
       {"python3.12", "python3.11", "python3.10", "python3"}) {
    for (const std::string& candidate : FindInPath(name)) {
      const absl::StatusOr<Python> python = Probe(candidate, stop);
      if (stop.IsSet()) return absl::CancelledError("stopped");
      if (!python.ok()) continue;
      if (python->minor >= 10 && python->minor <= 12) return python;
      seen.push_back(python->version);
    }
  }
  return WithHint(
      absl::FailedPreconditionError(absl::StrCat(
          "no Python 3.10, 3.11 or 3.12 in PATH",
          seen.empty()
              ? ""
              : absl::StrCat(" (found ", absl::StrJoin(seen, ", "), ")"))),
      kNoPythonHint);
}

// Holds `path` locked (flock) while it lives.
class FileLock {
 public:
  // Calls `on_wait`, if there is one, when it has to wait.
  static absl::StatusOr<std::unique_ptr<FileLock>> Take(
      const std::string& path, const StopSignal& stop,
      std::function<void()> on_wait = nullptr) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return ErrnoStatus(errno, "open", path);
    std::unique_ptr<FileLock> lock(new FileLock(fd));
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) {
        return ErrnoStatus(errno, "flock", path);
      }
      if (on_wait) std::exchange(on_wait, nullptr)();
      pollfd entry = {stop.fd(), POLLIN, 0};
      if (poll(&entry, 1, 200) > 0) return absl::CancelledError("stopped");
    }
    return lock;
  }
  ~FileLock() { close(fd_); }

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  const int fd_;
};

// The log file of one build, its last lines, and the progress they show.
class BuildLog {
 public:
  BuildLog(const std::string& path, const PrepareProgressFn& progress)
      : file_(fopen(path.c_str(), "we")), progress_(progress) {}
  ~BuildLog() {
    if (file_ != nullptr) fclose(file_);
  }
  BuildLog(const BuildLog&) = delete;
  BuildLog& operator=(const BuildLog&) = delete;

  void AddLine(const std::string& raw) {
    const std::string line = MaskSecrets(raw);
    if (file_ != nullptr) {
      fprintf(file_, "%s\n", line.c_str());
      fflush(file_);
    }
    tail_.push_back(line);
    if (tail_.size() > kTailLines) tail_.pop_front();
  }

  void Report(camherd::v1::ModelState state, int done, int total,
              const std::string& text) {
    if (!progress_) return;
    progress_({state, done, total, text, {tail_.begin(), tail_.end()}});
  }

  std::string Tail(size_t lines) const {
    const size_t skip = tail_.size() > lines ? tail_.size() - lines : 0;
    return absl::StrJoin(tail_.begin() + skip, tail_.end(), " | ");
  }

 private:
  FILE* const file_;
  const PrepareProgressFn& progress_;
  std::deque<std::string> tail_;
};

// Packages that lie in the environment.
int CountInstalled(const fs::path& venv) {
  int count = 0;
  std::error_code error;
  for (const auto& lib : fs::directory_iterator(venv / "lib", error)) {
    for (const auto& entry :
         fs::directory_iterator(lib.path() / "site-packages", error)) {
      if (entry.path().extension() == ".dist-info") ++count;
    }
  }
  return count;
}

// One build or look-up of one environment.
class Build {
 public:
  Build(const Environment::Options& options,
        const Environment::Request& request, const PrepareProgressFn& progress,
        const StopSignal& stop)
      : options_(options),
        request_(request),
        progress_(progress),
        stop_(stop),
        dir_(fs::path(options.venvs_dir) / request.model),
        marker_((dir_ / ".deps_installed").string()),
        python_((dir_ / "bin" / "python").string()),
        before_(dir_.string() + ".before") {}

  absl::StatusOr<Environment::Ready> Run() {
    CAMHERD_RETURN_IF_ERROR(CheckId("model", request_.model));
    absl::StatusOr<std::string> hash = CheckRequirements(request_.requirements);
    if (!hash.ok()) {
      return absl::InvalidArgumentError(hash.status().message());
    }
    hash_ = *std::move(hash);
    CAMHERD_RETURN_IF_ERROR(MakeDirs(options_.venvs_dir));
    CAMHERD_ASSIGN_OR_RETURN(
        const std::unique_ptr<FileLock> lock,
        FileLock::Take(absl::StrCat(dir_.string(), ".lock"), stop_));
    CAMHERD_RETURN_IF_ERROR(Settle());
    if (!request_.rebuild && IsReady()) {
      return Environment::Ready{.python = python_};
    }
    // One build at a time: each fills network, disk and cores.
    CAMHERD_ASSIGN_OR_RETURN(
        const std::unique_ptr<FileLock> build,
        FileLock::Take(absl::StrCat(options_.venvs_dir, "/.build.lock"), stop_,
                       [this] {
                         progress_({MODEL_STATE_CREATING,
                                    0,
                                    0,
                                    "waiting for the build of another "
                                    "environment",
                                    {}});
                       }));
    const absl::Duration start = Clock::Real().SteadyNow();
    absl::Status made = Make();
    made.Update(Settle());
    CAMHERD_RETURN_IF_ERROR(made);
    return Environment::Ready{.python = python_,
                              .built = true,
                              .build_time = Clock::Real().SteadyNow() - start};
  }

 private:
  // Reads the marker; says in the log why a build is needed.
  bool IsReady() {
    std::error_code error;
    if (!fs::exists(dir_, error)) return false;
    const absl::StatusOr<std::string> marker = ReadFile(marker_, 1 << 16);
    std::string why;
    if (!marker.ok()) {
      why = "it was never finished";
    } else if (!absl::StartsWith(*marker, kMarkerTitle)) {
      if (Probe(python_, stop_).ok()) {
        LogWarning("environment's marker is not ours, using it as it is",
                   {{"model", request_.model}, {"path", marker_}});
        return true;
      }
      why = "its Python does not run";
    } else if (!absl::StrContains(
                   *marker, absl::StrCat("\nrequirements ", hash_, "\n"))) {
      why = "its requirements changed";
    } else {
      const absl::StatusOr<Python> python = Probe(python_, stop_);
      if (python.ok() &&
          absl::StrContains(*marker,
                            absl::StrCat("\npython ", python->version, " "))) {
        return true;
      }
      why = "its Python does not run or changed its version";
    }
    LogInfo("environment is built again",
            {{"model", request_.model}, {"reason", why}});
    return false;
  }

  absl::Status Make() {
    BuildLog log(absl::StrCat(dir_.string(), ".log"), progress_);
    log.Report(MODEL_STATE_CREATING, 0, 0, "looking for Python");
    CAMHERD_ASSIGN_OR_RETURN(const Python python,
                             FindPython(options_.python, stop_));
    const std::string uv = FindUv();
    std::error_code error;
    if (request_.rebuild && fs::exists(marker_, error)) {
      CAMHERD_RETURN_IF_ERROR(Move(dir_, before_));
    } else {
      CAMHERD_RETURN_IF_ERROR(Wipe(dir_));
    }
    CAMHERD_RETURN_IF_ERROR(CheckRoom());
    log.Report(MODEL_STATE_CREATING, 0, 0,
               absl::StrCat("creating venv with Python ", python.version,
                            uv.empty() ? "" : " by uv"));
    LogInfo("building environment",
            {{"model", request_.model},
             {"python", python.path},
             {"installer", uv.empty() ? std::string("pip") : uv}});
    if (uv.empty() && !python.has_pip) {
      return WithHint(absl::FailedPreconditionError(
                          absl::StrCat(python.path, " has no venv or pip")),
                      HintForInstallLog("No module named pip"));
    }
    CAMHERD_RETURN_IF_ERROR(Create(python, uv, log));
    CAMHERD_RETURN_IF_ERROR(Install(uv, log));
    return WriteFileAtomically(
        marker_,
        absl::StrCat(kMarkerTitle, "\nrequirements ", hash_, "\npython ",
                     python.version, " ", python.path, "\n"),
        Sync::kData);
  }

  // Decides what becomes of an environment that was put aside, also where a
  // crash cut its rebuilding short: it goes when the new one is complete, else
  // it comes back.
  absl::Status Settle() {
    std::error_code error;
    if (!fs::exists(before_, error)) return absl::OkStatus();
    if (fs::exists(marker_, error)) return Wipe(before_);
    CAMHERD_RETURN_IF_ERROR(Wipe(dir_));
    return Move(before_, dir_);
  }

  static absl::Status Wipe(const fs::path& dir) {
    std::error_code error;
    fs::remove_all(dir, error);
    if (!error) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat("cannot wipe ", dir.string(), ": ", error.message()));
  }

  static absl::Status Move(const fs::path& from, const fs::path& to) {
    std::error_code error;
    fs::rename(from, to, error);
    if (!error) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("cannot move ", from.string(),
                                            " to ", to.string(), ": ",
                                            error.message()));
  }

  std::string FindUv() const {
    if (options_.uv == "off") return "";
    if (!options_.uv.empty()) return options_.uv;
    for (const std::string& candidate : FindInPath("uv")) {
      // A shim may be there without a uv behind it.
      const absl::Status runs = RunCommand(
          {.argv = {candidate, "--version"}, .env = EnvironmentForChildren()},
          absl::Seconds(20), stop_, [](const std::string&) {});
      if (runs.ok()) return candidate;
    }
    return "";
  }

  absl::Status CheckRoom() const {
    struct statvfs room = {};
    if (request_.disk_bytes == 0 ||
        statvfs(options_.venvs_dir.c_str(), &room) != 0) {
      return absl::OkStatus();
    }
    const double gib = static_cast<double>(1 << 30);
    const double free =
        static_cast<double>(room.f_bavail) * static_cast<double>(room.f_frsize);
    if (free >= static_cast<double>(request_.disk_bytes)) {
      return absl::OkStatus();
    }
    return WithHint(
        absl::FailedPreconditionError(absl::StrFormat(
            "the environment of %s needs %.1f GiB in %s, %.1f GiB are free",
            request_.model, static_cast<double>(request_.disk_bytes) / gib,
            options_.venvs_dir, free / gib)),
        HintForInstallLog("No space left on device"));
  }

  absl::Status Create(const Python& python, const std::string& uv,
                      BuildLog& log) {
    ChildProcess::Options command = {.env = EnvironmentForChildren(),
                                     .cwd = options_.venvs_dir};
    if (uv.empty()) {
      command.argv = {python.path, "-I", "-m", "venv", dir_.string()};
    } else {
      command.argv = {
          uv,         "venv",      "--no-project", "--no-python-downloads",
          "--python", python.path, dir_.string()};
    }
    return RunStep(command, log, [&] {
      log.Report(MODEL_STATE_CREATING, 0, 0,
                 absl::StrCat("creating venv with Python ", python.version));
    });
  }

  absl::Status Install(const std::string& uv, BuildLog& log) {
    // Relative paths in the file are relative to the model's folder.
    ChildProcess::Options command = {
        .env = EnvironmentForChildren(),
        .cwd = fs::path(request_.requirements).parent_path().string()};
    if (uv.empty()) {
      command.argv = {python_,
                      "-I",
                      "-m",
                      "pip",
                      "install",
                      "--no-input",
                      "--no-cache-dir",
                      "--disable-pip-version-check",
                      "--progress-bar",
                      "off"};
    } else {
      command.argv = {uv,         "pip",   "install", "--no-python-downloads",
                      "--python", python_, "--color", "never"};
    }
    if (options_.only_binary) {
      command.argv.insert(command.argv.end(), {"--only-binary", ":all:"});
    }
    command.argv.insert(command.argv.end(), {"-r", request_.requirements});
    command.env.push_back("PYTHONUNBUFFERED=1");
    const int before = CountInstalled(dir_);
    InstallProgress install;
    const auto report = [&] {
      install.SetInstalled(CountInstalled(dir_) - before);
      log.Report(MODEL_STATE_INSTALLING, install.done(), install.total(),
                 install.text());
    };
    report();
    return RunStep(command, log, report,
                   [&](const std::string& line) { install.AddLine(line); });
  }

  absl::Status RunStep(const ChildProcess::Options& command, BuildLog& log,
                       const std::function<void()>& report,
                       const LineSplitter::LineFn& also = {}) {
    log.AddLine(absl::StrCat("$ ", absl::StrJoin(command.argv, " ")));
    const absl::Status status = RunCommand(
        command, options_.timeout, stop_,
        [&](const std::string& line) {
          log.AddLine(line);
          if (also) also(line);
        },
        report);
    report();
    if (status.ok() || absl::IsCancelled(status)) return status;
    const std::string tail = log.Tail(6);
    return WithHint(
        absl::InternalError(absl::StrCat(status.message(), ": ", tail)),
        HintForInstallLog(log.Tail(kTailLines)));
  }

  const Environment::Options& options_;
  const Environment::Request& request_;
  const PrepareProgressFn& progress_;
  const StopSignal& stop_;
  const fs::path dir_;
  const std::string marker_;
  const std::string python_;
  // Where the environment lies while it is built again.
  const fs::path before_;
  std::string hash_;
};

}  // namespace

absl::StatusOr<Environment::Ready> Environment::Ensure(
    const Request& request, const PrepareProgressFn& progress,
    const StopSignal& stop) {
  return Build(options_, request, progress, stop).Run();
}

std::string Environment::LogPath(const std::string& model) const {
  return absl::StrCat(options_.venvs_dir, "/", model, ".log");
}

std::vector<std::string> VariablesInEnvironment(const std::string& cache_dir,
                                                int threads) {
  std::vector<std::string> env = EnvironmentForChildren();
  std::erase_if(env, [](const std::string& variable) {
    return variable.rfind("HOME=", 0) == 0 || variable.rfind("PIP_", 0) == 0 ||
           variable.rfind("UV_", 0) == 0;
  });
  for (const char* name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                           "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
                           "POLARS_MAX_THREADS", "CAMHERD_WORKER_THREADS"}) {
    env.push_back(absl::StrCat(name, "=", threads));
  }
  for (const char* name : {"HOME", "YOLO_CONFIG_DIR", "MPLCONFIGDIR",
                           "TORCH_HOME", "XDG_CACHE_HOME"}) {
    env.push_back(absl::StrCat(name, "=", cache_dir));
  }
  // ultralytics must neither ask its servers nor install packages by itself.
  env.insert(env.end(), {"YOLO_OFFLINE=true", "YOLO_AUTOINSTALL=false",
                         "PYTHONUNBUFFERED=1"});
  // A decoded picture of 1080p is 6 MB: with glibc's defaults it is mapped and
  // cleared anew for each frame, a quarter of a small model's CPU.
  env.insert(env.end(), {"MALLOC_MMAP_THRESHOLD_=33554432",
                         "MALLOC_TRIM_THRESHOLD_=67108864"});
  return env;
}

}  // namespace camherd::inference
