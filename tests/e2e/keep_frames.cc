// SPDX-License-Identifier: Apache-2.0
// Preloaded into the capture service by tests that look at every frame it
// ever spooled: a JPEG under .../frames/ gets a second name in
// $KEEP_FRAMES_DIR just before the service removes it.

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

void Keep(int dir, const char* path) {
  const char* keep = std::getenv("KEEP_FRAMES_DIR");
  if (keep == nullptr) return;
  std::string full = path;
  if (dir != AT_FDCWD && path[0] != '/') {
    char folder[4096];
    const std::string link = "/proc/self/fd/" + std::to_string(dir);
    const ssize_t size = readlink(link.c_str(), folder, sizeof(folder));
    if (size <= 0) return;
    full = std::string(folder, static_cast<size_t>(size)) + "/" + path;
  }
  const size_t frames = full.find("/frames/");
  if (frames == std::string::npos || full.size() < 4 ||
      full.compare(full.size() - 4, 4, ".jpg") != 0) {
    return;
  }
  std::string name = full.substr(frames + std::strlen("/frames/"));
  for (char& c : name) {
    if (c == '/') c = '+';
  }
  const std::string target = std::string(keep) + "/" + name;
  if (linkat(AT_FDCWD, full.c_str(), AT_FDCWD, target.c_str(), 0) != 0) {
    std::perror(target.c_str());
  }
}

}  // namespace

extern "C" int unlink(const char* path) noexcept {
  Keep(AT_FDCWD, path);
  return Next<int (*)(const char*)>("unlink")(path);
}

extern "C" int unlinkat(int dir, const char* path, int flags) noexcept {
  if ((flags & AT_REMOVEDIR) == 0) Keep(dir, path);
  return Next<int (*)(int, const char*, int)>("unlinkat")(dir, path, flags);
}

extern "C" int remove(const char* path) noexcept {
  Keep(AT_FDCWD, path);
  return Next<int (*)(const char*)>("remove")(path);
}
