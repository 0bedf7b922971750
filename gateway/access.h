// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/caller.h"

namespace camherd::gateway {

// Who may use a route. It has no default: a row of the table of routes that
// does not say it does not compile.
class Access {
 public:
  // Everyone, with a token or without.
  static Access Open() { return Access(Role::kNone, false); }
  // Callers of that role. Where the token is limited to certain cameras, it
  // shows and changes these only: BackendClients sees to that.
  static Access For(Role role) { return Access(role, false); }
  // The same, but no token that is limited to certain cameras: what the route
  // does concerns all.
  static Access ForAllCameras(Role role) { return Access(role, true); }

  Role role() const { return role_; }
  bool all_cameras() const { return all_cameras_; }
  bool Allows(const Caller& caller) const {
    return caller.role >= role_ && !(all_cameras_ && caller.limited());
  }

 private:
  Access(Role role, bool all_cameras)
      : role_(role), all_cameras_(all_cameras) {}

  Role role_;
  bool all_cameras_;
};

}  // namespace camherd::gateway
