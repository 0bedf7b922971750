// SPDX-License-Identifier: Apache-2.0
// What the power-cut test cuts off: a capture service on `<dir>/data`, in four
// runs, told apart by the second argument. The shim notes what it tells the
// outside, and `<dir>/../marks` what the outside remembers from run to run.
#include <dlfcn.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/integration/capture/power_cut_service.h"

namespace camherd::capture {
namespace {

using ::camherd::capture::testing::Eventually;
using ::camherd::capture::testing::PowerCutService;

void Run(const std::string& dir, int run) {
  const std::string marks = absl::StrCat(dir, "/../marks");
  using Function = void (*)(const char*);
  const auto shim =
      reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, "DiskShimMark"));
  if (shim == nullptr) ::_exit(2);
  const auto mark = [&](const std::string& text) {
    std::ofstream(marks, std::ios::app) << text << "\n";
    shim(text.c_str());
  };
  PowerCutService service(absl::StrCat(dir, "/data"), mark);
  std::ifstream known(marks);
  for (std::string line; std::getline(known, line);) {
    service.inference.Remember(line);
  }
  if (!service.Start().ok()) ::_exit(3);

  if (run == 1) {
    for (const char* name : {"one", "two"}) {
      v1::StartStreamRequest request;
      request.set_rtsp_url(absl::StrCat("rtsp://192.0.2.1/", name));
      request.add_models("animals");
      request.set_batch_size(3);
      const auto started = service.supervisor->StartStream(request);
      if (!started.ok()) ::_exit(4);
      mark(absl::StrCat("started ", started->stream().session_id()));
    }
  }
  if (run == 2) service.inference.LoseAnswers(3);
  const std::vector<v1::Stream> streams = service.Streams();
  if (streams.size() != 2) ::_exit(5);
  for (int i = 0; i < 7; ++i) {
    for (const v1::Stream& stream : streams) {
      if (stream.desired_running()) service.Take(stream.stream_id(), 2);
    }
    service.worker.Miss(streams[0].stream_id(), "late", 1);
  }
  if (run == 3) {
    v1::StopStreamRequest request;
    request.set_stream(streams[0].process_name());
    if (!service.supervisor->StopStream(request).ok()) ::_exit(6);
    mark(absl::StrCat("stopped ", streams[0].session_id()));
  }
  // Killed with all sent, in the middle, or stopped.
  if (run != 2) {
    Eventually([&] {
      int64_t spooled = 0;
      for (const v1::Stream& stream : service.Streams()) {
        spooled = std::max(spooled, stream.accounting().spooled());
      }
      return spooled < 3;
    });
  }
  if (run == 4) service.Stop();
  ::_exit(0);
}

}  // namespace
}  // namespace camherd::capture

int main(int argc, char** argv) {
  int run = 0;
  if (argc != 3 || !absl::SimpleAtoi(argv[2], &run)) return 2;
  camherd::capture::Run(argv[1], run);
}
