// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/config_section.h"

namespace camherd {

// How the gRPC of the services is kept to those who belong: the section `grpc`
// of camherd.yaml, the same for all of them. Both may be set, or none.
struct GrpcSecurity {
  // Shared tokens: a client sends the first, a server takes any.
  std::vector<std::string> tokens = {};
  // PEM: what this service shows to the others, as a server and as a client,
  // and what theirs must go back to. All three or none.
  std::string certificate_file = {};
  std::string key_file = {};
  std::string ca_file = {};
  // How often these files are looked at.
  unsigned reload_seconds = 10;

  bool tls() const { return !certificate_file.empty(); }
  // Nobody gets in who does not belong.
  bool closed() const { return tls() || !tokens.empty(); }
};

// kInvalidArgument: a bad value, only some of the three files, a file that is
// not there, a token file that others can read or that holds something else
// than tokens.
absl::StatusOr<GrpcSecurity> LoadGrpcSecurity(ConfigSection& section);

// True for addresses that only this machine reaches: 127.0.0.0/8, ::1,
// localhost, and Unix sockets.
bool IsLocalGrpcAddress(absl::string_view listen);

}  // namespace camherd
