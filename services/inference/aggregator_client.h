// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "services/common/grpc_security.h"
#include "services/inference/result_sink.h"

namespace camherd::inference {

// The aggregator over gRPC. It counts as away while its channel has no
// connection; the channel itself tries again and again. A call that could not
// even begin carries the mark of a call without effect (retry_delay.h).
//
// Thread-safe.
class AggregatorClient : public ResultSink {
 public:
  struct Options {
    // host:port, or any gRPC target.
    std::string target;
    // For one AddBatchResult.
    absl::Duration timeout = absl::Seconds(10);
    GrpcSecurity security = {};
  };

  explicit AggregatorClient(const Options& options);

  absl::Status CheckAvailable() override;
  absl::StatusOr<camherd::v1::AddBatchResultResponse> AddBatchResult(
      const camherd::v1::AddBatchResultHeader& header,
      const std::vector<PictureRef>& pictures) override;

 private:
  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<camherd::v1::AggregatorService::Stub> stub_;
};

}  // namespace camherd::inference
