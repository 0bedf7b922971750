// SPDX-License-Identifier: Apache-2.0
#include "gateway/http_server.h"

#include <httplib.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gateway/http_status.h"
#include "gateway/request_fields.h"
#include "services/common/clock.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/trace_scope.h"

namespace camherd::gateway {
namespace {

// A request in memory, and the bytes of its answer.
class MemoryStream : public httplib::Stream {
 public:
  explicit MemoryStream(std::string input) : input_(std::move(input)) {}

  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  ssize_t read(char* data, size_t size) override {
    const size_t count = std::min(size, input_.size() - position_);
    memcpy(data, input_.data() + position_, count);
    position_ += count;
    return static_cast<ssize_t>(count);
  }
  ssize_t write(const char* data, size_t size) override {
    output_.append(data, size);
    return static_cast<ssize_t>(size);
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    ip.clear();
    port = 0;
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    ip.clear();
    port = 0;
  }
  socket_t socket() const override { return INVALID_SOCKET; }

  std::string TakeOutput() { return std::move(output_); }

 private:
  const std::string input_;
  size_t position_ = 0;
  std::string output_;
};

// "/streams/{stream}" as a regular expression of the library.
std::string Pattern(absl::string_view path_template) {
  return absl::StrJoin(absl::StrSplit(path_template, '/'), "/",
                       [](std::string* out, absl::string_view segment) {
                         if (absl::StartsWith(segment, "{")) {
                           absl::StrAppend(out, "([^/]+)");
                           return;
                         }
                         for (const char c : segment) {
                           if (c == '.') out->push_back('\\');
                           out->push_back(c);
                         }
                       });
}

bool IsWrite(absl::string_view method) {
  return method != "GET" && method != "HEAD" && method != "OPTIONS";
}

// True if a browser sent it on behalf of another site's page. Callers that are
// no browsers send neither header. Through our own TLS a page of plain HTTP is
// another site's; without it a proxy may have added TLS.
bool IsCrossSite(const HttpRequest& request) {
  const absl::string_view site = request.Header("sec-fetch-site");
  if (!site.empty() && site != "same-origin" && site != "none") return true;
  if (!request.HasHeader("origin")) return false;
  const absl::string_view origin = request.Header("origin");
  for (const absl::string_view scheme : {"http://", "https://"}) {
    if (request.is_tls && scheme == "http://") continue;
    if (absl::StartsWith(origin, scheme)) {
      return !absl::EqualsIgnoreCase(origin.substr(scheme.size()),
                                     request.Header("host"));
    }
  }
  return true;
}

// Says what is wrong with the type of a body; "" if nothing is.
std::string WrongType(const Route& route, const HttpRequest& request) {
  static const auto& fields = *new std::vector<std::string>{
      "application/json", "application/x-www-form-urlencoded"};
  const std::string type = MediaType(request);
  const std::vector<std::string>& types =
      route.body_types.empty() ? fields : route.body_types;
  if (type.empty() || absl::c_linear_search(types, type)) return "";
  return absl::StrCat("Content-Type must be ", absl::StrJoin(types, " or "),
                      ", got \"", absl::CHexEscape(type.substr(0, 64)), "\"");
}

std::string ShownHost(absl::string_view host) {
  return std::string(host.substr(0, 100));
}

}  // namespace

// The library's server, without its sockets.
class HttpServer::Guarded : public httplib::Server {
 public:
  Guarded(const Routes& routes, const ConnectionFront::Options& front,
          GatewayMetrics& metrics) {
    // What it tells the client; the front keeps to it.
    set_keep_alive_timeout(absl::ToInt64Seconds(front.keep_alive_timeout));
    set_keep_alive_max_count(front.max_requests_per_connection);
    for (const Route& route : routes) {
      const auto run = [&route](const httplib::Request&,
                                httplib::Response& answer) {
        Fill(route.handler(*current), &answer);
      };
      const std::string pattern = Pattern(route.path);
      if (route.method == "GET") {
        Get(pattern, run);
      } else if (route.method == "POST") {
        Post(pattern, run);
      } else if (route.method == "PUT") {
        Put(pattern, run);
      } else if (route.method == "PATCH") {
        Patch(pattern, run);
      } else if (route.method == "DELETE") {
        Delete(pattern, run);
      } else {
        LogFatal("a route has an unknown method", {{"method", route.method}});
      }
    }
    // What() of an exception may hold anything: it goes nowhere.
    set_exception_handler([&metrics](const httplib::Request&,
                                     httplib::Response& answer,
                                     std::exception_ptr) {
      metrics.HandlerThrew();
      LogError("a handler threw an exception", {{"route", current->route}});
      Fill(ErrorAnswer(HttpCode::kInternalError, "internal error"), &answer);
    });
  }

  // The answer's bytes to a request the front let through.
  std::string Process(const HttpRequest& request, HttpCode* code) {
    // The library's own request: no header of the client's but the length, so
    // its content codings, ranges, forms and percent-decoding never run.
    MemoryStream stream(absl::StrCat(
        request.method, " ", PercentEncodePath(request.path),
        " HTTP/1.1\r\nHost: gateway\r\n",
        IsWrite(request.method) ? "Content-Length: 0\r\n" : "", "\r\n"));
    current = &request;
    current_code = HttpCode::kInternalError;
    bool closed = false;
    process_request(stream, !request.keep_alive, closed, nullptr);
    current = nullptr;
    *code = current_code;
    return stream.TakeOutput();
  }

 private:
  static void Fill(HttpResponse response, httplib::Response* answer) {
    current_code = response.code;
    answer->status = static_cast<int>(response.code);
    for (const auto& [name, value] : response.headers) {
      answer->set_header(name, value);
    }
    for (const auto& [name, value] : SecurityHeaders()) {
      if (!answer->has_header(name)) answer->set_header(name, value);
    }
    if (!response.content_type.empty()) {
      answer->set_header("Content-Type", response.content_type);
    }
    answer->body = std::move(response.body);
  }

  // The request of this thread: the library hands its handlers its own form
  // only.
  static thread_local const HttpRequest* current;
  static thread_local HttpCode current_code;
};

thread_local const HttpRequest* HttpServer::Guarded::current = nullptr;
thread_local HttpCode HttpServer::Guarded::current_code = HttpCode::kOk;

HttpServer::HttpServer(const Options& options, Routes routes,
                       Authenticator& authenticator, GatewayMetrics& metrics)
    : options_(options),
      routes_(std::move(routes)),
      authenticator_(authenticator),
      metrics_(metrics) {}

HttpServer::~HttpServer() { Stop(); }

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const Options& options, Routes routes, Authenticator& authenticator,
    GatewayMetrics& metrics) {
  auto server = std::unique_ptr<HttpServer>(
      new HttpServer(options, std::move(routes), authenticator, metrics));
  server->hosts_ = {"localhost"};
  for (const std::string& host : options.allowed_hosts) {
    server->hosts_.push_back(absl::AsciiStrToLower(host));
  }
  for (const std::string& address : options.listen) {
    CAMHERD_ASSIGN_OR_RETURN(std::string host, ListenHost(address));
    if (IsWildcardHost(host)) server->any_ip_host_ = true;
    server->hosts_.push_back(std::move(host));
  }
  CAMHERD_ASSIGN_OR_RETURN(std::vector<ListenSocket> sockets,
                           Listen(options.listen));
  for (const ListenSocket& socket : sockets) {
    server->addresses_.push_back(socket.address());
  }
  server->library_ =
      std::make_unique<Guarded>(server->routes_, options.front, metrics);
  for (int i = 0; i < kLanes; ++i) {
    server->lanes_.push_back(std::make_unique<WorkerPool>(
        options.threads_per_lane, options.queue_per_lane));
  }
  HttpServer* self = server.get();
  server->front_ = std::make_unique<ConnectionFront>(
      options.front,
      ConnectionFront::Callbacks{
          .plan =
              [self](HttpRequest& request) { return self->PlanFor(request); },
          .take =
              [self](uint64_t id, HttpRequest&& request) {
                return self->Take(id, std::move(request));
              },
          .refused =
              [&metrics](const char* reason) { metrics.Refused(reason); },
          .answered =
              [&metrics](const HttpRequest& request, HttpCode code) {
                metrics.Answered(request.route, request.method, code,
                                 absl::ZeroDuration());
              },
          .connections =
              [&metrics](size_t count) { metrics.SetConnections(count); },
          .certificate =
              [&metrics](const absl::Status& read, absl::Time not_after) {
                metrics.CertificateRead(read.ok(), not_after);
              },
      });
  CAMHERD_RETURN_IF_ERROR(server->front_->Start(std::move(sockets)));
  return server;
}

void HttpServer::Drain(absl::Duration timeout) {
  if (front_ != nullptr) front_->Stop(timeout);
}

void HttpServer::Stop() {
  Drain(absl::ZeroDuration());
  for (const std::unique_ptr<WorkerPool>& lane : lanes_) lane->Stop();
}

bool HttpServer::HostAllowed(const HttpRequest& request) const {
  // Only HTTP/1.0 may leave it out, which no browser speaks.
  if (!request.HasHeader("host")) return true;
  const std::string host = HostOf(request.Header("host"));
  if (host.empty()) return false;
  return IsLoopbackHost(host) || (any_ip_host_ && IsIpLiteral(host)) ||
         std::find(hosts_.begin(), hosts_.end(), host) != hosts_.end();
}

std::optional<HttpResponse> HttpServer::CheckAccess(const Access& access,
                                                    HttpRequest& request,
                                                    const char** reason) const {
  absl::StatusOr<Caller> caller = authenticator_.Identify(request);
  if (caller.ok()) {
    request.caller = *std::move(caller);
  } else {
    request.caller = Caller{.address = request.peer};
  }
  if (access.Allows(request.caller)) return std::nullopt;
  if (!caller.ok()) {
    *reason = absl::IsUnauthenticated(caller.status()) ? "unauthenticated"
                                                       : "login_limit";
    return ErrorAnswer(caller.status());
  }
  if (request.caller.role == Role::kNone) {
    *reason = "unauthenticated";
    return ErrorAnswer(absl::UnauthenticatedError(
        "this needs a token: Authorization: Bearer <token>, or a login"));
  }
  *reason = "forbidden";
  return ErrorAnswer(absl::PermissionDeniedError(
      request.caller.role < access.role()
          ? absl::StrCat("this needs the role ", RoleName(access.role()),
                         ", the token is for ", RoleName(request.caller.role))
          : "this concerns all cameras, the token is for certain ones only"));
}

bool HttpServer::MayStillHave(const Access& access,
                              const HttpRequest& asked) const {
  const Caller now = authenticator_.IdentifyAgain(asked);
  return access.Allows(now) && now.cameras == asked.caller.cameras;
}

ConnectionFront::Plan HttpServer::PlanFor(HttpRequest& request) const {
  ConnectionFront::Plan plan;
  if (!HostAllowed(request)) {
    plan.refusal = "host";
    plan.answer = ErrorAnswer(
        HttpCode::kForbidden,
        absl::StrCat("the host \"", ShownHost(request.Header("host")),
                     "\" is not one of this server's; add it to "
                     "gateway.allowed_hosts"));
    return plan;
  }
  if (IsWrite(request.method) && IsCrossSite(request)) {
    plan.refusal = "cross_site";
    plan.answer = ErrorAnswer(
        HttpCode::kForbidden,
        "requests that change something are not taken from other sites' pages");
    return plan;
  }
  const absl::string_view wanted =
      request.method == "HEAD" ? "GET" : absl::string_view(request.method);
  std::vector<std::string> allowed;
  for (const Route& route : routes_) {
    std::vector<std::string> values;
    if (!MatchesTemplate(request.path, route.path, &values)) continue;
    if (route.method == wanted) {
      request.route = route.path;
      request.path_values = std::move(values);
      plan.answer = CheckAccess(route.access, request, &plan.refusal);
      plan.max_body = route.max_body;
      plan.read_timeout = route.read_timeout;
      if (plan.answer.has_value() || !IsWrite(route.method)) return plan;
      if (const std::string wrong = WrongType(route, request); !wrong.empty()) {
        plan.answer = ErrorAnswer(HttpCode::kUnsupportedMediaType, wrong);
      }
      return plan;
    }
    request.route = route.path;
    // An address may fit two rows: "export" is no record's id, but could be.
    if (absl::c_linear_search(allowed, route.method)) continue;
    allowed.push_back(route.method);
    if (route.method == "GET") allowed.push_back("HEAD");
  }
  if (allowed.empty()) {
    plan.answer = ErrorAnswer(
        HttpCode::kNotFound,
        absl::StrCat("there is nothing at ",
                     absl::string_view(request.path).substr(0, 200)));
    return plan;
  }
  allowed.push_back("OPTIONS");
  const std::string allow = absl::StrJoin(allowed, ", ");
  if (request.method == "OPTIONS") {
    plan.answer = HttpResponse{.code = HttpCode::kNoContent};
  } else {
    plan.answer =
        ErrorAnswer(HttpCode::kMethodNotAllowed,
                    absl::StrCat(request.method,
                                 " is not possible here; allowed: ", allow));
  }
  plan.answer->headers.emplace_back("Allow", allow);
  return plan;
}

bool HttpServer::Take(uint64_t id, HttpRequest&& request) {
  const absl::string_view wanted =
      request.method == "HEAD" ? "GET" : absl::string_view(request.method);
  const auto route =
      std::find_if(routes_.begin(), routes_.end(), [&](const Route& candidate) {
        return candidate.path == request.route && candidate.method == wanted;
      });
  if (route == routes_.end()) return false;
  const absl::Duration arrived = Clock::Real().SteadyNow();
  // shared_ptr since std::function wants to be copyable.
  auto shared = std::make_shared<HttpRequest>(std::move(request));
  return lanes_[static_cast<size_t>(route->lane)]->TryRun(
      [this, id, arrived, shared, route] {
        // The caller's trace goes on, or one begins.
        const std::optional<TraceContext> given =
            TraceContext::Parse(shared->Header(TraceContext::kHeader));
        const TraceScope trace(given.has_value() ? given->Child()
                                                 : TraceContext::New());
        HttpCode code = HttpCode::kInternalError;
        std::string bytes;
        const bool is_late =
            Clock::Real().SteadyNow() - arrived > options_.queue_timeout;
        const bool as_made = !is_late && route->as_made;
        if (is_late) {
          metrics_.Refused("overload");
          HttpResponse late = ErrorAnswer(
              HttpCode::kUnavailable, "too many requests at once; try again");
          late.headers.emplace_back("Retry-After", "1");
          code = late.code;
          bytes = Serialize(late, shared->method == "HEAD", shared->keep_alive);
        } else if (as_made) {
          code = AnswerAsMade(id, *shared, *route);
        } else {
          bytes = library_->Process(*shared, &code);
        }
        const absl::Duration took = Clock::Real().SteadyNow() - arrived;
        metrics_.Answered(shared->route, shared->method, code, took);
        if (options_.access_log) {
          // The path without its query, which may hold secrets.
          const LogFields fields = {
              {"method", shared->method},
              {"path", absl::string_view(shared->path).substr(0, 200)},
              {"code", static_cast<int>(code)},
              {"ms", absl::ToInt64Milliseconds(took)},
              {"peer", shared->peer},
              {"caller", shared->caller.name}};
          // Pages poll: reads that go well are for debugging only.
          if (IsWrite(shared->method) || code >= HttpCode::kBadRequest) {
            LogInfo("request", fields);
          } else {
            LogDebug("request", fields);
          }
        }
        if (!as_made) front_->Answer(id, std::move(bytes));
      });
}

HttpCode HttpServer::AnswerAsMade(uint64_t id, const HttpRequest& request,
                                  const Route& route) {
  HttpResponse response;
  try {
    response = route.handler(request);
  } catch (...) {
    // As the library's threads do.
    metrics_.HandlerThrew();
    LogError("a handler threw an exception", {{"route", request.route}});
    response = ErrorAnswer(HttpCode::kInternalError, "internal error");
  }
  const bool head_only = request.method == "HEAD";
  const Framing framing =
      request.is_http_1_0 ? Framing::kClose : Framing::kChunks;
  if (response.next_piece == nullptr && response.live == nullptr) {
    front_->Answer(id, Serialize(response, head_only, request.keep_alive));
    return response.code;
  }
  if (!head_only && response.live != nullptr) {
    front_->AnswerLive(id, SerializeHead(response, framing),
                       framing == Framing::kChunks, response.live,
                       [this, asked = request, access = route.access] {
                         return MayStillHave(access, asked);
                       });
    return response.code;
  }
  if (head_only) {
    front_->Answer(id, SerializeHead(response, framing, request.keep_alive));
    return response.code;
  }
  const auto stream = front_->AnswerAsMade(id);
  bool open =
      stream->Write(SerializeHead(response, framing, request.keep_alive));
  absl::StatusOr<std::string> piece;
  while (open) {
    piece = MayStillHave(route.access, request)
                ? response.next_piece()
                : absl::UnauthenticatedError(
                      "the token or login ended, or is for other cameras");
    if (!piece.ok() || piece->empty()) break;
    open = stream->Write(framing == Framing::kChunks ? Chunk(*piece)
                                                     : *std::move(piece));
  }
  if (open && !piece.ok()) {
    open = false;
    metrics_.Refused("stream_broken");
    LogWarning("an answer was broken off",
               {{"route", request.route}, {"error", piece.status()}});
  }
  if (open && framing == Framing::kChunks) open = stream->Write(Chunk(""));
  stream->End(/*whole=*/open);
  return response.code;
}

}  // namespace camherd::gateway
