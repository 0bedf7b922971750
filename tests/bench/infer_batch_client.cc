// SPDX-License-Identifier: Apache-2.0
// Sends batches over InferBatch and prints what they cost both ends:
//
//   camherd_bench_infer_batch TARGET SERVER_PID BATCHES FRAMES FRAME_BYTES
//   {"batches":200,"client_cpu_seconds":0.41,"server_cpu_seconds":0.25}
//
// CPU is user + sys of the whole process, by the processes' CPU clocks; the
// first tenth of the batches is sent before counting begins. Each frame is
// copied into its message, as capture reads it from the spool into one.

#include <grpcpp/grpcpp.h>
#include <time.h>

#include <cstdint>
#include <cstdio>
#include <random>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/common/grpc_client.h"
#include "services/common/service_main.h"

namespace camherd::bench {
namespace {

double ClockSeconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) +
         static_cast<double>(now.tv_nsec) * 1e-9;
}

// What cannot be compressed, like a JPEG.
std::string Noise(int size) {
  std::minstd_rand random(1);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() >> 8);
  return bytes;
}

v1::InferBatchRequest Header(int frames, int frame_bytes, int64_t batch_seq) {
  v1::InferBatchRequest request;
  v1::InferBatchHeader& header = *request.mutable_header();
  header.set_manifest_sha256(std::string(32, 'h'));
  v1::BatchManifest& manifest = *header.mutable_manifest();
  manifest.set_session_id("01900000-0000-7000-8000-000000000000");
  manifest.set_batch_seq(batch_seq);
  manifest.add_models("null");
  for (int i = 0; i < frames; ++i) {
    v1::FrameInfo& info = *manifest.add_frames();
    info.set_frame_seq(batch_seq * frames + i);
    info.set_sha256(std::string(32, 's'));
    info.set_size_bytes(frame_bytes);
  }
  return request;
}

bool SendBatch(v1::InferenceService::Stub& stub, const std::string& jpeg,
               int frames, int64_t batch_seq) {
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(10));
  v1::InferBatchResponse response;
  auto writer = stub.InferBatch(&context, &response);
  v1::InferBatchRequest request =
      Header(frames, static_cast<int>(jpeg.size()), batch_seq);
  writer->Write(request);
  for (int i = 0; i < frames; ++i) {
    v1::InferBatchRequest part;
    v1::Frame& frame = *part.mutable_frame();
    *frame.mutable_info() = request.header().manifest().frames(i);
    frame.set_jpeg(jpeg);
    writer->Write(part);
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (!status.ok()) {
    std::fprintf(stderr, "InferBatch: %s\n", status.error_message().c_str());
  }
  return status.ok();
}

int Main(int argc, char** argv) {
  int server_pid = 0;
  int batches = 0;
  int frames = 0;
  int frame_bytes = 0;
  if (argc != 6 || !absl::SimpleAtoi(argv[2], &server_pid) ||
      !absl::SimpleAtoi(argv[3], &batches) ||
      !absl::SimpleAtoi(argv[4], &frames) ||
      !absl::SimpleAtoi(argv[5], &frame_bytes)) {
    std::fprintf(stderr,
                 "usage: %s TARGET SERVER_PID BATCHES FRAMES FRAME_BYTES\n",
                 argv[0]);
    return 2;
  }
  KeepFreedMemory();
  clockid_t server_clock{};
  if (clock_getcpuclockid(server_pid, &server_clock) != 0) {
    std::fprintf(stderr, "SERVER_PID must be a process, got %d\n", server_pid);
    return 2;
  }
  auto stub = v1::InferenceService::NewStub(MakeChannel(argv[1]));
  const std::string jpeg = Noise(frame_bytes);
  const int warm_up = batches / 10 + 1;
  int64_t batch_seq = 0;
  for (int i = 0; i < warm_up; ++i) {
    if (!SendBatch(*stub, jpeg, frames, ++batch_seq)) return 1;
  }
  const double client = ClockSeconds(CLOCK_PROCESS_CPUTIME_ID);
  const double server = ClockSeconds(server_clock);
  for (int i = 0; i < batches; ++i) {
    if (!SendBatch(*stub, jpeg, frames, ++batch_seq)) return 1;
  }
  std::printf(
      "{\"batches\":%d,\"client_cpu_seconds\":%.6f,"
      "\"server_cpu_seconds\":%.6f}\n",
      batches, ClockSeconds(CLOCK_PROCESS_CPUTIME_ID) - client,
      ClockSeconds(server_clock) - server);
  return 0;
}

}  // namespace
}  // namespace camherd::bench

int main(int argc, char** argv) { return camherd::bench::Main(argc, argv); }
