// SPDX-License-Identifier: Apache-2.0
#include "gateway/connection_front.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gateway/http_status.h"
#include "services/common/clock.h"
#include "services/common/log.h"

namespace camherd::gateway {
namespace {

// How often deadlines are looked at.
constexpr absl::Duration kTick = absl::Milliseconds(50);
// What a peer may still send after its answer before it is cut off.
constexpr size_t kMaxLingerBytes = 4 << 20;
// epoll data of what is no connection; ids of connections lie above.
constexpr uint64_t kWakeId = 0;
constexpr uint64_t kFirstListenId = 1;
constexpr uint64_t kFirstConnectionId = 1 << 16;

constexpr absl::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

// Connections are counted by IPv4 address and by IPv6 /64, since one host
// commonly has a whole /64.
std::string CountingKey(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    return std::string(reinterpret_cast<const char*>(&v6.sin6_addr), 8);
  }
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
  return std::string(reinterpret_cast<const char*>(&v4.sin_addr), 4);
}

std::string AddressText(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET6) {
    inet_ntop(AF_INET6,
              &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text,
              sizeof text);
  } else {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr,
              text, sizeof text);
  }
  return text;
}

enum class Phase { kHead, kBody, kTaken, kWriting, kLingering };

struct Connection {
  int fd = -1;
  uint64_t id = 0;
  std::string counting_key;
  std::string peer;
  Phase phase = Phase::kHead;
  absl::Duration accepted_at;
  absl::Duration deadline;
  // Bytes of the head so far, up to kMaxHeadBytes.
  std::string head;
  HttpRequest request;
  uint64_t content_length = 0;
  std::string answer;
  size_t written = 0;
  // An answer that is sent as it is made. shared_ptr: its maker has it too.
  std::shared_ptr<ConnectionFront::Stream> stream;
  bool stream_ended = false;
  // Of it, since the deadline was set.
  size_t taken = 0;
  size_t lingered = 0;
  // Share of the front's buffered_ that is this connection's.
  size_t charged = 0;
};

}  // namespace

// Everything but the mailbox belongs to the thread that runs Run().
class ConnectionFront::Loop {
 public:
  Loop(const Options& options, const Callbacks& callbacks)
      : options_(options), callbacks_(callbacks) {}
  ~Loop() {
    if (epoll_ >= 0) close(epoll_);
    if (wake_ >= 0) close(wake_);
  }

  absl::Status Start(std::vector<ListenSocket> sockets);
  // A whole answer, or with `stream` a piece of it.
  struct Mail {
    enum class End { kNone, kWhole, kBroken };
    uint64_t id = 0;
    std::string bytes = {};
    std::shared_ptr<Stream> stream = nullptr;  // Of its first piece.
    bool is_piece = false;
    End end = End::kNone;
  };
  void Post(Mail mail);
  void Stop(absl::Duration drain);

 private:
  void Run();
  void Wake() const;
  void TakeMail();
  void Watch(int fd, uint64_t id, uint32_t events, int operation) const;
  void SetListening(bool on);

  void Accept(int listen_fd);
  // Closes one connection to make room; with `key`, one of that address.
  bool EvictOne(const std::string* key);
  void Close(Connection& connection);
  // Sets the bytes that the connection holds in memory.
  void Charge(Connection& connection, size_t bytes) {
    buffered_ = buffered_ - connection.charged + bytes;
    connection.charged = bytes;
  }

  void OnEvent(Connection& connection, uint32_t events);
  void Read(Connection& connection);
  // Returns false when the connection's phase no longer takes bytes.
  bool TakeBytes(Connection& connection, absl::string_view bytes);
  bool TakeHead(Connection& connection, absl::string_view rest);
  void BodyComplete(Connection& connection);
  void Refuse(Connection& connection, const Refusal& refusal);
  void StartAnswer(Connection& connection, std::string bytes);
  void TakePiece(Connection& connection, Mail mail);
  void Write(Connection& connection);
  void StartLinger(Connection& connection);
  void Expire();

  absl::Duration Now() const { return Clock::Real().SteadyNow(); }

  const Options& options_;
  const Callbacks& callbacks_;
  int epoll_ = -1;
  int wake_ = -1;
  std::vector<ListenSocket> sockets_;
  bool listening_ = false;
  // shared_ptr-free: ids, not pointers, travel through epoll and the mailbox,
  // so a late event or answer of a closed connection finds nothing.
  absl::flat_hash_map<uint64_t, std::unique_ptr<Connection>> connections_;
  absl::flat_hash_map<std::string, size_t> per_address_;
  uint64_t next_id_ = kFirstConnectionId;
  size_t buffered_ = 0;
  absl::Duration next_expiry_ = absl::ZeroDuration();
  std::thread thread_;

  absl::Mutex mu_;
  std::vector<Mail> mail_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // Nobody reads mail_ any more.
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration drain_until_ ABSL_GUARDED_BY(mu_) = absl::ZeroDuration();
};

absl::Status ConnectionFront::Loop::Start(std::vector<ListenSocket> sockets) {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (epoll_ < 0 || wake_ < 0) {
    return absl::InternalError(absl::StrCat("epoll: ", strerror(errno)));
  }
  sockets_ = std::move(sockets);
  Watch(wake_, kWakeId, EPOLLIN, EPOLL_CTL_ADD);
  SetListening(true);
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void ConnectionFront::Loop::Post(Mail mail) {
  {
    absl::MutexLock lock(&mu_);
    if (!ended_) {
      mail_.push_back(std::move(mail));
      Wake();
      return;
    }
  }
  if (mail.stream != nullptr) mail.stream->Close();
}

void ConnectionFront::Loop::Stop(absl::Duration drain) {
  {
    absl::MutexLock lock(&mu_);
    if (!stopping_) drain_until_ = Now() + drain;
    stopping_ = true;
  }
  if (!thread_.joinable()) return;
  Wake();
  thread_.join();
}

void ConnectionFront::Loop::Wake() const {
  const uint64_t one = 1;
  (void)!write(wake_, &one, sizeof one);
}

void ConnectionFront::Loop::Watch(int fd, uint64_t id, uint32_t events,
                                  int operation) const {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = id;
  epoll_ctl(epoll_, operation, fd, &event);
}

void ConnectionFront::Loop::SetListening(bool on) {
  if (on == listening_) return;
  listening_ = on;
  for (size_t i = 0; i < sockets_.size(); ++i) {
    Watch(sockets_[i].fd(), kFirstListenId + i, EPOLLIN,
          on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL);
  }
}

void ConnectionFront::Loop::Run() {
  std::array<epoll_event, 128> events;
  while (true) {
    bool stopping = false;
    absl::Duration drain_until;
    {
      absl::MutexLock lock(&mu_);
      stopping = stopping_;
      drain_until = drain_until_;
    }
    if (stopping) {
      SetListening(false);
      sockets_.clear();
      std::vector<uint64_t> idle;
      for (const auto& [id, connection] : connections_) {
        if (connection->phase != Phase::kTaken &&
            connection->phase != Phase::kWriting) {
          idle.push_back(id);
        }
      }
      for (const uint64_t id : idle) Close(*connections_.at(id));
      if (connections_.empty() || Now() >= drain_until) break;
    }
    const bool timed = !connections_.empty() || !listening_;
    const int count = epoll_wait(
        epoll_, events.data(), static_cast<int>(events.size()),
        timed ? static_cast<int>(absl::ToInt64Milliseconds(kTick)) : -1);
    for (int i = 0; i < count; ++i) {
      const uint64_t id = events[i].data.u64;
      if (id == kWakeId) {
        uint64_t ignored = 0;
        (void)!read(wake_, &ignored, sizeof ignored);
      } else if (id < kFirstConnectionId) {
        if (listening_) Accept(sockets_[id - kFirstListenId].fd());
      } else if (const auto it = connections_.find(id);
                 it != connections_.end()) {
        OnEvent(*it->second, events[i].events);
      }
    }
    TakeMail();
    Expire();
  }
  while (!connections_.empty()) Close(*connections_.begin()->second);
  {
    absl::MutexLock lock(&mu_);
    ended_ = true;
  }
  TakeMail();
}

void ConnectionFront::Loop::TakeMail() {
  std::vector<Mail> all;
  {
    absl::MutexLock lock(&mu_);
    all.swap(mail_);
  }
  for (Mail& mail : all) {
    const auto it = connections_.find(mail.id);
    if (it == connections_.end()) {
      if (mail.stream != nullptr) mail.stream->Close();
    } else if (mail.is_piece) {
      TakePiece(*it->second, std::move(mail));
    } else {
      StartAnswer(*it->second, std::move(mail.bytes));
    }
  }
}

void ConnectionFront::Loop::Accept(int listen_fd) {
  // Bounded, so that a flood of connections does not starve those at work.
  for (int i = 0; i < 64; ++i) {
    sockaddr_storage address = {};
    socklen_t length = sizeof address;
    const int fd = accept4(listen_fd, reinterpret_cast<sockaddr*>(&address),
                           &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
          errno == ENOMEM) {
        callbacks_.refused("no_descriptors");
        // The pending connection stays pending: look again after a tick
        // rather than at once.
        if (!EvictOne(nullptr)) SetListening(false);
      }
      return;
    }
    std::string key = CountingKey(address);
    bool room = true;
    if (const auto it = per_address_.find(key);
        it != per_address_.end() &&
        it->second >= options_.max_connections_per_address) {
      room = EvictOne(&key);
    }
    if (room && connections_.size() >= options_.max_connections) {
      room = EvictOne(nullptr);
    }
    if (!room) {
      callbacks_.refused("too_many_connections");
      close(fd);
      continue;
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto connection = std::make_unique<Connection>();
    connection->fd = fd;
    connection->id = next_id_++;
    connection->peer = AddressText(address);
    connection->counting_key = key;
    connection->accepted_at = Now();
    connection->deadline = connection->accepted_at + options_.read_timeout;
    ++per_address_[key];
    Watch(fd, connection->id, EPOLLIN, EPOLL_CTL_ADD);
    connections_.emplace(connection->id, std::move(connection));
    callbacks_.connections(connections_.size());
  }
}

bool ConnectionFront::Loop::EvictOne(const std::string* key) {
  // A linear search: connections are few (max_connections), and it runs only
  // when they are at their limit.
  Connection* oldest = nullptr;
  for (const auto& [id, connection] : connections_) {
    if (key != nullptr && connection->counting_key != *key) continue;
    if (connection->phase == Phase::kTaken ||
        connection->phase == Phase::kWriting) {
      continue;
    }
    if (oldest == nullptr) {
      oldest = connection.get();
      continue;
    }
    // Lingering ones first: they have their answer.
    const bool lingers = connection->phase == Phase::kLingering;
    const bool oldest_lingers = oldest->phase == Phase::kLingering;
    if (lingers != oldest_lingers ? lingers : connection->id < oldest->id) {
      oldest = connection.get();
    }
  }
  if (oldest == nullptr) return false;
  if (oldest->phase != Phase::kLingering) callbacks_.refused("evicted");
  Close(*oldest);
  return true;
}

void ConnectionFront::Loop::Close(Connection& connection) {
  Charge(connection, 0);
  if (connection.stream != nullptr) {
    connection.stream->Close();
    if (!connection.stream_ended ||
        connection.written < connection.answer.size()) {
      // A reset instead of an end, which a client without chunks would take
      // for the answer's.
      const linger now = {.l_onoff = 1, .l_linger = 0};
      setsockopt(connection.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
  }
  if (const auto it = per_address_.find(connection.counting_key);
      --it->second == 0) {
    per_address_.erase(it);
  }
  close(connection.fd);
  const uint64_t id = connection.id;
  connections_.erase(id);
  callbacks_.connections(connections_.size());
}

void ConnectionFront::Loop::OnEvent(Connection& connection, uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    Close(connection);
  } else if ((events & EPOLLOUT) != 0) {
    Write(connection);
  } else if ((events & EPOLLIN) != 0) {
    Read(connection);
  }
}

void ConnectionFront::Loop::Read(Connection& connection) {
  std::array<char, 64 << 10> buffer;
  // One buffer an event: a fast sender does not starve the others.
  const ssize_t count = recv(connection.fd, buffer.data(), buffer.size(), 0);
  if (count < 0) {
    if (errno != EAGAIN && errno != EINTR) Close(connection);
    return;
  }
  if (count == 0) {
    Close(connection);
    return;
  }
  if (connection.phase == Phase::kLingering) {
    connection.lingered += static_cast<size_t>(count);
    if (connection.lingered > kMaxLingerBytes) Close(connection);
    return;
  }
  TakeBytes(connection, absl::string_view(buffer.data(), count));
}

bool ConnectionFront::Loop::TakeBytes(Connection& connection,
                                      absl::string_view bytes) {
  if (connection.phase == Phase::kHead) {
    const size_t known = connection.head.size();
    const size_t take = std::min(bytes.size(), kMaxHeadBytes - known);
    connection.head.append(bytes.data(), take);
    const size_t end =
        connection.head.find("\r\n\r\n", known < 3 ? 0 : known - 3);
    if (end == std::string::npos) {
      if (const absl::Status status = CheckHeadSoFar(connection.head);
          !status.ok()) {
        Refuse(connection, {HttpCode::kBadRequest, "bad_request",
                            std::string(status.message())});
        return false;
      }
      if (connection.head.size() == kMaxHeadBytes) {
        Refuse(connection,
               {HttpCode::kHeadersTooLarge, "head_too_large",
                absl::StrCat("the head of a request must be at most ",
                             kMaxHeadBytes, " bytes")});
        return false;
      }
      return true;
    }
    bytes.remove_prefix(end + 4 - known);
    connection.head.resize(end + 4);
    return TakeHead(connection, bytes);
  }
  if (connection.phase != Phase::kBody) return false;
  std::string& body = connection.request.body;
  const size_t take = static_cast<size_t>(std::min<uint64_t>(
      bytes.size(), connection.content_length - body.size()));
  if (buffered_ + take > options_.max_buffered_bytes) {
    Refuse(connection, {HttpCode::kUnavailable, "memory",
                        "too many large requests at once; try again"});
    return false;
  }
  body.append(bytes.data(), take);
  Charge(connection, body.size());
  // What lies beyond the body is another request: this connection takes one.
  if (body.size() == connection.content_length) BodyComplete(connection);
  return true;
}

bool ConnectionFront::Loop::TakeHead(Connection& connection,
                                     absl::string_view rest) {
  std::variant<RequestHead, Refusal> parsed = ParseHead(connection.head);
  connection.head.clear();
  connection.head.shrink_to_fit();
  if (const Refusal* refusal = std::get_if<Refusal>(&parsed)) {
    Refuse(connection, *refusal);
    return false;
  }
  auto& head = std::get<RequestHead>(parsed);
  connection.request = std::move(head.request);
  connection.request.peer = connection.peer;
  connection.content_length = head.content_length;
  Plan plan = callbacks_.plan(connection.request);
  if (plan.answer.has_value()) {
    if (plan.refusal != nullptr) callbacks_.refused(plan.refusal);
    callbacks_.answered(connection.request, plan.answer->code);
    StartAnswer(connection,
                Serialize(*plan.answer, connection.request.method == "HEAD"));
    return false;
  }
  if (head.content_length > plan.max_body) {
    Refuse(connection, {HttpCode::kContentTooLarge, "body_too_large",
                        absl::StrCat("the body must be at most ", plan.max_body,
                                     " bytes, got ", head.content_length)});
    return false;
  }
  connection.deadline =
      std::max(connection.deadline, connection.accepted_at + plan.read_timeout);
  connection.phase = Phase::kBody;
  if (head.expect_continue && rest.size() < head.content_length) {
    // If these few bytes do not fit, the peer sends its body unasked in a
    // moment (RFC 9110 §10.1.1).
    (void)!send(connection.fd, kContinue.data(), kContinue.size(),
                MSG_NOSIGNAL);
  }
  return TakeBytes(connection, rest);
}

void ConnectionFront::Loop::BodyComplete(Connection& connection) {
  connection.phase = Phase::kTaken;
  connection.deadline = absl::InfiniteDuration();
  Watch(connection.fd, connection.id, 0, EPOLL_CTL_MOD);
  HttpRequest request = std::move(connection.request);
  connection.request = HttpRequest();
  // Kept for an answer that the front makes itself.
  connection.request.method = request.method;
  connection.request.route = request.route;
  if (!callbacks_.take(connection.id, std::move(request))) {
    Refuse(connection, {HttpCode::kUnavailable, "overload",
                        "too many requests at once; try again"});
  }
}

void ConnectionFront::Loop::Refuse(Connection& connection,
                                   const Refusal& refusal) {
  callbacks_.refused(refusal.reason);
  callbacks_.answered(connection.request, refusal.code);
  HttpResponse response = ErrorAnswer(refusal.code, refusal.message);
  if (refusal.code == HttpCode::kUnavailable) {
    response.headers.emplace_back("Retry-After", "1");
  }
  StartAnswer(connection,
              Serialize(response, connection.request.method == "HEAD"));
}

void ConnectionFront::Loop::StartAnswer(Connection& connection,
                                        std::string bytes) {
  connection.request = HttpRequest();
  Charge(connection, 0);
  if (buffered_ + bytes.size() > options_.max_buffered_bytes) {
    callbacks_.refused("memory");
    bytes = Serialize(ErrorAnswer(HttpCode::kUnavailable,
                                  "too many large answers at once; try again"),
                      false);
  }
  Charge(connection, bytes.size());
  connection.answer = std::move(bytes);
  connection.phase = Phase::kWriting;
  connection.deadline = Now() + options_.write_timeout;
  Write(connection);
}

void ConnectionFront::Loop::TakePiece(Connection& connection, Mail mail) {
  if (mail.stream != nullptr) {
    connection.request = HttpRequest();
    connection.stream = std::move(mail.stream);
    connection.phase = Phase::kWriting;
  }
  if (mail.end == Mail::End::kBroken) return Close(connection);
  connection.stream_ended = mail.end == Mail::End::kWhole;
  if (connection.written == connection.answer.size()) {
    connection.deadline = Now() + options_.write_timeout;
    connection.taken = 0;
  }
  connection.answer.erase(0, connection.written);
  connection.written = 0;
  connection.answer += mail.bytes;
  Charge(connection, connection.answer.size());
  Write(connection);
}

void ConnectionFront::Loop::Write(Connection& connection) {
  while (connection.written < connection.answer.size()) {
    const ssize_t count =
        send(connection.fd, connection.answer.data() + connection.written,
             connection.answer.size() - connection.written, MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        Watch(connection.fd, connection.id, EPOLLOUT, EPOLL_CTL_MOD);
      } else {
        Close(connection);
      }
      return;
    }
    connection.written += static_cast<size_t>(count);
    if (connection.stream == nullptr) continue;
    connection.stream->Sent(static_cast<size_t>(count));
    connection.taken += static_cast<size_t>(count);
    if (connection.taken >= kMaxUnsentBytes) {
      connection.deadline = Now() + options_.write_timeout;
      connection.taken = 0;
    }
  }
  if (connection.stream != nullptr && !connection.stream_ended) {
    // The next piece is late, which is not the peer's fault.
    connection.deadline = absl::InfiniteDuration();
    Watch(connection.fd, connection.id, 0, EPOLL_CTL_MOD);
    return;
  }
  StartLinger(connection);
}

void ConnectionFront::Loop::StartLinger(Connection& connection) {
  connection.answer.clear();
  connection.answer.shrink_to_fit();
  connection.written = 0;
  Charge(connection, 0);
  shutdown(connection.fd, SHUT_WR);
  connection.phase = Phase::kLingering;
  connection.deadline = Now() + options_.linger_timeout;
  Watch(connection.fd, connection.id, EPOLLIN, EPOLL_CTL_MOD);
}

void ConnectionFront::Loop::Expire() {
  const absl::Duration now = Now();
  if (now < next_expiry_) return;
  next_expiry_ = now + kTick;
  {
    absl::MutexLock lock(&mu_);
    if (!stopping_) SetListening(true);
  }
  std::vector<uint64_t> expired;
  for (const auto& [id, connection] : connections_) {
    if (connection->deadline <= now) expired.push_back(id);
  }
  for (const uint64_t id : expired) {
    Connection& connection = *connections_.at(id);
    switch (connection.phase) {
      case Phase::kHead:
        // A connection that never said a word gets none back either.
        if (connection.head.empty()) {
          callbacks_.refused("idle");
          Close(connection);
          break;
        }
        [[fallthrough]];
      case Phase::kBody:
        Refuse(connection, {HttpCode::kRequestTimeout, "timeout",
                            "the request did not arrive in time"});
        break;
      case Phase::kWriting:
        callbacks_.refused("slow_reader");
        Close(connection);
        break;
      case Phase::kTaken:
      case Phase::kLingering:
        Close(connection);
        break;
    }
  }
}

ConnectionFront::ConnectionFront(const Options& options, Callbacks callbacks)
    : options_(options), callbacks_(std::move(callbacks)) {}

ConnectionFront::~ConnectionFront() { Stop(absl::ZeroDuration()); }

absl::Status ConnectionFront::Start(std::vector<ListenSocket> sockets) {
  loop_ = std::make_unique<Loop>(options_, callbacks_);
  return loop_->Start(std::move(sockets));
}

void ConnectionFront::Answer(uint64_t id, std::string bytes) {
  if (loop_ != nullptr) loop_->Post({.id = id, .bytes = std::move(bytes)});
}

std::shared_ptr<ConnectionFront::Stream> ConnectionFront::AnswerAsMade(
    uint64_t id) {
  std::shared_ptr<Stream> stream(new Stream(*loop_, id));
  loop_->Post({.id = id, .stream = stream, .is_piece = true});
  return stream;
}

bool ConnectionFront::Stream::Write(std::string bytes) {
  {
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(
        +[](Stream* s) ABSL_NO_THREAD_SAFETY_ANALYSIS {
          return s->closed_ || s->unsent_ < kMaxUnsentBytes;
        },
        this));
    if (closed_) return false;
    unsent_ += bytes.size();
  }
  loop_.Post({.id = id_, .bytes = std::move(bytes), .is_piece = true});
  return true;
}

void ConnectionFront::Stream::End(bool whole) {
  using End = Loop::Mail::End;
  loop_.Post(
      {.id = id_, .is_piece = true, .end = whole ? End::kWhole : End::kBroken});
}

void ConnectionFront::Stream::Sent(size_t bytes) {
  absl::MutexLock lock(&mu_);
  unsent_ -= bytes;
}

void ConnectionFront::Stream::Close() {
  absl::MutexLock lock(&mu_);
  closed_ = true;
}

void ConnectionFront::Stop(absl::Duration drain) {
  if (loop_ != nullptr) loop_->Stop(drain);
}

}  // namespace camherd::gateway
