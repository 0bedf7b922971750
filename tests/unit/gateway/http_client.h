// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

struct ssl_st;

namespace camherd::gateway {

// An answer in parts.
struct RawAnswer {
  int code = 0;
  std::string head;
  std::string body;
  // The value of a header, or "".
  std::string Header(absl::string_view name) const;
};
RawAnswer ParseAnswer(const std::string& bytes);

// A raw TCP connection to a server under test: sends bytes as they are, or
// inside of TLS.
//
// Not thread-safe.
class RawConnection {
 public:
  struct Options {
    // Our own address; IPv4 only.
    std::string from = {};
    // The only version of TLS offered, such as TLS1_2_VERSION; 0: any.
    int tls_version = 0;
  };

  // `address`: 127.0.0.1:port or [::1]:port, with TLS after "https://", whose
  // certificate is not verified. Dies if it cannot connect; after a handshake
  // that failed it is as if closed by the peer.
  explicit RawConnection(const std::string& address);
  RawConnection(const std::string& address, const Options& options);
  ~RawConnection();
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  // False once the peer has closed or reset.
  bool Send(absl::string_view bytes);
  // Ends our side.
  void ShutdownWrite();
  // Everything until the peer closes, or until `timeout`.
  std::string ReadAll(absl::Duration timeout = absl::Seconds(20));
  // The next answer, by its length or chunks, or what of it came in time;
  // chunks are left as they are. `head_only`: the answer to HEAD.
  RawAnswer ReadAnswer(bool head_only = false,
                       absl::Duration timeout = absl::Seconds(20));
  // One piece; "" when closed or after `timeout`.
  std::string ReadSome(absl::Duration timeout);
  // True if the peer has closed or reset within `timeout`.
  bool ClosedWithin(absl::Duration timeout);
  int fd() const { return fd_; }
  // Null: no TLS, or its handshake failed.
  ssl_st* ssl() const { return ssl_; }

 private:
  void StartTls(int version);

  int fd_ = -1;
  ssl_st* ssl_ = nullptr;
  bool is_tls_broken_ = false;
  // Read, of answers to come.
  std::string unread_;
};

// One request on a connection of its own. Host, Content-Length and
// `Connection: close` are added unless `headers` has them; each header is a
// line without CR LF.
RawAnswer Ask(const std::string& address, absl::string_view method,
              absl::string_view target, absl::string_view body = "",
              const std::vector<std::string>& headers = {});

}  // namespace camherd::gateway
