// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

struct ssl_ctx_st;
struct ssl_st;

namespace camherd::gateway {

// The server's side of TLS: the certificate in use, and the sessions made with
// it.
//
// TLS 1.2 with forward secrecy and 1.3. No renegotiation, no compression and no
// resumption: a session's memory ends with its connection, and no ticket
// outlives a certificate.
//
// Not thread-safe; sessions belong to the same thread.
class TlsServer {
 public:
  // PEM files. The certificate comes first in its file, those that lead to its
  // issuer after it. The key must not ask for a password.
  struct Options {
    std::string certificate;
    std::string key;
  };

  // What a connection begins with.
  enum class Opening { kHello, kNoTls, kNoHello };

  // Told by the first kOpeningBytes, or fewer if it has ended. kNoHello: TLS,
  // but no plain ClientHello of at most kMaxHelloBytes (RFC 8446 §4, §5.1):
  // OpenSSL takes 128 KiB of memory for one as soon as it is announced.
  static constexpr size_t kOpeningBytes = 9;
  static constexpr size_t kMaxHelloBytes = 16 << 10;
  static Opening OpeningOf(absl::string_view first);

  // One connection's. Receive and Send are those of a socket that does not
  // block: the number of bytes, 0 at the peer's end, or -1 with errno; after
  // EAGAIN, `events` are to be awaited.
  class Session {
   public:
    ~Session();
    // As Receive: 1 once it is done.
    ssize_t Handshake();
    ssize_t Receive(char* bytes, size_t size);
    // After EAGAIN the same bytes are to be sent, more may follow them.
    ssize_t Send(const char* bytes, size_t size);
    // Tells the peer that this was all.
    void End();
    // Bytes have been taken from the socket that Receive has not given yet.
    bool HasUnread() const;
    // EPOLLIN or EPOLLOUT.
    uint32_t events() const { return events_; }

   private:
    friend class TlsServer;
    explicit Session(ssl_st* ssl) : ssl_(ssl) {}
    ssize_t Result(int returned);

    ssl_st* const ssl_;
    uint32_t events_ = 0;
  };

  // kInvalidArgument: a file that cannot be read, or a key that is not the
  // certificate's; names the file.
  static absl::StatusOr<std::unique_ptr<TlsServer>> Create(
      const Options& options);
  ~TlsServer();

  // Reads the files again if they have changed, and have not since the last
  // call: the two are rarely written in one instant. True: what they hold is in
  // use. On an error, told once for each change, what was in use stays.
  absl::StatusOr<bool> ReloadIfChanged();

  // When the certificate in use ends.
  absl::Time not_after() const { return not_after_; }

  // A session on `fd`, which must outlive it. Null: out of memory.
  std::unique_ptr<Session> Accept(int fd) const;

 private:
  explicit TlsServer(const Options& options) : options_(options) {}
  absl::Status Load();

  const Options options_;
  ssl_ctx_st* context_ = nullptr;
  absl::Time not_after_;
  // Which state of the files was read, and which was seen last.
  std::string loaded_;
  std::string seen_;
};

}  // namespace camherd::gateway
