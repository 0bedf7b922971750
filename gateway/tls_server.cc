// SPDX-License-Identifier: Apache-2.0
#include "gateway/tls_server.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

// OpenSSL's own takes write(), which kills the process when the peer has gone.
int SocketWrite(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const int fd =
      static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
  const ssize_t count =
      send(fd, bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
    BIO_set_retry_write(bio);
  }
  return static_cast<int>(count);
}

int SocketRead(BIO* bio, char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const int fd =
      static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
  const ssize_t count = recv(fd, bytes, static_cast<size_t>(size), 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
    BIO_set_retry_read(bio);
  }
  return static_cast<int>(count);
}

long SocketControl(BIO* /*bio*/, int command, long /*number*/,
                   void* /*pointer*/) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* SocketMethod() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made =
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    BIO_meth_set_write(made, SocketWrite);
    BIO_meth_set_read(made, SocketRead);
    BIO_meth_set_ctrl(made, SocketControl);
    return made;
  }();
  return method;
}

// A key with a password would otherwise ask at the terminal.
int NoPassword(char* /*buffer*/, int /*size*/, int /*writing*/,
               void* /*data*/) {
  return -1;
}

absl::Status Unusable(absl::string_view what, absl::string_view path) {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(
      what, " ", path, ": ", reason == nullptr ? "cannot be used" : reason));
}

// OK for a file that is read in a moment: a pipe that nobody writes to would
// keep all connections waiting for ever.
absl::Status CheckFile(absl::string_view what, const std::string& path) {
  constexpr off_t kMaxBytes = 1 << 20;
  struct stat file = {};
  if (stat(path.c_str(), &file) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " ", path, ": ", strerror(errno)));
  }
  if (S_ISREG(file.st_mode) && file.st_size <= kMaxBytes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      what, " ", path, " must be a file of at most ", kMaxBytes, " bytes"));
}

// What tells one state of the files from another.
std::string StateOf(const TlsServer::Options& options) {
  std::string state;
  for (const std::string& path : {options.certificate, options.key}) {
    struct stat file = {};
    if (stat(path.c_str(), &file) != 0) {
      absl::StrAppend(&state, "error ", errno, ";");
      continue;
    }
    absl::StrAppend(&state, file.st_dev, ".", file.st_ino, ".", file.st_size,
                    ".", file.st_mtim.tv_sec, ".", file.st_mtim.tv_nsec, ";");
  }
  return state;
}

}  // namespace

TlsServer::Opening TlsServer::OpeningOf(absl::string_view first) {
  const auto byte = [&](size_t at) -> size_t {
    return static_cast<unsigned char>(first[at]);
  };
  // type, version (2), length (2) of a record; in it type, length (3).
  constexpr size_t kHandshakeRecord = 22;
  constexpr size_t kClientHello = 1;
  if (first.empty() || byte(0) != kHandshakeRecord) return Opening::kNoTls;
  if (first.size() < kOpeningBytes) return Opening::kNoHello;
  const size_t record = byte(3) << 8 | byte(4);
  const size_t hello = byte(6) << 16 | byte(7) << 8 | byte(8);
  return record >= 4 && byte(5) == kClientHello && hello <= kMaxHelloBytes
             ? Opening::kHello
             : Opening::kNoHello;
}

TlsServer::Session::~Session() { SSL_free(ssl_); }

ssize_t TlsServer::Session::Result(int returned) {
  if (returned > 0) return returned;
  switch (SSL_get_error(ssl_, returned)) {
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    case SSL_ERROR_WANT_READ:
      events_ = EPOLLIN;
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_WANT_WRITE:
      events_ = EPOLLOUT;
      errno = EAGAIN;
      return -1;
    default:
      ERR_clear_error();
      errno = EPROTO;
      return -1;
  }
}

ssize_t TlsServer::Session::Handshake() {
  ERR_clear_error();
  return Result(SSL_do_handshake(ssl_));
}

ssize_t TlsServer::Session::Receive(char* bytes, size_t size) {
  ERR_clear_error();
  return Result(
      SSL_read(ssl_, bytes, static_cast<int>(std::min<size_t>(size, INT_MAX))));
}

ssize_t TlsServer::Session::Send(const char* bytes, size_t size) {
  ERR_clear_error();
  return Result(SSL_write(ssl_, bytes,
                          static_cast<int>(std::min<size_t>(size, INT_MAX))));
}

void TlsServer::Session::End() {
  ERR_clear_error();
  // Once: the peer's own goodbye is of no interest.
  (void)SSL_shutdown(ssl_);
  ERR_clear_error();
}

bool TlsServer::Session::HasUnread() const {
  return SSL_has_pending(ssl_) == 1;
}

absl::StatusOr<std::unique_ptr<TlsServer>> TlsServer::Create(
    const Options& options) {
  std::unique_ptr<TlsServer> server(new TlsServer(options));
  server->seen_ = server->loaded_ = StateOf(options);
  CAMHERD_RETURN_IF_ERROR(server->Load());
  return server;
}

TlsServer::~TlsServer() { SSL_CTX_free(context_); }

absl::StatusOr<bool> TlsServer::ReloadIfChanged() {
  std::string state = StateOf(options_);
  const bool is_settled = state == seen_;
  seen_ = std::move(state);
  if (!is_settled || seen_ == loaded_) return false;
  loaded_ = seen_;
  CAMHERD_RETURN_IF_ERROR(Load());
  return true;
}

absl::Status TlsServer::Load() {
  CAMHERD_RETURN_IF_ERROR(CheckFile("tls_certificate", options_.certificate));
  CAMHERD_RETURN_IF_ERROR(CheckFile("tls_key", options_.key));
  ERR_clear_error();
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(
      SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (context == nullptr) return Unusable("TLS", "");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(context.get(), "ECDHE+AESGCM:ECDHE+CHACHA20");
  // A peer that just closes its socket has ended; lengths tell what is whole.
  SSL_CTX_set_options(context.get(),
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                          SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  // Else one call could go on for as long as a peer sends key updates.
  SSL_CTX_clear_mode(context.get(), SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_default_passwd_cb(context.get(), NoPassword);
  if (SSL_CTX_use_certificate_chain_file(context.get(),
                                         options_.certificate.c_str()) != 1) {
    return Unusable("tls_certificate", options_.certificate);
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), options_.key.c_str(),
                                  SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return Unusable("tls_key", options_.key);
  }
  tm end = {};
  const X509* certificate = SSL_CTX_get0_certificate(context.get());
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1) {
    return Unusable("tls_certificate", options_.certificate);
  }
  not_after_ = absl::FromTM(end, absl::UTCTimeZone());
  SSL_CTX_free(context_);
  context_ = context.release();
  return absl::OkStatus();
}

std::unique_ptr<TlsServer::Session> TlsServer::Accept(int fd) const {
  SSL* ssl = SSL_new(context_);
  BIO* bio = BIO_new(SocketMethod());
  if (ssl == nullptr || bio == nullptr) {
    SSL_free(ssl);
    BIO_free(bio);
    return nullptr;
  }
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_accept_state(ssl);
  return std::unique_ptr<Session>(new Session(ssl));
}

}  // namespace camherd::gateway
