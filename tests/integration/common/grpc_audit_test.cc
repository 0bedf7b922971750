// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "camherd/v1/capture_service.grpc.pb.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/common/file.h"
#include "services/common/grpc_caller.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_server.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::FakeClock;
using ::camherd::testing::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

class Capture final : public v1::CaptureService::CallbackService {
  grpc::ServerUnaryReactor* StartStream(
      grpc::CallbackServerContext* context, const v1::StartStreamRequest*,
      v1::StartStreamResponse* response) override {
    response->mutable_stream()->set_process_name("gate");
    response->mutable_stream()->set_camera_id("CAM-001");
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerUnaryReactor* StopStream(grpc::CallbackServerContext* context,
                                       const v1::StopStreamRequest*,
                                       v1::StopStreamResponse*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish({grpc::NOT_FOUND, "password=hunter2"});
    return reactor;
  }
  grpc::ServerUnaryReactor* GetStream(grpc::CallbackServerContext* context,
                                      const v1::GetStreamRequest*,
                                      v1::Stream*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

// Reports once, then waits for its caller to go.
class Inference final : public v1::InferenceService::CallbackService {
  class Prepare final
      : public grpc::ServerWriteReactor<v1::PrepareModelResponse> {
   public:
    Prepare() { StartWrite(&response_); }
    void OnWriteDone(bool) override {}
    void OnCancel() override { Finish(grpc::Status::CANCELLED); }
    void OnDone() override { delete this; }

   private:
    v1::PrepareModelResponse response_;
  };

  grpc::ServerWriteReactor<v1::PrepareModelResponse>* PrepareModel(
      grpc::CallbackServerContext*, const v1::PrepareModelRequest*) override {
    return new Prepare;
  }
};

class GrpcAuditTest : public ::testing::Test {
 protected:
  GrpcAuditTest()
      : log_({.path = dir_ / "audit.jsonl", .service = "capture"}, clock_) {
    auto server = GrpcServer::Start(
        {.listen = "127.0.0.1:0",
         .audit = &log_,
         .audited = {"StartStream", "StopStream", "PrepareModel"}},
        {&capture_, &inference_},
        {"camherd.v1.CaptureService", "camherd.v1.InferenceService"});
    server_ = *std::move(server);
    channel_ = MakeChannel(server_->address());
    stub_ = v1::CaptureService::NewStub(channel_);
  }

  std::vector<nlohmann::json> Lines() {
    const auto text = ReadFile(dir_ / "audit.jsonl", 1 << 20);
    std::vector<nlohmann::json> lines;
    if (!text.ok()) return lines;
    for (const auto line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
      lines.push_back(nlohmann::json::parse(line));
    }
    return lines;
  }

  // A call on behalf of `caller`; its end.
  template <typename Response, typename Request, typename Method>
  void Call(Method method, const Request& request,
            const GrpcCaller& caller = {}) {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(10));
    AddCallerMetadata(caller, context);
    Response response;
    (stub_.get()->*method)(&context, request, &response);
  }

  TempDir dir_;
  FakeClock clock_;
  AuditLog log_;
  Capture capture_;
  Inference inference_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::CaptureService::Stub> stub_;
};

TEST_F(GrpcAuditTest, AChangeIsALineWithWhoWhatAndResultButNoValues) {
  v1::StartStreamRequest start;
  start.set_rtsp_url("rtsp://admin:hunter2@192.0.2.9/a");
  start.set_password("hunter2");
  Call<v1::StartStreamResponse>(
      &v1::CaptureService::Stub::StartStream, start,
      {.name = "alice", .role = "operator", .address = "192.0.2.7"});
  const auto text = ReadFile(dir_ / "audit.jsonl", 1 << 20);
  CAMHERD_ASSERT_OK(text.status());
  EXPECT_EQ(*text,
            "{\"time\":\"2026-08-01T09:55:00.000Z\",\"service\":\"capture\","
            "\"method\":\"StartStream\",\"caller\":\"alice\","
            "\"role\":\"operator\",\"address\":\"192.0.2.7\",\"agent\":\"\","
            "\"target\":\"gate\",\"camera_id\":\"CAM-001\","
            "\"fields\":\"rtsp_url,password\",\"result\":\"OK\"}\n");
}

TEST_F(GrpcAuditTest, AFailedTryIsALineToo) {
  v1::StopStreamRequest stop;
  stop.set_stream("rtsp://u:hunter2@h/\n{\"a\"}");
  Call<v1::StopStreamResponse>(&v1::CaptureService::Stub::StopStream, stop);
  const auto lines = Lines();
  ASSERT_THAT(lines, SizeIs(1));
  EXPECT_EQ(lines[0]["result"], "NOT_FOUND");
  EXPECT_THAT(std::string(lines[0]["target"]), Not(HasSubstr("hunter2")));
  EXPECT_THAT(lines[0].dump(), Not(HasSubstr("hunter2")));
  // Nobody said on whose behalf.
  EXPECT_EQ(lines[0]["caller"], "");
  EXPECT_EQ(lines[0]["address"], "127.0.0.1");
  EXPECT_THAT(std::string(lines[0]["agent"]), StartsWith("grpc-c++"));
}

TEST_F(GrpcAuditTest, AReadIsNone) {
  Call<v1::Stream>(&v1::CaptureService::Stub::GetStream,
                   v1::GetStreamRequest());
  EXPECT_THAT(Lines(), IsEmpty());
}

TEST_F(GrpcAuditTest, WhatGoesOnWithoutItsCallerIsWrittenWhenItBegins) {
  const auto stub = v1::InferenceService::NewStub(channel_);
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(10));
  v1::PrepareModelRequest request;
  request.set_name("animals");
  request.set_rebuild(true);
  const auto reader = stub->PrepareModel(&context, request);
  v1::PrepareModelResponse first;
  ASSERT_TRUE(reader->Read(&first));
  context.TryCancel();
  (void)reader->Finish();
  server_->Stop(absl::Seconds(5));
  const auto lines = Lines();
  ASSERT_THAT(lines, SizeIs(1));
  EXPECT_EQ(lines[0]["method"], "PrepareModel");
  EXPECT_EQ(lines[0]["target"], "animals");
  EXPECT_EQ(lines[0]["fields"], "name,rebuild");
  EXPECT_EQ(lines[0]["result"], "OK");
}

}  // namespace
}  // namespace camherd
