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
#include "services/common/status_macros.h"

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

// How often the files of the certificate are looked at.
constexpr absl::Duration kAccessTick = absl::Seconds(1);
constexpr absl::Duration kReloadTick = absl::Milliseconds(500);

constexpr absl::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

// Clients are told apart by IPv4 address and by IPv6 /64, since one host
// commonly has a whole /64.
std::string ClientKey(const sockaddr_storage& address) {
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

enum class Phase { kHandshake, kHead, kBody, kTaken, kWriting, kLingering };

struct Connection {
  int fd = -1;
  uint64_t id = 0;
  // Key of its client.
  std::string client;
  std::string peer;
  Phase phase = Phase::kHead;
  // Epoll events it is watched for.
  uint32_t events = 0;
  // Of the request: when its first byte came, or could have.
  absl::Duration began_at;
  absl::Duration deadline;
  // Null: no TLS.
  std::unique_ptr<TlsServer::Session> tls;
  bool is_tls_begun = false;
  // What has been read and belongs to no request yet: a head so far and what
  // follows it, up to kMaxHeadBytes; and how much of it holds no head's end.
  std::string inbox;
  size_t scanned = 0;
  // It is in the loop's ready_.
  bool is_ready = false;
  size_t requests = 0;
  // Another request may follow the one in work.
  bool keep_alive = false;
  HttpRequest request;
  uint64_t content_length = 0;
  std::string answer;
  size_t written = 0;
  // An answer that is sent as it is made. shared_ptr: its maker has it too.
  std::shared_ptr<ConnectionFront::Stream> stream;
  bool stream_ended = false;
  // A live answer. shared_ptr: its maker has it too.
  std::shared_ptr<LiveBody> live;
  bool live_chunks = false;
  bool live_ended = false;
  std::function<bool()> may_stay;
  // Of it, since the deadline was set.
  size_t taken = 0;
  size_t lingered = 0;
  // Share of the front's buffered_ that is this connection's.
  size_t charged = 0;
};

// It has a live answer, of which all there was is sent.
bool IsIdleLive(const Connection& connection) {
  return connection.live != nullptr && !connection.live_ended &&
         connection.written == connection.answer.size();
}

// The bytes from which on a socket is readable.
void SetLowWater(int fd, int bytes) {
  setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

// Its peer has all answers it has asked for.
bool IsDone(const Connection& connection) {
  return connection.phase == Phase::kLingering ||
         (connection.phase == Phase::kHead && connection.requests > 0 &&
          connection.inbox.empty());
}

}  // namespace

// Everything but the mailbox belongs to the thread that runs Run().
class ConnectionFront::Loop {
 public:
  Loop(const Options& options, const Callbacks& callbacks)
      : options_(options), callbacks_(callbacks), rate_(options.rate) {}
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
    // The body after a head in `bytes`.
    std::shared_ptr<LiveBody> live = nullptr;
    bool live_chunks = false;
    std::function<bool()> may_stay = nullptr;
    // There may be more of it.
    bool live_woken = false;
  };
  void Post(Mail mail);
  void Stop(absl::Duration drain);

 private:
  void Run();
  void Wake() const;
  void TakeMail();
  void Watch(int fd, uint64_t id, uint32_t events, int operation) const;
  void Await(Connection& connection, uint32_t events) const;
  void SetListening(bool on);

  void Accept(int listen_fd);
  // Closes one connection to make room; with `client`, one of its.
  bool EvictOne(const std::string* client);
  // The client with most connections.
  std::string BusiestClient() const;
  void Close(Connection& connection);
  // Sets the bytes that the connection holds in memory.
  void Charge(Connection& connection, size_t bytes);
  // Whether it may hold as many.
  bool HasRoom(const Connection& connection, size_t bytes) const;

  void OnEvent(Connection& connection, uint32_t events);
  // Comes back to the connection in the next turn if it has bytes that have
  // left the socket already.
  void ComeBackTo(uint64_t id);
  // recv and send, or TLS.
  static ssize_t Receive(Connection& connection, char* bytes, size_t size);
  static ssize_t Send(Connection& connection, absl::string_view bytes);
  void Handshake(Connection& connection);
  void Read(Connection& connection);
  // Goes on with a request as far as the bytes in the inbox reach.
  void TakeHead(Connection& connection);
  void StartRequest(Connection& connection, RequestHead head);
  void TakeBody(Connection& connection, absl::string_view bytes);
  void BodyComplete(Connection& connection);
  void Refuse(Connection& connection, const Refusal& refusal);
  // Answers a request whose body has not been read.
  void AnswerHere(Connection& connection, const HttpResponse& response);
  void StartAnswer(Connection& connection, std::string bytes);
  void TakePiece(Connection& connection, Mail mail);
  void StartLive(Connection& connection, Mail mail);
  // Asks a live body that has been sent whole for more, or, `idle`, for what it
  // has to say then.
  void AskLive(Connection& connection, bool idle);
  void EndLive(Connection& connection);
  void Write(Connection& connection);
  void AnswerWritten(Connection& connection);
  void AwaitRequest(Connection& connection);
  void StartLinger(Connection& connection);
  void Expire();
  void LookAtCertificate();
  // Ends live answers whose readers may not have them any more.
  void LookWhoMayStay();

  absl::Duration Now() const { return Clock::Real().SteadyNow(); }

  const Options& options_;
  const Callbacks& callbacks_;
  int epoll_ = -1;
  int wake_ = -1;
  std::unique_ptr<TlsServer> tls_;
  std::vector<ListenSocket> sockets_;
  bool listening_ = false;
  // shared_ptr-free: ids, not pointers, travel through epoll and the mailbox,
  // so a late event or answer of a closed connection finds nothing.
  absl::flat_hash_map<uint64_t, std::unique_ptr<Connection>> connections_;
  struct Client {
    size_t connections = 0;
    size_t buffered = 0;
  };
  // Those with a connection.
  absl::flat_hash_map<std::string, Client> clients_;
  RateLimiter rate_;
  uint64_t next_id_ = kFirstConnectionId;
  // Connections with bytes that have left the socket and wait for their turn.
  std::vector<uint64_t> ready_;
  size_t buffered_ = 0;
  absl::Duration next_expiry_ = absl::ZeroDuration();
  absl::Duration next_reload_ = absl::ZeroDuration();
  absl::Duration next_access_ = absl::ZeroDuration();
  std::thread thread_;

  absl::Mutex mu_;
  std::vector<Mail> mail_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // Nobody reads mail_ any more.
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration drain_until_ ABSL_GUARDED_BY(mu_) = absl::ZeroDuration();
};

absl::Status ConnectionFront::Loop::Start(std::vector<ListenSocket> sockets) {
  if (!options_.tls.certificate.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(tls_, TlsServer::Create(options_.tls));
    callbacks_.certificate(absl::OkStatus(), tls_->not_after());
  }
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

void ConnectionFront::Loop::Await(Connection& connection,
                                  uint32_t events) const {
  if (connection.events == events) return;
  connection.events = events;
  Watch(connection.fd, connection.id, events, EPOLL_CTL_MOD);
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
      std::vector<uint64_t> live;
      for (const auto& [id, connection] : connections_) {
        if (connection->phase != Phase::kTaken &&
            connection->phase != Phase::kWriting) {
          idle.push_back(id);
        } else if (connection->live != nullptr && !connection->live_ended) {
          // One that is slow to read would take all of the drain.
          (IsIdleLive(*connection) ? live : idle).push_back(id);
        }
      }
      for (const uint64_t id : idle) Close(*connections_.at(id));
      for (const uint64_t id : live) EndLive(*connections_.at(id));
      if (connections_.empty() || Now() >= drain_until) break;
    }
    const bool timed = !connections_.empty() || !listening_;
    int timeout_ms =
        timed ? static_cast<int>(absl::ToInt64Milliseconds(kTick)) : -1;
    if (!timed && tls_ != nullptr) {
      timeout_ms = static_cast<int>(absl::ToInt64Milliseconds(kReloadTick));
    }
    if (!ready_.empty()) timeout_ms = 0;
    const int count = epoll_wait(epoll_, events.data(),
                                 static_cast<int>(events.size()), timeout_ms);
    // One request of each a turn, so that they starve nobody who sends one.
    std::vector<uint64_t> ready;
    ready.swap(ready_);
    for (const uint64_t id : ready) {
      const auto it = connections_.find(id);
      if (it == connections_.end()) continue;
      Connection& connection = *it->second;
      connection.is_ready = false;
      if (connection.phase == Phase::kHead &&
          connection.scanned < connection.inbox.size()) {
        TakeHead(connection);
      } else if (connection.phase == Phase::kHead ||
                 connection.phase == Phase::kBody) {
        Read(connection);
      }
      ComeBackTo(id);
    }
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
    LookAtCertificate();
    LookWhoMayStay();
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
    } else if (mail.live_woken) {
      if (it->second->live != nullptr) AskLive(*it->second, /*idle=*/false);
    } else if (mail.live != nullptr) {
      if (it->second->phase == Phase::kTaken) {
        StartLive(*it->second, std::move(mail));
      }
    } else if (mail.is_piece) {
      TakePiece(*it->second, std::move(mail));
    } else if (it->second->phase == Phase::kTaken) {
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
    const std::string key = ClientKey(address);
    bool room = true;
    if (const auto it = clients_.find(key);
        it != clients_.end() &&
        it->second.connections >= options_.max_connections_per_address) {
      room = EvictOne(&key);
    }
    if (room && connections_.size() >= options_.max_connections) {
      const std::string busiest = BusiestClient();
      room = EvictOne(&busiest) || EvictOne(nullptr);
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
    connection->client = key;
    connection->began_at = Now();
    connection->deadline = connection->began_at + options_.read_timeout;
    connection->events = EPOLLIN;
    if (tls_ != nullptr) {
      connection->phase = Phase::kHandshake;
      SetLowWater(fd, TlsServer::kOpeningBytes);
      connection->tls = tls_->Accept(fd);
      if (connection->tls == nullptr) {
        callbacks_.refused("memory");
        close(fd);
        continue;
      }
    }
    ++clients_[key].connections;
    Watch(fd, connection->id, EPOLLIN, EPOLL_CTL_ADD);
    connections_.emplace(connection->id, std::move(connection));
    callbacks_.connections(connections_.size());
  }
}

std::string ConnectionFront::Loop::BusiestClient() const {
  const auto busiest = std::max_element(
      clients_.begin(), clients_.end(), [](const auto& a, const auto& b) {
        return a.second.connections < b.second.connections;
      });
  return busiest == clients_.end() ? "" : busiest->first;
}

void ConnectionFront::Loop::Charge(Connection& connection, size_t bytes) {
  size_t& of_client = clients_.at(connection.client).buffered;
  of_client = of_client - connection.charged + bytes;
  buffered_ = buffered_ - connection.charged + bytes;
  connection.charged = bytes;
}

bool ConnectionFront::Loop::HasRoom(const Connection& connection,
                                    size_t bytes) const {
  const size_t all = options_.max_buffered_bytes;
  const size_t share = all - all / 4;
  const size_t others = buffered_ - connection.charged;
  const size_t others_of_client =
      clients_.at(connection.client).buffered - connection.charged;
  return others_of_client + bytes <= share &&
         others + bytes <= (bytes > kSmallBytes ? share : all);
}

bool ConnectionFront::Loop::EvictOne(const std::string* client) {
  // A linear search: connections are few (max_connections), and it runs only
  // when they are at their limit.
  Connection* oldest = nullptr;
  for (const auto& [id, connection] : connections_) {
    if (client != nullptr && connection->client != *client) continue;
    if (connection->phase == Phase::kTaken ||
        connection->phase == Phase::kWriting) {
      continue;
    }
    if (oldest == nullptr) {
      oldest = connection.get();
      continue;
    }
    const bool done = IsDone(*connection);
    if (done != IsDone(*oldest) ? done
                                : connection->began_at < oldest->began_at) {
      oldest = connection.get();
    }
  }
  if (oldest == nullptr) return false;
  if (!IsDone(*oldest)) callbacks_.refused("evicted");
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
  if (connection.live != nullptr) connection.live->Detach();
  if (const auto it = clients_.find(connection.client);
      --it->second.connections == 0) {
    clients_.erase(it);
  }
  close(connection.fd);
  const uint64_t id = connection.id;
  connections_.erase(id);
  callbacks_.connections(connections_.size());
}

void ConnectionFront::Loop::OnEvent(Connection& connection, uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) != 0) {
    Close(connection);
  } else if (connection.phase == Phase::kTaken) {
    // The next request, or the end of the peer's side: not now.
    Await(connection, 0);
  } else if (connection.phase == Phase::kWriting) {
    if (connection.written < connection.answer.size()) {
      Write(connection);
    } else if (IsIdleLive(connection)) {
      AskLive(connection, /*idle=*/false);
    } else {
      Await(connection, 0);
    }
  } else {
    const uint64_t id = connection.id;
    if (connection.phase == Phase::kHandshake) {
      Handshake(connection);
    } else {
      Read(connection);
    }
    ComeBackTo(id);
  }
}

void ConnectionFront::Loop::ComeBackTo(uint64_t id) {
  const auto it = connections_.find(id);
  if (it == connections_.end() || it->second->is_ready) return;
  Connection& connection = *it->second;
  const bool unread =
      connection.tls != nullptr && connection.tls->HasUnread() &&
      (connection.phase == Phase::kHead || connection.phase == Phase::kBody);
  const bool unscanned = connection.phase == Phase::kHead &&
                         connection.scanned < connection.inbox.size();
  if (!unread && !unscanned) return;
  connection.is_ready = true;
  ready_.push_back(id);
}

ssize_t ConnectionFront::Loop::Receive(Connection& connection, char* bytes,
                                       size_t size) {
  // What comes after the answer is dropped unread.
  return connection.tls == nullptr || connection.phase == Phase::kLingering
             ? recv(connection.fd, bytes, size, 0)
             : connection.tls->Receive(bytes, size);
}

ssize_t ConnectionFront::Loop::Send(Connection& connection,
                                    absl::string_view bytes) {
  return connection.tls == nullptr
             ? send(connection.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL)
             : connection.tls->Send(bytes.data(), bytes.size());
}

void ConnectionFront::Loop::Handshake(Connection& connection) {
  if (!connection.is_tls_begun) {
    std::array<char, TlsServer::kOpeningBytes> first;
    const ssize_t count =
        recv(connection.fd, first.data(), first.size(), MSG_PEEK);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) return Close(connection);
    switch (TlsServer::OpeningOf(
        absl::string_view(first.data(), static_cast<size_t>(count)))) {
      case TlsServer::Opening::kHello:
        break;
      case TlsServer::Opening::kNoTls:
        connection.tls = nullptr;
        Refuse(connection,
               {HttpCode::kBadRequest, "not_tls", "this port speaks HTTPS"});
        return;
      case TlsServer::Opening::kNoHello:
        callbacks_.refused("tls_handshake");
        Close(connection);
        return;
    }
    connection.is_tls_begun = true;
    SetLowWater(connection.fd, 1);
  }
  if (connection.tls->Handshake() == 1) {
    connection.phase = Phase::kHead;
    Await(connection, EPOLLIN);
  } else if (errno == EAGAIN) {
    Await(connection, connection.tls->events());
  } else {
    callbacks_.refused("tls_handshake");
    Close(connection);
  }
}

void ConnectionFront::Loop::Read(Connection& connection) {
  std::array<char, 64 << 10> buffer;
  // One buffer an event: a fast sender does not starve the others. Never more
  // than the request in work can need, but for a head's size of what follows.
  size_t size = buffer.size();
  if (connection.phase == Phase::kHead) {
    size = kMaxHeadBytes - connection.inbox.size();
  } else if (connection.phase == Phase::kBody) {
    size = static_cast<size_t>(std::min<uint64_t>(
        size, connection.content_length - connection.request.body.size()));
  }
  const ssize_t count = Receive(connection, buffer.data(), size);
  if (count < 0) {
    if (errno == EAGAIN) {
      Await(connection,
            connection.tls == nullptr ? EPOLLIN : connection.tls->events());
    } else if (errno != EINTR) {
      Close(connection);
    }
    return;
  }
  Await(connection, EPOLLIN);
  if (count == 0) {
    Close(connection);
    return;
  }
  if (connection.phase == Phase::kLingering) {
    connection.lingered += static_cast<size_t>(count);
    if (connection.lingered > kMaxLingerBytes) Close(connection);
    return;
  }
  const absl::string_view bytes(buffer.data(), static_cast<size_t>(count));
  if (connection.phase == Phase::kBody) {
    TakeBody(connection, bytes);
    return;
  }
  if (connection.inbox.empty() && connection.requests > 0) {
    connection.began_at = Now();
    connection.deadline = connection.began_at + options_.read_timeout;
  }
  connection.inbox.append(bytes.data(), bytes.size());
  TakeHead(connection);
}

void ConnectionFront::Loop::TakeHead(Connection& connection) {
  std::string& inbox = connection.inbox;
  const size_t checked = std::exchange(connection.scanned, inbox.size());
  const size_t end = inbox.find("\r\n\r\n", checked < 3 ? 0 : checked - 3);
  if (end == std::string::npos) {
    if (const absl::Status status = CheckHeadSoFar(inbox, checked);
        !status.ok()) {
      Refuse(connection, {HttpCode::kBadRequest, "bad_request",
                          std::string(status.message())});
    } else if (inbox.size() == kMaxHeadBytes) {
      Refuse(connection, {HttpCode::kHeadersTooLarge, "head_too_large",
                          absl::StrCat("the head of a request must be at most ",
                                       kMaxHeadBytes, " bytes")});
    }
    return;
  }
  std::variant<RequestHead, Refusal> parsed =
      ParseHead(absl::string_view(inbox).substr(0, end + 4));
  inbox.erase(0, end + 4);
  connection.scanned = 0;
  if (const Refusal* refusal = std::get_if<Refusal>(&parsed)) {
    Refuse(connection, *refusal);
  } else {
    StartRequest(connection, std::get<RequestHead>(std::move(parsed)));
  }
}

void ConnectionFront::Loop::StartRequest(Connection& connection,
                                         RequestHead head) {
  connection.request = std::move(head.request);
  connection.request.peer = connection.peer;
  connection.request.is_tls = connection.tls != nullptr;
  connection.content_length = head.content_length;
  ++connection.requests;
  if (options_.keep_alive_timeout <= absl::ZeroDuration() ||
      connection.requests >= options_.max_requests_per_connection) {
    connection.request.keep_alive = false;
  }
  if (const absl::Duration wait = rate_.Take(connection.client, Now());
      wait > absl::ZeroDuration()) {
    callbacks_.refused("rate_limit");
    HttpResponse response = ErrorAnswer(HttpCode::kTooManyRequests,
                                        "too many requests; try again later");
    response.headers.emplace_back(
        "Retry-After",
        absl::StrCat(absl::ToInt64Seconds(absl::Ceil(wait, absl::Seconds(1)))));
    AnswerHere(connection, response);
    return;
  }
  Plan plan = callbacks_.plan(connection.request);
  if (plan.answer.has_value()) {
    if (plan.refusal != nullptr) callbacks_.refused(plan.refusal);
    AnswerHere(connection, *plan.answer);
    return;
  }
  if (head.content_length > plan.max_body) {
    Refuse(connection, {HttpCode::kContentTooLarge, "body_too_large",
                        absl::StrCat("the body must be at most ", plan.max_body,
                                     " bytes, got ", head.content_length)});
    return;
  }
  connection.keep_alive = connection.request.keep_alive;
  connection.deadline =
      std::max(connection.deadline, connection.began_at + plan.read_timeout);
  connection.phase = Phase::kBody;
  std::string& inbox = connection.inbox;
  const size_t take = static_cast<size_t>(
      std::min<uint64_t>(inbox.size(), head.content_length));
  if (head.expect_continue && take < head.content_length) {
    // If these few bytes do not fit, the peer has not read its answers so far.
    if (Send(connection, kContinue) != static_cast<ssize_t>(kContinue.size())) {
      callbacks_.refused("slow_reader");
      Close(connection);
      return;
    }
  }
  const std::string begun = inbox.substr(0, take);
  inbox.erase(0, take);
  TakeBody(connection, begun);
}

void ConnectionFront::Loop::AnswerHere(Connection& connection,
                                       const HttpResponse& response) {
  // Where the next request begins is known only past the body.
  connection.keep_alive =
      connection.request.keep_alive && connection.content_length == 0;
  callbacks_.answered(connection.request, response.code);
  StartAnswer(connection,
              Serialize(response, connection.request.method == "HEAD",
                        connection.keep_alive));
}

void ConnectionFront::Loop::TakeBody(Connection& connection,
                                     absl::string_view bytes) {
  if (!HasRoom(connection, connection.request.body.size() + bytes.size())) {
    Refuse(connection, {HttpCode::kUnavailable, "memory",
                        "too many large requests at once; try again"});
    return;
  }
  std::string& body = connection.request.body;
  // At once, or growing it would take up to three times its size. Memory that
  // has not been written to costs nothing yet.
  if (body.empty()) body.reserve(connection.content_length);
  body.append(bytes.data(), bytes.size());
  Charge(connection, body.size());
  if (body.size() == connection.content_length) BodyComplete(connection);
}

void ConnectionFront::Loop::BodyComplete(Connection& connection) {
  connection.phase = Phase::kTaken;
  connection.deadline = absl::InfiniteDuration();
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
  connection.keep_alive = false;
  StartAnswer(connection,
              Serialize(response, connection.request.method == "HEAD"));
}

void ConnectionFront::Loop::StartAnswer(Connection& connection,
                                        std::string bytes) {
  connection.request = HttpRequest();
  Charge(connection, 0);
  if (!HasRoom(connection, bytes.size())) {
    callbacks_.refused("memory");
    connection.keep_alive = false;
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

void ConnectionFront::Loop::StartLive(Connection& connection, Mail mail) {
  connection.request = HttpRequest();
  // The kernel's buffer is no queue either: what a slow reader has not taken
  // would be old when it does.
  const int unsent = kMaxUnsentBytes;
  setsockopt(connection.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent,
             sizeof unsent);
  connection.keep_alive = false;
  connection.live = std::move(mail.live);
  connection.live_chunks = mail.live_chunks;
  connection.may_stay = std::move(mail.may_stay);
  connection.answer = std::move(mail.bytes);
  Charge(connection, connection.answer.size());
  connection.phase = Phase::kWriting;
  connection.deadline = Now() + options_.write_timeout;
  connection.live->Attach(
      [this, id = connection.id] { Post({.id = id, .live_woken = true}); });
  Write(connection);
}

void ConnectionFront::Loop::AskLive(Connection& connection, bool idle) {
  // What it has is not sent yet: asked afterwards.
  if (!IsIdleLive(connection)) return;
  std::optional<std::string> next =
      idle ? connection.live->Idle() : connection.live->Ask();
  if (!next.has_value()) return EndLive(connection);
  connection.written = 0;
  if (next->empty()) {
    connection.answer.clear();
    connection.answer.shrink_to_fit();
    Charge(connection, 0);
    connection.deadline = Now() + options_.idle_interval;
    Await(connection, EPOLLRDHUP);
    return;
  }
  if (buffered_ + next->size() > options_.max_buffered_bytes) {
    callbacks_.refused("memory");
    return Close(connection);
  }
  connection.answer = connection.live_chunks ? Chunk(*next) : *std::move(next);
  Charge(connection, connection.answer.size());
  connection.deadline = Now() + options_.write_timeout;
  Write(connection);
}

void ConnectionFront::Loop::EndLive(Connection& connection) {
  connection.live_ended = true;
  connection.live->Detach();
  connection.answer = connection.live_chunks ? Chunk("") : "";
  connection.written = 0;
  connection.deadline = Now() + options_.write_timeout;
  Write(connection);
}

void ConnectionFront::Loop::Write(Connection& connection) {
  while (connection.written < connection.answer.size()) {
    const ssize_t count =
        Send(connection,
             absl::string_view(connection.answer).substr(connection.written));
    if (count <= 0) {
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) {
        uint32_t events =
            connection.tls == nullptr ? EPOLLOUT : connection.tls->events();
        if (connection.live != nullptr) events |= EPOLLRDHUP;
        Await(connection, events);
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
    Await(connection, 0);
    return;
  }
  if (connection.live != nullptr && !connection.live_ended) {
    // Asked after the others have had their turn.
    Await(connection, EPOLLOUT | EPOLLRDHUP);
    return;
  }
  AnswerWritten(connection);
}

void ConnectionFront::Loop::AnswerWritten(Connection& connection) {
  connection.answer.clear();
  connection.answer.shrink_to_fit();
  connection.written = 0;
  Charge(connection, 0);
  if (connection.keep_alive) {
    AwaitRequest(connection);
  } else {
    StartLinger(connection);
  }
}

void ConnectionFront::Loop::AwaitRequest(Connection& connection) {
  connection.stream.reset();
  connection.stream_ended = false;
  connection.taken = 0;
  connection.phase = Phase::kHead;
  connection.began_at = Now();
  Await(connection, EPOLLIN);
  if (connection.inbox.empty()) {
    connection.inbox.shrink_to_fit();
    connection.deadline = connection.began_at + options_.keep_alive_timeout;
  } else {
    connection.deadline = connection.began_at + options_.read_timeout;
  }
  ComeBackTo(connection.id);
}

void ConnectionFront::Loop::StartLinger(Connection& connection) {
  connection.inbox.clear();
  connection.inbox.shrink_to_fit();
  connection.scanned = 0;
  if (connection.tls != nullptr) connection.tls->End();
  shutdown(connection.fd, SHUT_WR);
  connection.phase = Phase::kLingering;
  connection.deadline = Now() + options_.linger_timeout;
  Await(connection, EPOLLIN);
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
      case Phase::kHandshake:
        callbacks_.refused(connection.is_tls_begun ? "tls_handshake" : "idle");
        Close(connection);
        break;
      case Phase::kHead:
        // A connection that never said a word gets none back either.
        if (connection.inbox.empty()) {
          if (connection.requests == 0) callbacks_.refused("idle");
          Close(connection);
          break;
        }
        [[fallthrough]];
      case Phase::kBody:
        Refuse(connection, {HttpCode::kRequestTimeout, "timeout",
                            "the request did not arrive in time"});
        break;
      case Phase::kWriting:
        if (IsIdleLive(connection)) {
          AskLive(connection, /*idle=*/true);
          break;
        }
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

void ConnectionFront::Loop::LookAtCertificate() {
  if (tls_ == nullptr || Now() < next_reload_) return;
  next_reload_ = Now() + kReloadTick;
  const absl::StatusOr<bool> reloaded = tls_->ReloadIfChanged();
  if (!reloaded.ok()) {
    LogError("the certificate in use stays",
             {{"error", reloaded.status().message()}});
  } else if (*reloaded) {
    LogInfo("a new certificate is in use",
            {{"until", absl::FormatTime(tls_->not_after())}});
  }
  if (!reloaded.ok() || *reloaded) {
    callbacks_.certificate(reloaded.status(), tls_->not_after());
  }
}

void ConnectionFront::Loop::LookWhoMayStay() {
  if (Now() < next_access_) return;
  next_access_ = Now() + kAccessTick;
  std::vector<uint64_t> gone;
  for (const auto& [id, connection] : connections_) {
    if (connection->live != nullptr && !connection->live_ended &&
        connection->may_stay != nullptr && !connection->may_stay()) {
      gone.push_back(id);
    }
  }
  for (const uint64_t id : gone) {
    Connection& connection = *connections_.at(id);
    if (IsIdleLive(connection)) {
      EndLive(connection);
    } else {
      Close(connection);
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

void ConnectionFront::AnswerLive(uint64_t id, std::string head, bool chunks,
                                 std::shared_ptr<LiveBody> body,
                                 std::function<bool()> may_stay) {
  if (loop_ == nullptr) return;
  loop_->Post({.id = id,
               .bytes = std::move(head),
               .live = std::move(body),
               .live_chunks = chunks,
               .may_stay = std::move(may_stay)});
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
