// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace camherd::gateway {

// Asks the web server that listens on `listen`, an address as of
// gateway.listen, for /livez, from this machine: through the loop of its
// connections and a thread that answers. OK: it answered, with whatever code.
// kUnavailable: it did not within `timeout`. With `tls` the certificate is not
// looked at: it is this machine's own.
//
// Thread-safe.
absl::Status CheckLivez(absl::string_view listen, bool tls,
                        absl::Duration timeout);

// The option --health, as a container's health check: prints how the gateway
// that listens on `listen` fares; 0: it lives, 1: it does not.
int RunHealthCommand(absl::string_view listen, bool tls);

}  // namespace camherd::gateway
