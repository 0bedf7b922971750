// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace camherd::testing {

// One of the programs in tests/rtsp, from construction to destruction. port()
// is 0 if it did not get ready.
//
// Not thread-safe.
class RtspServer {
 public:
  // `program` is a file of `folder`; the programs print `ready port=N`.
  RtspServer(const std::string& folder, const std::string& program,
             const std::vector<std::string>& arguments) {
    int out[2];
    if (pipe(out) != 0) return;
    std::vector<std::string> all = {"/usr/bin/python3",
                                    absl::StrCat(folder, "/", program)};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    argv.reserve(all.size() + 1);
    for (std::string& argument : all) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(out[1], STDOUT_FILENO);
      close(out[0]);
      close(out[1]);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(out[1]);
    FILE* lines = fdopen(out[0], "r");
    char line[512];
    while (port_ == 0 && std::fgets(line, sizeof(line), lines) != nullptr) {
      std::sscanf(line, "ready port=%d", &port_);
    }
    // Kept open: a server that prints more must not die of it.
    output_ = lines;
  }
  ~RtspServer() {
    Kill(SIGKILL);
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
    if (output_ != nullptr) std::fclose(output_);
  }

  RtspServer(const RtspServer&) = delete;
  RtspServer& operator=(const RtspServer&) = delete;

  void Kill(int signal) const {
    if (pid_ > 0) kill(pid_, signal);
  }
  int port() const { return port_; }
  std::string Url(const std::string& path, const std::string& user = "") const {
    return absl::StrCat("rtsp://", user, user.empty() ? "" : "@",
                        "127.0.0.1:", port_, "/", path);
  }

 private:
  pid_t pid_ = -1;
  int port_ = 0;
  FILE* output_ = nullptr;
};

// True if the good camera's program can run here.
inline bool HaveRtspCamera() {
  return std::system(
             "/usr/bin/python3 -c 'import gi;"
             "gi.require_version(\"GstRtspServer\",\"1.0\")' 2>/dev/null") == 0;
}

}  // namespace camherd::testing
