// SPDX-License-Identifier: Apache-2.0
// A worker process with cameras that do what the last segment of their path
// says, for process_workers_test:
//   ok      a picture every 50 ms
//   crash   writes where it must not in its first Read
//   throw   an exception nobody catches
//   hang    its first Read never comes back
//   eat     takes memory without end
//   lie     says what no worker says
// With `?once=FILE` it does so where FILE is not there yet, and makes it; after
// that it is ok.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "services/capture/jpeg_encoder.h"
#include "services/capture/worker_process.h"
#include "services/common/child_process.h"
#include "services/common/clock.h"

namespace camherd::capture {
namespace {

std::shared_ptr<const std::string> AnyJpeg() {
  const std::vector<uint8_t> grey(64 * 48, 100);
  Picture picture;
  picture.width = 64;
  picture.height = 48;
  picture.chroma = Picture::Chroma::k444;
  for (int i = 0; i < 3; ++i) {
    picture.planes[i] = grey.data();
    picture.strides[i] = 64;
  }
  return std::make_shared<const std::string>(
      JpegEncoder(85).Encode(picture).value().data);
}

class ScriptedSource : public PacketSource {
 public:
  explicit ScriptedSource(const CameraUrl& url) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(url.Full(), absl::MaxSplits("?once=", 1));
    script_ = parts.first.substr(parts.first.rfind('/') + 1);
    const std::string& once = parts.second;
    if (once.empty()) return;
    const int fd = open(once.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (fd < 0) script_ = "ok";
    close(fd);
  }

  absl::StatusOr<VideoParameters> Open() override {
    return VideoParameters{.codec = Codec::kMjpeg, .extradata = ""};
  }

  absl::StatusOr<AccessUnit> Read() override {
    if (script_ == "crash") {
      void* const page =
          mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      *static_cast<char*>(page) = 1;
    }
    if (script_ == "throw") throw std::bad_alloc();
    while (script_ == "hang") Clock::Real().SleepFor(absl::Seconds(1));
    std::vector<std::string> eaten;
    while (script_ == "eat") eaten.emplace_back(16 << 20, 'x');
    Clock::Real().SleepFor(absl::Milliseconds(50));
    if (cancelled_) return absl::CancelledError("cancelled");
    AccessUnit unit;
    unit.data = jpeg_;
    unit.keyframe = true;
    unit.arrival = Clock::Real().SteadyNow();
    unit.wall = Clock::Real().Now();
    return unit;
  }

  void Cancel() override { cancelled_ = true; }
  std::string local_ip() const override {
    return script_ == "lie" ? "no address" : "127.0.0.1";
  }
  int64_t received_bytes() const override { return 1000; }

 private:
  const std::shared_ptr<const std::string> jpeg_ = AnyJpeg();
  std::string script_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace
}  // namespace camherd::capture

int main() {
  using namespace camherd::capture;
  return RunWorkerProcess(
      camherd::ChildProcess::kPassedFd,
      [](const camherd::v1::WorkerConfig&) -> PacketSourceFactory {
        return [](const camherd::CameraUrl& url, const PacketSource::Options&) {
          return std::make_unique<ScriptedSource>(url);
        };
      });
}
