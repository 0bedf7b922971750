// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace camherd::gateway {

// A raw TCP connection to a server under test: sends bytes as they are.
//
// Not thread-safe.
class RawConnection {
 public:
  // `address`: 127.0.0.1:port or [::1]:port. Dies if it cannot connect.
  explicit RawConnection(const std::string& address);
  ~RawConnection();
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  // False once the peer has closed or reset.
  bool Send(absl::string_view bytes);
  // Ends our side.
  void ShutdownWrite();
  // Everything until the peer closes, or until `timeout`.
  std::string ReadAll(absl::Duration timeout = absl::Seconds(20));
  // One piece; "" when closed or after `timeout`.
  std::string ReadSome(absl::Duration timeout);
  // True if the peer has closed or reset within `timeout`.
  bool ClosedWithin(absl::Duration timeout);
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

// An answer in parts.
struct RawAnswer {
  int code = 0;
  std::string head;
  std::string body;
  // The value of a header, or "".
  std::string Header(absl::string_view name) const;
};
RawAnswer ParseAnswer(const std::string& bytes);

// One request on a connection of its own. Host and Content-Length are added
// unless `headers` has them; each header is a line without CR LF.
RawAnswer Ask(const std::string& address, absl::string_view method,
              absl::string_view target, absl::string_view body = "",
              const std::vector<std::string>& headers = {});

}  // namespace camherd::gateway
