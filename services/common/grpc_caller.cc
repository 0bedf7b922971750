// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_caller.h"

namespace camherd {
namespace {

constexpr char kName[] = "camherd-caller";
constexpr char kRole[] = "camherd-caller-role";
constexpr char kAddress[] = "camherd-caller-address";

// Of a name, an IPv6 address, or what somebody made up.
constexpr size_t kMaxBytes = 64;

}  // namespace

void AddCallerMetadata(const GrpcCaller& caller, grpc::ClientContext& context) {
  if (!caller.name.empty()) context.AddMetadata(kName, caller.name);
  if (!caller.role.empty()) context.AddMetadata(kRole, caller.role);
  if (!caller.address.empty()) context.AddMetadata(kAddress, caller.address);
}

GrpcCaller CallerOf(
    const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  const auto value = [&metadata](const char* key) {
    const auto it = metadata.find(key);
    return it == metadata.end()
               ? std::string()
               : std::string(it->second.data(), it->second.size())
                     .substr(0, kMaxBytes);
  };
  return {
      .name = value(kName), .role = value(kRole), .address = value(kAddress)};
}

}  // namespace camherd
