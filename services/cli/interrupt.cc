// SPDX-License-Identifier: Apache-2.0
#include "services/cli/interrupt.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstring>

namespace camherd::cli {
namespace {

// What the handler reads: plain bytes, and flags that are set last.
std::array<char, PATH_MAX> path_to_remove;
std::atomic<bool> removes = false;
termios shown_input;
std::atomic<bool> hides = false;

void End(int number) {
  if (removes) unlink(path_to_remove.data());
  if (hides) tcsetattr(STDIN_FILENO, TCSANOW, &shown_input);
  _exit(128 + number);
}

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = End;
  for (const int number : {SIGINT, SIGTERM}) {
    struct sigaction before = {};
    sigaction(number, nullptr, &before);
    // A shell ignores SIGINT for what runs in the background.
    if (before.sa_handler != SIG_IGN) sigaction(number, &action, nullptr);
  }
}

void RemoveAtInterrupt(const std::string& path) {
  removes = false;
  if (path.empty() || path.size() >= path_to_remove.size()) return;
  std::memcpy(path_to_remove.data(), path.c_str(), path.size() + 1);
  removes = true;
}

void HideInput() {
  if (tcgetattr(STDIN_FILENO, &shown_input) != 0) return;
  hides = true;
  termios hidden = shown_input;
  hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  tcsetattr(STDIN_FILENO, TCSANOW, &hidden);
}

void ShowInput() {
  if (hides) tcsetattr(STDIN_FILENO, TCSANOW, &shown_input);
  hides = false;
}

}  // namespace camherd::cli
