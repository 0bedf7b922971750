// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace camherd::gateway {

// What a token allows; each includes those before it.
enum class Role { kNone, kViewer, kOperator, kAdmin };

// "none", "viewer", "operator", "admin".
constexpr const char* RoleName(Role role) {
  switch (role) {
    case Role::kNone:
      return "none";
    case Role::kViewer:
      return "viewer";
    case Role::kOperator:
      return "operator";
    case Role::kAdmin:
      return "admin";
  }
  return "none";
}

// Who sent a request.
struct Caller {
  // Of the token; empty: it came without one.
  std::string name = {};
  Role role = Role::kNone;
  // The only cameras that the caller sees and changes; empty: all.
  std::vector<std::string> cameras = {};
  // Of the peer, without port.
  std::string address = {};
  // When the token or the login ends.
  absl::Time expires = absl::InfiniteFuture();

  bool limited() const { return !cameras.empty(); }
  bool MaySee(absl::string_view camera_id) const {
    return !limited() || std::find(cameras.begin(), cameras.end(), camera_id) !=
                             cameras.end();
  }
};

}  // namespace camherd::gateway
