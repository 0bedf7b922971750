// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "services/common/grpc_security.h"

namespace camherd::aggregator {

// ImportRecords of the aggregator that runs: the far end of RecordImport, used
// in the same way.
//
// Not thread-safe.
class ImportClient {
 public:
  // `address` as in MakeChannel. What is wrong with it shows at the first call.
  explicit ImportClient(const std::string& address,
                        const GrpcSecurity& security = {});
  // Ends the call if it has not ended.
  ~ImportClient();

  // Sends the next bytes; blocks while the service is behind.
  absl::Status Add(absl::string_view bytes);
  absl::StatusOr<v1::ImportRecordsResponse> Finish();

 private:
  class Call;
  std::unique_ptr<Call> call_;
};

}  // namespace camherd::aggregator
