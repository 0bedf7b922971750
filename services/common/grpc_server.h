// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/audit_log.h"
#include "services/common/grpc_security.h"

namespace camherd {

// Key of the trailing metadata with which an answer of the health service says
// why the server is not serving: grpc.health.v1 has no field for it. UTF-8.
inline constexpr char kNotServingReason[] = "camherd-not-serving-reason-bin";

// A gRPC server as all services run one: health service for "" and each
// service, reflection if asked, keepalive and message limits, drain on stop.
//
// Start and Stop from one thread; SetServing from any.
class GrpcServer {
 public:
  struct Options {
    // host:port, port 0 for any.
    std::string listen;
    bool reflection = true;
    // Largest message received, bytes.
    int max_message_bytes = 20 << 20;
    int max_concurrent_streams = 1000;
    // Who gets in. Health is told to everyone who can connect.
    GrpcSecurity security = {};
    // Where calls of these methods are written down (grpc_audit.h); must
    // outlive the server. Null: nowhere.
    AuditLog* audit = nullptr;
    std::vector<std::string> audited = {};
  };

  // Listens and serves. `services` must outlive the server. Everything is NOT
  // SERVING until SetServing(true). kUnavailable, naming the address, if it
  // cannot be bound. kInvalidArgument: beyond loopback without a token or TLS.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const Options& options, const std::vector<grpc::Service*>& services,
      const std::vector<std::string>& service_names);
  ~GrpcServer();

  // What the health service answers for "" and each service. While it is not
  // serving, the answer's trailing metadata say why (kNotServingReason).
  void SetServing(bool serving, const std::string& reason = "");

  // Refuses new calls, lets those in flight end until `drain`, then cancels
  // them. May be called twice.
  void Stop(absl::Duration drain);

  // host:port with the port in use.
  const std::string& address() const { return address_; }

 private:
  class HealthReason;
  GrpcServer() = default;

  std::string address_;
  // Owned by `server_`.
  HealthReason* health_reason_ = nullptr;
  std::vector<std::string> service_names_;
  std::unique_ptr<grpc::Server> server_;
  bool stopped_ = false;
};

}  // namespace camherd
