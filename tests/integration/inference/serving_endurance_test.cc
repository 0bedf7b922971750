// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_server.h"
#include "services/common/grpc_status.h"
#include "services/common/retry_delay.h"
#include "services/common/service_main.h"
#include "services/inference/engine_factory.h"
#include "services/inference/inference_service.h"
#include "services/inference/jpeg_decoder.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

// The service with real networks, for longer than any other test: does it keep
// memory, does it come to a halt? CMakeLists.txt says for how long, and when it
// has warmed up: CAMHERD_LOADS and CAMHERD_WARM_LOADS, and so for inferences.
namespace camherd::inference {
namespace {

using ::camherd::inference::testing::MakeBatch;
using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::TestBatch;
using ::camherd::inference::testing::WaitUntil;
using namespace camherd::v1;

constexpr int kClients = 8;
// A sanitizer's allocator keeps what was freed.
#ifdef CAMHERD_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
// What the allocator's arenas and the threads' stacks may still grow by.
constexpr double kMostGrowthMiB = 16;

std::string WeightsDir() {
  const char* dir = std::getenv("CAMHERD_WEIGHTS_DIR");
  return dir != nullptr ? dir : CAMHERD_SOURCE_DIR "/../shared/data/weights";
}

// Of this process, without what the allocator only keeps.
double ResidentMiB() {
  malloc_trim(0);
  int64_t size = 0;
  int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return static_cast<double>(resident * sysconf(_SC_PAGESIZE)) / (1 << 20);
}

void ExpectNoGrowth(double before, double after, const std::string& what) {
  printf("resident: %.1f MiB warm, %.1f MiB after %s\n", before, after,
         what.c_str());
  if constexpr (!kSanitized) {
    EXPECT_LT(after - before, kMostGrowthMiB);
  }
}

// Takes every record and keeps none.
class DiscardingSink : public ResultSink {
 public:
  absl::Status CheckAvailable() override { return absl::OkStatus(); }
  absl::StatusOr<AddBatchResultResponse> AddBatchResult(
      const AddBatchResultHeader&, const std::vector<PictureRef>&) override {
    return AddBatchResultResponse();
  }
};

class ServingEnduranceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    KeepFreedMemory();
    for (const char* file : {"pothole_yolov5nu_256.onnx", "yolox_nano.onnx"}) {
      if (!std::filesystem::exists(absl::StrCat(WeightsDir(), "/", file))) {
        GTEST_SKIP() << "no " << file << " in " << WeightsDir();
      }
    }
    for (const char* name : {"dog_street.jpg", "pothole_10.jpg"}) {
      jpegs_.push_back(
          ReadFile(absl::StrCat(WeightsDir(), "/../images/", name), 16 << 20)
              .value());
    }
    EngineFactoryOptions engines;
    engines.environment.venvs_dir = dir_.path() + "/venvs";
    engines.cache_dir = dir_.path() + "/cache";
    ModelRegistry::Options options;
    options.models_dir = CAMHERD_SOURCE_DIR "/models";
    options.weights_dir = WeightsDir();
    registry_ = std::make_unique<ModelRegistry>(
        options, MakeEngineFactory(engines, nullptr), Clock::Real(), nullptr);
  }

  void MakeReady(const std::string& model) {
    CAMHERD_ASSERT_OK(registry_->Prepare(model, false));
    ASSERT_TRUE(WaitUntil(
        [&] { return registry_->Get(model)->state() == MODEL_STATE_READY; }));
  }

  TempDir dir_;
  std::vector<std::string> jpegs_;
  std::unique_ptr<ModelRegistry> registry_;
};

TEST_F(ServingEnduranceTest, LoadingAndUnloadingLeavesNoMemoryBehind) {
  const auto size = ReadJpegHeader(jpegs_[1], 1 << 26);
  const Picture picture = {1, jpegs_[1], size->width, size->height};
  double warm = 0;
  for (int load = 1; load <= CAMHERD_LOADS; ++load) {
    MakeReady("pothole");
    {
      const auto use = registry_->Acquire("pothole");
      ASSERT_NE(use.engine, nullptr);
      CAMHERD_ASSERT_OK(use.engine->Infer({picture}, {}));
    }
    CAMHERD_ASSERT_OK(registry_->Unload("pothole"));
    if (load == CAMHERD_WARM_LOADS) warm = ResidentMiB();
  }
  ExpectNoGrowth(warm, ResidentMiB(), absl::StrCat(CAMHERD_LOADS, " loads"));
}

// The whole service, its clients, and somebody who loads and unloads a model
// under them.
class BusyServiceTest : public ServingEnduranceTest {
 protected:
  void SetUp() override {
    ServingEnduranceTest::SetUp();
    if (IsSkipped()) return;
    MakeReady("pothole");
    MakeReady("animals_yolox");
    InferenceCore::Options options;
    // Less than the clients ask for.
    options.max_batches_in_flight = kClients - 2;
    options.admission_retry = absl::Milliseconds(20);
    options.model_retry = absl::Milliseconds(20);
    core_ =
        std::make_unique<InferenceCore>(options, *registry_, sink_, nullptr);
    service_ = std::make_unique<InferenceServiceImpl>(
        InferenceServiceImpl::Options(), *core_, *registry_, nullptr);
    server_ = GrpcServer::Start({.listen = "127.0.0.1:0"}, {service_.get()},
                                {InferenceService::service_full_name()})
                  .value();
    server_->SetServing(true);
  }
  void TearDown() override {
    if (core_ != nullptr) core_->Drain();
    if (server_ != nullptr) server_->Stop(absl::Seconds(2));
  }

  std::unique_ptr<InferenceService::Stub> Connect() {
    return InferenceService::NewStub(MakeChannel(server_->address()));
  }

  absl::Status Detect(InferenceService::Stub& stub, const std::string& jpeg) {
    DetectRequest request;
    request.set_model("pothole");
    request.set_jpeg(jpeg);
    DetectResponse response;
    grpc::ClientContext context;
    SetDeadline(context, absl::Minutes(2));
    return FromGrpcStatus(stub.Detect(&context, request, &response), &context);
  }

  absl::Status Infer(InferenceService::Stub& stub, const TestBatch& batch) {
    InferBatchResponse response;
    grpc::ClientContext context;
    SetDeadline(context, absl::Minutes(2));
    const auto writer = stub.InferBatch(&context, &response);
    InferBatchRequest request;
    *request.mutable_header() = batch.header;
    bool open = writer->Write(request);
    for (const Frame& frame : batch.frames) {
      *request.mutable_frame() = frame;
      open = open && writer->Write(request);
    }
    writer->WritesDone();
    return FromGrpcStatus(writer->Finish(), &context);
  }

  // Calls until it is answered; what is refused comes back when it was told to.
  void Insist(const std::function<absl::Status()>& call) {
    for (;;) {
      const absl::Status status = call();
      if (status.ok()) return;
      ++refused_;
      const bool later =
          absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
      EXPECT_TRUE(later) << status;
      if (!later) return;
      Clock::Real().SleepFor(
          RetryDelay(status).value_or(absl::Milliseconds(20)));
    }
  }

  // Batches of one to ten pictures for one model or both, and single pictures.
  void RunClient(int client, int until) {
    const auto stub = Connect();
    const std::string id = absl::StrCat("client-", client);
    while (inferences_ < until) {
      const int64_t seq = ++seq_;
      const auto turn = static_cast<size_t>(client + seq);
      const std::string& jpeg = jpegs_[turn / 4 % 2];
      if (turn % 4 == 0) {
        Insist([&] { return Detect(*stub, jpeg); });
        ++inferences_;
        continue;
      }
      std::vector<std::string> models = {"pothole"};
      if (turn % 4 == 1) models = {"animals_yolox"};
      if (turn % 4 == 2) models.emplace_back("animals_yolox");
      const size_t pictures = 1 + turn % 10;
      TestBatch batch =
          MakeBatch(models, std::vector<std::string>(pictures, jpeg), seq);
      batch.header.mutable_manifest()->set_stream_id(id);
      batch.header.mutable_manifest()->set_session_id(id);
      Insist([&] { return Infer(*stub, batch); });
      inferences_ += static_cast<int>(models.size() * pictures);
    }
  }

  // The clients' batches bring back what is unloaded.
  void LoadAndUnload(int until) {
    const auto stub = Connect();
    const int begin = inferences_;
    for (int step = 1; step < 10; ++step) {
      const int next = begin + (until - begin) / 10 * step;
      while (!WaitUntil([&] { return inferences_ >= next; })) {
      }
      grpc::ClientContext context;
      SetDeadline(context, absl::Minutes(2));
      if (step % 2 == 0) {
        UnloadModelRequest request;
        request.set_name("pothole");
        Model model;
        const grpc::Status status =
            stub->UnloadModel(&context, request, &model);
        // It may be on its way back already.
        EXPECT_TRUE(status.ok() ||
                    status.error_code() == grpc::FAILED_PRECONDITION)
            << status.error_message();
      } else {
        PrepareModelRequest request;
        request.set_name("pothole");
        request.set_rebuild(true);
        const auto reader = stub->PrepareModel(&context, request);
        PrepareModelResponse response;
        while (reader->Read(&response)) {
        }
        EXPECT_EQ(response.model().state(), MODEL_STATE_READY);
        EXPECT_TRUE(reader->Finish().ok());
      }
    }
  }

  // Serves until there were so many inferences.
  void Serve(int until) {
    std::vector<std::thread> threads;
    for (int client = 0; client < kClients; ++client) {
      threads.emplace_back([this, client, until] { RunClient(client, until); });
    }
    threads.emplace_back([this, until] { LoadAndUnload(until); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(core_->batches_in_flight(), 0);
    EXPECT_EQ(core_->bytes_in_flight(), 0);
  }

  DiscardingSink sink_;
  std::unique_ptr<InferenceCore> core_;
  std::unique_ptr<InferenceServiceImpl> service_;
  std::unique_ptr<GrpcServer> server_;
  std::atomic<int64_t> seq_ = 0;
  std::atomic<int> inferences_ = 0;
  std::atomic<int> refused_ = 0;
};

TEST_F(BusyServiceTest, NeitherHaltsNorGrows) {
  Serve(CAMHERD_WARM_INFERENCES);
  const double warm = ResidentMiB();
  Serve(CAMHERD_INFERENCES);
  ExpectNoGrowth(warm, ResidentMiB(),
                 absl::StrCat(inferences_.load(), " inferences, ",
                              refused_.load(), " refusals"));
}

}  // namespace
}  // namespace camherd::inference
