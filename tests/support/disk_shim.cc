// SPDX-License-Identifier: Apache-2.0
// Preloaded into a program by tests of what a disk may do to it. Watches the
// files below $DISK_SHIM_DIR, an absolute path; SQLite's -shm files are left
// out of the trace, since they are rebuilt.
//
// $DISK_SHIM_TRACE: what changes is appended to that file, in order, by all
// processes that have the shim. An entry is, in the machine's byte order,
//
//   u8 kind | u64 inode | u64 offset | u32 a | u32 b | u32 c
//   | a bytes: path | b bytes: new path | c bytes: data
//
// with paths below the folder and the kinds
//
//   C file made        W data written at `offset`   T cut or grown to `offset`
//   S file synced      D folder synced              M folder made
//   R renamed          L second name                U name removed
//   K mark: `data` is what the program says
//
// $DISK_SHIM_FAULTS: a file that says what fails, looked at before each call;
// tests replace it by rename. A line is
//
//   <call> <what> <every> [part of the path]
//
// with the call one of open (to write), write, truncate, fsync, rename, unlink,
// link, mkdir, or all, which is all but fsync; what one of ENOSPC, EIO, EROFS,
// EDQUOT, EINTR, SHORT (half of the bytes are written) and KILL (the process
// ends by SIGKILL before the call); and `every` a number: each such call, each
// second, ...
//
// $DISK_SHIM_CHILDREN, set: the programs that this one runs have the shim as
// well, and see the same faults, whatever environment they are given.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr int kShort = -1;
constexpr int kKill = -2;

template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

struct Fault {
  std::string call;
  int what = 0;  // errno, kShort or kKill.
  uint64_t every = 1;
  std::string path;
  uint64_t calls = 0;
};

// Never destroyed: other destructors write files.
struct Shim {
  Shim() {
    const char* folder = std::getenv("DISK_SHIM_DIR");
    if (folder != nullptr) dir = folder;
    if (const char* file = std::getenv("DISK_SHIM_TRACE"); file != nullptr) {
      using Open = int (*)(const char*, int, ...);
      trace = Next<Open>("open")(
          file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
      if (trace < 0) std::abort();
    }
    if (const char* file = std::getenv("DISK_SHIM_FAULTS"); file != nullptr) {
      faults_file = file;
    }
    if (std::getenv("DISK_SHIM_CHILDREN") == nullptr) return;
    for (const char* name : {"LD_PRELOAD", "DISK_SHIM_DIR", "DISK_SHIM_TRACE",
                             "DISK_SHIM_FAULTS", "DISK_SHIM_CHILDREN"}) {
      const char* value = std::getenv(name);
      if (value != nullptr)
        for_children.push_back(std::string(name) + "=" + value);
    }
  }

  std::string dir;
  int trace = -1;
  std::string faults_file;
  std::vector<std::string> for_children;
  using Exec = int (*)(const char*, char* const[], char* const[]);
  const Exec execve = Next<Exec>("execve");

  std::mutex mu;
  std::vector<Fault> faults;
  struct stat faults_stat = {};
};

Shim& TheShim() {
  static auto* const shim = new Shim;
  return *shim;
}

// Keeps the order of calls and trace the same: held around both, by all
// processes that write one trace.
class Hold {
 public:
  Hold() : lock_(TheShim().mu) {
    if (TheShim().trace >= 0) flock(TheShim().trace, LOCK_EX);
  }
  ~Hold() {
    const int error = errno;
    if (TheShim().trace >= 0) flock(TheShim().trace, LOCK_UN);
    errno = error;
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  const std::lock_guard<std::mutex> lock_;
};

int ErrorNumber(const std::string& name) {
  static const auto* const numbers = new std::map<std::string, int>{
      {"ENOSPC", ENOSPC}, {"EIO", EIO},     {"EROFS", EROFS},
      {"EDQUOT", EDQUOT}, {"EINTR", EINTR}, {"SHORT", kShort},
      {"KILL", kKill}};
  const auto found = numbers->find(name);
  if (found == numbers->end()) std::abort();
  return found->second;
}

// Reads the file of faults if it is another than before.
void RefreshFaults(Shim& shim) {
  struct stat now = {};
  if (stat(shim.faults_file.c_str(), &now) != 0) {
    shim.faults.clear();
    shim.faults_stat = {};
    return;
  }
  if (now.st_ino == shim.faults_stat.st_ino &&
      now.st_mtim.tv_sec == shim.faults_stat.st_mtim.tv_sec &&
      now.st_mtim.tv_nsec == shim.faults_stat.st_mtim.tv_nsec) {
    return;
  }
  shim.faults_stat = now;
  shim.faults.clear();
  using Open = int (*)(const char*, int, ...);
  const int fd =
      Next<Open>("open")(shim.faults_file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  char text[4096];
  const ssize_t size = read(fd, text, sizeof(text));
  close(fd);
  std::istringstream lines(
      std::string(text, size > 0 ? static_cast<size_t>(size) : 0));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    Fault fault;
    std::string what;
    if (!(words >> fault.call >> what >> fault.every)) continue;
    words >> fault.path;
    fault.what = ErrorNumber(what);
    shim.faults.push_back(fault);
  }
}

// What is to happen to the call: 0 for nothing. Sets errno where it fails.
int FaultOf(const char* call, const std::string& path) {
  Shim& shim = TheShim();
  if (shim.faults_file.empty()) return 0;
  const int error = errno;
  int what = 0;
  {
    const std::lock_guard<std::mutex> lock(shim.mu);
    RefreshFaults(shim);
    for (Fault& fault : shim.faults) {
      if (fault.call != call &&
          (fault.call != "all" || std::strcmp(call, "fsync") == 0)) {
        continue;
      }
      if (path.find(fault.path) == std::string::npos) continue;
      if (++fault.calls % fault.every != 0) continue;
      what = fault.what;
      break;
    }
  }
  if (what == kKill) raise(SIGKILL);
  errno = what > 0 ? what : error;
  return what;
}

// The path below the watched folder: empty for the folder itself. False if it
// lies elsewhere.
bool Below(const std::string& path, std::string& below) {
  const std::string& dir = TheShim().dir;
  if (dir.empty() || path.compare(0, dir.size(), dir) != 0) return false;
  below = path.substr(dir.size());
  if (!below.empty() && below[0] != '/') return false;
  while (!below.empty() && below[0] == '/') below.erase(0, 1);
  while (!below.empty() && below.back() == '/') below.pop_back();
  return true;
}

std::string LinkTarget(const std::string& link) {
  char target[4096];
  const ssize_t size = readlink(link.c_str(), target, sizeof(target));
  return std::string(target, size > 0 ? static_cast<size_t>(size) : 0);
}

std::string PathOf(int fd) {
  return LinkTarget("/proc/self/fd/" + std::to_string(fd));
}

// True if the name is watched.
bool Watched(int dir, const char* path, std::string& below) {
  if (TheShim().dir.empty() || path == nullptr) return false;
  const int error = errno;
  std::string full = path;
  if (path[0] != '/') {
    full = (dir == AT_FDCWD ? LinkTarget("/proc/self/cwd") : PathOf(dir)) +
           "/" + path;
  }
  const bool watched = Below(full, below);
  errno = error;
  return watched;
}

// True if the open file is one that is watched.
bool Watched(int fd, std::string& below, struct stat& info) {
  if (TheShim().dir.empty()) return false;
  const int error = errno;
  const bool watched = fstat(fd, &info) == 0 &&
                       (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) &&
                       Below(PathOf(fd), below);
  errno = error;
  return watched;
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() &&
         text.compare(text.size() - end.size(), end.size(), end) == 0;
}

void Put(std::string& out, const void* value, size_t size) {
  out.append(static_cast<const char*>(value), size);
}

// Appends an entry to the trace. REQUIRES: a Hold.
void Trace(char kind, uint64_t inode, uint64_t offset, const std::string& path,
           const std::string& new_path, const void* data, size_t size) {
  const int fd = TheShim().trace;
  if (fd < 0 || EndsWith(path, "-shm")) return;
  const int error = errno;
  const auto a = static_cast<uint32_t>(path.size());
  const auto b = static_cast<uint32_t>(new_path.size());
  const auto c = static_cast<uint32_t>(size);
  std::string entry(1, kind);
  Put(entry, &inode, sizeof(inode));
  Put(entry, &offset, sizeof(offset));
  Put(entry, &a, sizeof(a));
  Put(entry, &b, sizeof(b));
  Put(entry, &c, sizeof(c));
  entry += path + new_path;
  if (size > 0) Put(entry, data, size);
  using Write = ssize_t (*)(int, const void*, size_t);
  static const auto real = Next<Write>("write");
  if (real(fd, entry.data(), entry.size()) !=
      static_cast<ssize_t>(entry.size())) {
    std::abort();
  }
  errno = error;
}

void TraceName(char kind, const std::string& path,
               const std::string& new_path = "") {
  Trace(kind, 0, 0, path, new_path, nullptr, 0);
}

template <typename Real>
int Open(int dir, const char* path, int flags, const Real& real) {
  std::string below;
  const bool writes =
      (flags & (O_CREAT | O_TRUNC)) != 0 || (flags & O_ACCMODE) != O_RDONLY;
  if (!writes || !Watched(dir, path, below)) return real();
  if (FaultOf("open", below) > 0) return -1;
  const Hold hold;
  struct stat before = {};
  const bool existed = fstatat(dir, path, &before, 0) == 0;
  const int fd = real();
  struct stat info = {};
  if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return fd;
  if (!existed) {
    Trace('C', info.st_ino, 0, below, "", nullptr, 0);
  } else if ((flags & O_TRUNC) != 0) {
    Trace('T', info.st_ino, 0, below, "", nullptr, 0);
  }
  return fd;
}

// `real` writes the first n bytes.
template <typename Real>
ssize_t Write(int fd, const void* data, size_t size, off_t offset,
              const Real& real) {
  std::string below;
  struct stat info = {};
  if (!Watched(fd, below, info) || !S_ISREG(info.st_mode)) return real(size);
  const int fault = FaultOf("write", below);
  if (fault > 0) return -1;
  if (fault == kShort && size > 1) size /= 2;
  const Hold hold;
  const ssize_t written = real(size);
  if (written > 0) {
    const off_t at = offset >= 0 ? offset : lseek(fd, 0, SEEK_CUR) - written;
    Trace('W', info.st_ino, static_cast<uint64_t>(at), below, "", data,
          static_cast<size_t>(written));
  }
  return written;
}

template <typename Real>
int Truncate(int fd, off_t size, const Real& real) {
  std::string below;
  struct stat info = {};
  if (!Watched(fd, below, info)) return real();
  if (FaultOf("truncate", below) > 0) return -1;
  const Hold hold;
  const int result = real();
  if (result == 0) {
    Trace('T', info.st_ino, static_cast<uint64_t>(size), below, "", nullptr, 0);
  }
  return result;
}

template <typename Real>
int Sync(int fd, const Real& real) {
  std::string below;
  struct stat info = {};
  if (!Watched(fd, below, info)) return real();
  if (FaultOf("fsync", below) > 0) return -1;
  const Hold hold;
  const int result = real();
  if (result == 0) {
    Trace(S_ISDIR(info.st_mode) ? 'D' : 'S', info.st_ino, 0, below, "", nullptr,
          0);
  }
  return result;
}

template <typename Real>
int Remove(int dir, const char* path, const Real& real) {
  std::string below;
  if (!Watched(dir, path, below)) return real();
  if (FaultOf("unlink", below) > 0) return -1;
  const Hold hold;
  const int result = real();
  if (result == 0) TraceName('U', below);
  return result;
}

template <typename Real>
int MakeFolder(int dir, const char* path, const Real& real) {
  std::string below;
  if (!Watched(dir, path, below)) return real();
  // One that is there already is no change.
  struct stat info = {};
  if (fstatat(dir, path, &info, 0) == 0) return real();
  if (FaultOf("mkdir", below) > 0) return -1;
  const Hold hold;
  const int result = real();
  if (result == 0) TraceName('M', below);
  return result;
}

// Rename and link.
template <typename Real>
int Name(char kind, const char* call, int from_dir, const char* from,
         int to_dir, const char* to, const Real& real) {
  std::string below_from;
  std::string below_to;
  if (!Watched(from_dir, from, below_from) || !Watched(to_dir, to, below_to)) {
    return real();
  }
  if (FaultOf(call, below_to) > 0) return -1;
  const Hold hold;
  const int result = real();
  if (result == 0) TraceName(kind, below_from, below_to);
  return result;
}

unsigned ModeOf(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, unsigned) : 0;
}

}  // namespace

// Between fork and exec nothing may be allocated or looked up.
[[gnu::constructor]] static void MakeShim() { TheShim(); }

extern "C" int execve(const char* path, char* const argv[],
                      char* const environment[]) {
  constexpr size_t kMost = 256;
  const Shim& shim = TheShim();
  const char* all[kMost + 1];
  size_t size = 0;
  for (const std::string& own : shim.for_children) all[size++] = own.c_str();
  for (char* const* entry = environment; *entry != nullptr; ++entry) {
    if (size < kMost) all[size++] = *entry;
  }
  all[size] = nullptr;
  return shim.execve(path, argv, const_cast<char* const*>(all));
}

// Told by the program, see K above.
extern "C" void DiskShimMark(const char* text) {
  const Hold hold;
  Trace('K', 0, 0, "", "", text, std::strlen(text));
}

#define CAMHERD_OPEN(name)                                \
  extern "C" int name(const char* path, int flags, ...) { \
    va_list arguments;                                    \
    va_start(arguments, flags);                           \
    const unsigned mode = ModeOf(flags, arguments);       \
    va_end(arguments);                                    \
    using Real = int (*)(const char*, int, ...);          \
    static const auto real = Next<Real>(#name);           \
    return Open(AT_FDCWD, path, flags,                    \
                [&] { return real(path, flags, mode); }); \
  }
CAMHERD_OPEN(open)
CAMHERD_OPEN(open64)

#define CAMHERD_OPENAT(name)                                       \
  extern "C" int name(int dir, const char* path, int flags, ...) { \
    va_list arguments;                                             \
    va_start(arguments, flags);                                    \
    const unsigned mode = ModeOf(flags, arguments);                \
    va_end(arguments);                                             \
    using Real = int (*)(int, const char*, int, ...);              \
    static const auto real = Next<Real>(#name);                    \
    return Open(dir, path, flags,                                  \
                [&] { return real(dir, path, flags, mode); });     \
  }
CAMHERD_OPENAT(openat)
CAMHERD_OPENAT(openat64)

extern "C" ssize_t write(int fd, const void* data, size_t size) {
  using Real = ssize_t (*)(int, const void*, size_t);
  static const auto real = Next<Real>("write");
  return Write(fd, data, size, -1, [&](size_t n) { return real(fd, data, n); });
}

#define CAMHERD_PWRITE(name)                                                 \
  extern "C" ssize_t name(int fd, const void* data, size_t size, off_t at) { \
    using Real = ssize_t (*)(int, const void*, size_t, off_t);               \
    static const auto real = Next<Real>(#name);                              \
    return Write(fd, data, size, at,                                         \
                 [&](size_t n) { return real(fd, data, n, at); });           \
  }
CAMHERD_PWRITE(pwrite)
CAMHERD_PWRITE(pwrite64)

extern "C" ssize_t writev(int fd, const iovec* parts, int count) {
  using Real = ssize_t (*)(int, const iovec*, int);
  static const auto real = Next<Real>("writev");
  std::string below;
  struct stat info = {};
  if (!Watched(fd, below, info) || !S_ISREG(info.st_mode)) {
    return real(fd, parts, count);
  }
  std::string all;
  for (int i = 0; i < count; ++i) Put(all, parts[i].iov_base, parts[i].iov_len);
  return write(fd, all.data(), all.size());
}

#define CAMHERD_FTRUNCATE(name)                                \
  extern "C" int name(int fd, off_t size) noexcept {           \
    using Real = int (*)(int, off_t);                          \
    static const auto real = Next<Real>(#name);                \
    return Truncate(fd, size, [&] { return real(fd, size); }); \
  }
CAMHERD_FTRUNCATE(ftruncate)
CAMHERD_FTRUNCATE(ftruncate64)

#define CAMHERD_SYNC(name)                      \
  extern "C" int name(int fd) {                 \
    using Real = int (*)(int);                  \
    static const auto real = Next<Real>(#name); \
    return Sync(fd, [&] { return real(fd); });  \
  }
CAMHERD_SYNC(fsync)
CAMHERD_SYNC(fdatasync)

extern "C" int rename(const char* from, const char* to) noexcept {
  using Real = int (*)(const char*, const char*);
  static const auto real = Next<Real>("rename");
  return Name('R', "rename", AT_FDCWD, from, AT_FDCWD, to,
              [&] { return real(from, to); });
}

extern "C" int renameat(int from_dir, const char* from, int to_dir,
                        const char* to) noexcept {
  using Real = int (*)(int, const char*, int, const char*);
  static const auto real = Next<Real>("renameat");
  return Name('R', "rename", from_dir, from, to_dir, to,
              [&] { return real(from_dir, from, to_dir, to); });
}

extern "C" int link(const char* from, const char* to) noexcept {
  using Real = int (*)(const char*, const char*);
  static const auto real = Next<Real>("link");
  return Name('L', "link", AT_FDCWD, from, AT_FDCWD, to,
              [&] { return real(from, to); });
}

#define CAMHERD_REMOVE(name)                                   \
  extern "C" int name(const char* path) noexcept {             \
    using Real = int (*)(const char*);                         \
    static const auto real = Next<Real>(#name);                \
    return Remove(AT_FDCWD, path, [&] { return real(path); }); \
  }
CAMHERD_REMOVE(unlink)
CAMHERD_REMOVE(rmdir)
CAMHERD_REMOVE(remove)

extern "C" int unlinkat(int dir, const char* path, int flags) noexcept {
  using Real = int (*)(int, const char*, int);
  static const auto real = Next<Real>("unlinkat");
  return Remove(dir, path, [&] { return real(dir, path, flags); });
}

extern "C" int mkdir(const char* path, mode_t mode) noexcept {
  using Real = int (*)(const char*, mode_t);
  static const auto real = Next<Real>("mkdir");
  return MakeFolder(AT_FDCWD, path, [&] { return real(path, mode); });
}

extern "C" int mkdirat(int dir, const char* path, mode_t mode) noexcept {
  using Real = int (*)(int, const char*, mode_t);
  static const auto real = Next<Real>("mkdirat");
  return MakeFolder(dir, path, [&] { return real(dir, path, mode); });
}
