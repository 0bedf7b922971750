// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_server.h"
#include "services/common/grpc_status.h"
#include "services/inference/inference_core.h"
#include "services/inference/inference_metrics.h"
#include "services/inference/inference_service.h"
#include "services/inference/jpeg_decoder.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/broken_jpegs.h"
#include "tests/unit/inference/fakes.h"

// Frames, batches and clients that are not as they must be, through a real
// server.
namespace camherd::inference {
namespace {

using ::camherd::inference::testing::BrokenJpeg;
using ::camherd::inference::testing::BrokenJpegs;
using ::camherd::inference::testing::FakeBehaviour;
using ::camherd::inference::testing::FakeSink;
using ::camherd::inference::testing::MakeBatch;
using ::camherd::inference::testing::MakeFakeFactory;
using ::camherd::inference::testing::MakeJpeg;
using ::camherd::inference::testing::Manifest;
using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::TestBatch;
using ::camherd::inference::testing::WaitUntil;
using ::camherd::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace camherd::v1;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Finds a dog in every picture it can decode.
absl::StatusOr<InferResult> Decode(absl::Span<const Picture> pictures) {
  InferResult result;
  for (const Picture& picture : pictures) {
    if (!DecodeJpeg(picture.jpeg, {}).ok()) {
      result.undecodable_frames.push_back(picture.frame_index);
      continue;
    }
    Detection& dog = result.detections.emplace_back();
    dog.set_class_name("dog");
    dog.set_frame_index(picture.frame_index);
  }
  return result;
}

size_t OpenDescriptors() {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

class BadBatchesTest : public ::testing::Test {
 protected:
  BadBatchesTest() {
    behaviour_.infer = Decode;
    for (const char* name : {"dogs", "wolves"}) {
      dir_.Write(absl::StrCat(name, "/model.yaml"), Manifest(name));
    }
    ModelRegistry::Options registry;
    registry.models_dir = dir_.path();
    registry_ = std::make_unique<ModelRegistry>(
        registry, MakeFakeFactory(behaviour_), Clock::Real(), nullptr);
    core_ = std::make_unique<InferenceCore>(InferenceCore::Options(),
                                            *registry_, sink_, &metrics_);
    service_ = std::make_unique<InferenceServiceImpl>(
        InferenceServiceImpl::Options(), *core_, *registry_, &metrics_);
    GrpcServer::Options options;
    options.listen = "127.0.0.1:0";
    server_ = GrpcServer::Start(options, {service_.get()},
                                {InferenceService::service_full_name()})
                  .value();
    server_->SetServing(true);
    stub_ = InferenceService::NewStub(MakeChannel(server_->address()));
    for (const char* name : {"dogs", "wolves"}) {
      EXPECT_TRUE(registry_->Prepare(name, false).ok());
      EXPECT_TRUE(WaitUntil(
          [&] { return registry_->Get(name)->state() == MODEL_STATE_READY; }));
    }
  }
  ~BadBatchesTest() override {
    core_->Drain();
    registry_->Stop();
    server_->Stop(absl::Seconds(2));
    core_->Stop();
  }

  static InferBatchRequest Part(const InferBatchHeader& header) {
    InferBatchRequest request;
    *request.mutable_header() = header;
    return request;
  }
  static InferBatchRequest Part(const Frame& frame) {
    InferBatchRequest request;
    *request.mutable_frame() = frame;
    return request;
  }
  // Header and frames.
  static std::vector<InferBatchRequest> Parts(const TestBatch& batch) {
    std::vector<InferBatchRequest> parts = {Part(batch.header)};
    for (const Frame& frame : batch.frames) parts.push_back(Part(frame));
    return parts;
  }

  absl::Status Send(const std::vector<InferBatchRequest>& parts,
                    InferBatchResponse* response = nullptr) {
    InferBatchResponse unused;
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(20));
    const auto writer =
        stub_->InferBatch(&context, response == nullptr ? &unused : response);
    for (const InferBatchRequest& part : parts) {
      if (!writer->Write(part)) break;
    }
    writer->WritesDone();
    return FromGrpcStatus(writer->Finish(), &context);
  }

  // The batch is INVALID_ARGUMENT and says `word`; nothing is left of it.
  void ExpectInvalid(const std::vector<InferBatchRequest>& parts,
                     const std::string& word) {
    EXPECT_THAT(Send(parts), StatusIs(kInvalid, HasSubstr(word)));
    ExpectNothingLeft();
  }
  void ExpectNothingLeft() {
    EXPECT_TRUE(WaitUntil([&] { return core_->batches_in_flight() == 0; }));
    EXPECT_EQ(core_->bytes_in_flight(), 0);
    EXPECT_THAT(sink_.headers(), IsEmpty());
    absl::MutexLock lock(&behaviour_.mu);
    EXPECT_EQ(behaviour_.inferred, 0);
  }

  double Counter(const std::string& name) {
    double sum = 0;
    for (const auto& family : prometheus_.Collect()) {
      if (family.name != name) continue;
      for (const auto& metric : family.metric) sum += metric.counter.value;
    }
    return sum;
  }

  TempDir dir_;
  prometheus::Registry prometheus_;
  InferenceMetrics metrics_{prometheus_};
  FakeBehaviour behaviour_;
  FakeSink sink_;
  std::unique_ptr<ModelRegistry> registry_;
  std::unique_ptr<InferenceCore> core_;
  std::unique_ptr<InferenceServiceImpl> service_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<InferenceService::Stub> stub_;
  const TestBatch batch_ = MakeBatch(
      {"dogs"}, {MakeJpeg(64, 48, 1), MakeJpeg(64, 48, 2), MakeJpeg(64, 48)});
};

TEST_F(BadBatchesTest, ABrokenFrameIsCountedOnceAndTheBatchGoesOn) {
  int64_t batch_seq = 0;
  for (const BrokenJpeg& broken : BrokenJpegs()) {
    ++batch_seq;
    InferBatchResponse response;
    CAMHERD_ASSERT_OK(Send(
        Parts(MakeBatch({"dogs", "wolves"},
                        {MakeJpeg(), broken.bytes, MakeJpeg()}, batch_seq)),
        &response));
    ASSERT_EQ(response.results_size(), 2) << broken.name;
    for (const ModelResult& result : response.results()) {
      EXPECT_EQ(result.outcome(), OUTCOME_CODE_OK) << broken.name;
      EXPECT_THAT(result.undecodable_frames(), ElementsAre(1)) << broken.name;
      ASSERT_EQ(result.detections_size(), 2) << broken.name;
      EXPECT_EQ(result.detections(1).frame_index(), 2) << broken.name;
    }
    EXPECT_EQ(Counter("camherd_inference_undecodable_frames_total"), batch_seq)
        << broken.name;
  }
  EXPECT_THAT(sink_.headers(), SizeIs(static_cast<size_t>(batch_seq)));
}

TEST_F(BadBatchesTest, ABatchOfBrokenFramesAloneIsRecordedAsSkipped) {
  std::vector<std::string> jpegs;
  for (const BrokenJpeg& broken : BrokenJpegs()) jpegs.push_back(broken.bytes);
  InferBatchResponse response;
  CAMHERD_ASSERT_OK(Send(Parts(MakeBatch({"dogs"}, jpegs)), &response));
  EXPECT_EQ(response.results(0).undecodable_frames_size(),
            static_cast<int>(jpegs.size()));
  EXPECT_EQ(Counter("camherd_inference_undecodable_frames_total"),
            jpegs.size());
}

TEST_F(BadBatchesTest, MoreFramesThanTheLimit) {
  const std::vector<std::string> jpegs(65, "jpeg");
  ExpectInvalid(Parts(MakeBatch({"dogs"}, jpegs)),
                "manifest.frames must hold 1 to 64 frames, got 65");
}

TEST_F(BadBatchesTest, AFrameLargerThanTheLimit) {
  TestBatch batch = batch_;
  batch.header.mutable_manifest()->mutable_frames(1)->set_size_bytes(
      (int64_t{16} << 20) + 1);
  ExpectInvalid({Part(batch.header)}, "manifest.frames[1].size_bytes");
}

TEST_F(BadBatchesTest, MoreBytesThanCanBeTaken) {
  TestBatch batch = batch_;
  for (int i = 0; i < 17; ++i) {
    FrameInfo& frame = *batch.header.mutable_manifest()->add_frames();
    frame = batch_.header.manifest().frames(0);
    frame.set_frame_seq(10 + i);
    frame.set_size_bytes(int64_t{16} << 20);
  }
  ExpectInvalid({Part(batch.header)}, "at most 268435456 can be taken");
}

TEST_F(BadBatchesTest, NoFrames) {
  ExpectInvalid(Parts(MakeBatch({"dogs"}, {})), "frames must hold 1 to 64");
  ExpectInvalid({Part(batch_.header)}, "3 frames of the manifest did not come");
}

TEST_F(BadBatchesTest, TooManyAndTooFewFrames) {
  std::vector<InferBatchRequest> parts = Parts(batch_);
  parts.push_back(parts.back());
  ExpectInvalid(parts, "more frames than the 3 of the manifest");
  parts.resize(3);
  ExpectInvalid(parts, "1 frames of the manifest did not come");
}

TEST_F(BadBatchesTest, FramesOutOfOrder) {
  std::vector<InferBatchRequest> parts = Parts(batch_);
  std::swap(parts[1], parts[2]);
  ExpectInvalid(parts, "frame 0 must be frame_seq 1 as in the manifest, got 2");
  parts = Parts(batch_);
  parts[2] = parts[1];
  ExpectInvalid(parts, "frame 1 must be frame_seq 2 as in the manifest, got 1");
}

TEST_F(BadBatchesTest, AManifestOutOfOrder) {
  for (const int64_t seq : {0, 1, 5}) {
    TestBatch batch = batch_;
    batch.header.mutable_manifest()->mutable_frames(1)->set_frame_seq(seq);
    ExpectInvalid({Part(batch.header)}, "].frame_seq must be over ");
  }
}

TEST_F(BadBatchesTest, AHeaderTwice) {
  ExpectInvalid({Part(batch_.header), Part(batch_.header)},
                "header must come only once");
  std::vector<InferBatchRequest> parts = Parts(batch_);
  parts.insert(parts.begin() + 2, Part(batch_.header));
  ExpectInvalid(parts, "header must come only once");
}

TEST_F(BadBatchesTest, NoHeader) {
  ExpectInvalid({}, "header must come first");
  ExpectInvalid({Part(batch_.frames[0])}, "header must come first");
}

TEST_F(BadBatchesTest, AnEmptyMessage) {
  ExpectInvalid({Part(batch_.header), InferBatchRequest()},
                "a message must hold header or frame");
}

TEST_F(BadBatchesTest, OfClientsThatDisappearNothingIsLeft) {
  const std::vector<InferBatchRequest> parts = Parts(batch_);
  // One connection a client, as when its process dies.
  const auto disappear = [&](size_t sent) {
    const auto stub =
        InferenceService::NewStub(MakeChannel(server_->address()));
    grpc::ClientContext context;
    InferBatchResponse response;
    const auto writer = stub->InferBatch(&context, &response);
    for (size_t i = 0; i < sent; ++i) ASSERT_TRUE(writer->Write(parts[i]));
    if (sent > 0) {
      ASSERT_TRUE(WaitUntil([&] { return core_->batches_in_flight() == 1; }));
    }
    context.TryCancel();
    writer->Finish();
    ASSERT_TRUE(WaitUntil([&] { return core_->batches_in_flight() == 0; }));
  };
  disappear(1);
  const size_t before = OpenDescriptors();
  for (int round = 0; round < 30; ++round) {
    for (size_t sent = 0; sent < parts.size(); ++sent) disappear(sent);
  }
  ExpectNothingLeft();
  // The server notices that a connection has gone a moment later.
  EXPECT_TRUE(WaitUntil([&] { return OpenDescriptors() <= before + 3; }))
      << before << " descriptors, now " << OpenDescriptors();
  EXPECT_TRUE(WaitUntil(
      [&] { return Counter("camherd_inference_batches_total") >= 30 * 3; }));
  CAMHERD_EXPECT_OK(Send(parts));
}

}  // namespace
}  // namespace camherd::inference
