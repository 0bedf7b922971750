// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gateway/http_message.h"
#include "gateway/listen_socket.h"
#include "gateway/live_body.h"
#include "gateway/rate_limiter.h"
#include "gateway/request_parser.h"
#include "gateway/tls_server.h"

namespace camherd::gateway {

// The guarded socket: one thread that accepts connections, reads whole requests
// under limits of size, count and time, hands each to its taker, and writes the
// answer. A slow or silent peer costs a file descriptor, never a thread.
//
// A connection takes one request after the other: what the peer sends ahead
// waits, in a head's size of memory and then in the system's buffers, until its
// predecessor is answered. After a request that was refused, the last one
// allowed, or one whose peer asks for it, the connection is shut down, and what
// the peer still sends is read and dropped for a moment, so that it sees the
// answer rather than a reset.
//
// When there are too many connections, of one client or in all, one of it, or
// of the client with most, is closed for the new one: one that has its answer,
// else the oldest that has not completed its request (reason "evicted"); if all
// are being answered, the new one is closed ("too_many_connections").
//
// Bodies and answers held in memory are bounded by `max_buffered_bytes`
// ("memory"). Neither one client nor all that is larger than kSmallBytes takes
// more than three quarters of it, so that there is room for ordinary requests
// beside hostile ones.
//
// With a certificate all of it is inside of TLS; the handshake has the time of
// a request ("tls_handshake"), and who speaks HTTP without TLS is told so
// ("not_tls"). The files are looked at twice a second and read again when they
// have changed.
//
// A client past its rate is answered 429 ("rate_limit"). A client is an IPv4
// address or an IPv6 /64, for all limits alike.
//
// An answer that is sent as it is made holds at most kMaxUnsentBytes: whoever
// makes it waits for the peer. A live one is asked for more when the peer has
// taken all.
//
// Answer may be called from any thread; Start and Stop from one.
class ConnectionFront {
  class Loop;

 public:
  struct Options {
    size_t max_connections = 512;
    size_t max_connections_per_address = 128;
    size_t max_buffered_bytes = 32 << 20;
    // From the first byte possible to the last byte of the request; from the
    // second request on, from its first byte.
    absl::Duration read_timeout = absl::Seconds(5);
    // From an answer to the first byte of the next request. Zero: one request
    // a connection.
    absl::Duration keep_alive_timeout = absl::Seconds(30);
    size_t max_requests_per_connection = 1000;
    RateLimiter::Options rate = {};
    // Without files: no TLS.
    TlsServer::Options tls = {};
    // For the whole answer; of one that is sent as it is made, for each
    // kMaxUnsentBytes; of a live one, for all it had to tell at once.
    absl::Duration write_timeout = absl::Seconds(30);
    // Of a live answer that has nothing to tell.
    absl::Duration idle_interval = absl::Seconds(15);
    // For the peer to close after the answer.
    absl::Duration linger_timeout = absl::Seconds(2);
  };

  static constexpr size_t kMaxUnsentBytes = 256 << 10;
  static constexpr size_t kSmallBytes = 64 << 10;

  // What is to happen after a head has arrived.
  struct Plan {
    // Answered at once, without reading the body.
    std::optional<HttpResponse> answer;
    // Metric label of a refusal, or null.
    const char* refusal = nullptr;
    size_t max_body = 64 << 10;
    // Replaces Options::read_timeout where longer.
    absl::Duration read_timeout = absl::ZeroDuration();
  };

  // All are called on the front's thread and must not block.
  struct Callbacks {
    // May fill in route and path values.
    std::function<Plan(HttpRequest&)> plan;
    // Takes a whole request; Answer(id, ...) must follow. False: no room, the
    // front answers 503.
    std::function<bool(uint64_t id, HttpRequest&&)> take;
    // A request was refused, a connection closed before its request was whole.
    std::function<void(const char* reason)> refused;
    // An answer the front made itself.
    std::function<void(const HttpRequest&, HttpCode)> answered;
    // Number of connections now open.
    std::function<void(size_t)> connections;
    // The certificate was read: OK, or why the one before stays in use; and
    // when the one in use ends.
    std::function<void(const absl::Status&, absl::Time)> certificate;
  };

  // An answer that is sent as it is made.
  //
  // Its maker calls it from one thread, and ends it; the front outlives it.
  class Stream {
   public:
    // Waits until the peer has taken nearly all before. False: the peer has
    // gone, or has taken nothing for too long; no more is sent.
    bool Write(std::string bytes);
    // `whole`: the answer has been written. Else the connection is reset, so
    // that what the peer has never passes for all.
    void End(bool whole);

   private:
    friend class ConnectionFront;
    Stream(Loop& loop, uint64_t id) : loop_(loop), id_(id) {}
    void Sent(size_t bytes);
    void Close();

    Loop& loop_;
    const uint64_t id_;
    absl::Mutex mu_;
    size_t unsent_ ABSL_GUARDED_BY(mu_) = 0;
    bool closed_ ABSL_GUARDED_BY(mu_) = false;
  };

  ConnectionFront(const Options& options, Callbacks callbacks);
  ~ConnectionFront();

  // Takes over the sockets and starts the thread. kInternal: the system has no
  // epoll instance left. kInvalidArgument: the certificate cannot be used.
  absl::Status Start(std::vector<ListenSocket> sockets);

  // The bytes of the answer to request `id`. Ignored if the peer has gone.
  void Answer(uint64_t id, std::string bytes);

  // Answers request `id` with `head` and, for as long as the peer stays, with
  // what `body` has; `chunks`: each in a chunk. shared_ptr: its maker has it
  // too. A stop ends it, and so does `may_stay`, asked once a second by the
  // front's thread, when it says no.
  void AnswerLive(uint64_t id, std::string head, bool chunks,
                  std::shared_ptr<LiveBody> body,
                  std::function<bool()> may_stay);

  // Begins the answer to request `id`, instead of Answer. shared_ptr: it is the
  // front's too, which may close the connection at any time.
  std::shared_ptr<Stream> AnswerAsMade(uint64_t id);

  // Closes the listening sockets and the connections without a whole request,
  // lets the others be answered until `drain`, joins. May be called twice.
  void Stop(absl::Duration drain);

 private:
  const Options options_;
  const Callbacks callbacks_;
  std::unique_ptr<Loop> loop_;
};

}  // namespace camherd::gateway
