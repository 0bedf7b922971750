// SPDX-License-Identifier: Apache-2.0
#include "gateway/login_routes.h"

#include <utility>

#include "absl/status/statusor.h"
#include "camherd/v1/gateway.pb.h"
#include "gateway/answers.h"
#include "gateway/http_status.h"
#include "gateway/request_fields.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::gateway {
namespace {

HttpResponse SessionAnswer(const Authenticator& authenticator,
                           const Caller& caller) {
  v1::Session session;
  session.set_auth_required(authenticator.required());
  session.set_authenticated(!caller.name.empty());
  session.set_name(caller.name);
  session.set_role(RoleName(caller.role));
  for (const std::string& camera : caller.cameras) session.add_cameras(camera);
  if (caller.expires != absl::InfiniteFuture()) {
    *session.mutable_expires_at() = ToProto(caller.expires);
  }
  return JsonAnswer(session);
}

absl::StatusOr<HttpResponse> LogIn(Authenticator& authenticator,
                                   const HttpRequest& request) {
  v1::LoginRequest login;
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  CAMHERD_RETURN_IF_ERROR(ReadBody(request, {}, &login));
  if (login.token().empty()) {
    return absl::InvalidArgumentError("token must be given and not be empty");
  }
  CAMHERD_ASSIGN_OR_RETURN(const Authenticator::Login begun,
                           authenticator.LogIn(request, login.token()));
  HttpResponse response = SessionAnswer(authenticator, begun.caller);
  response.headers.emplace_back("Set-Cookie", begun.cookie);
  return response;
}

HttpResponse LogOut(Authenticator& authenticator, const HttpRequest& request) {
  const std::string cookie = authenticator.LogOut(request);
  Caller nobody;
  if (!authenticator.required()) nobody.role = Role::kAdmin;
  HttpResponse response = SessionAnswer(authenticator, nobody);
  response.headers.emplace_back("Set-Cookie", cookie);
  return response;
}

}  // namespace

Routes LoginRoutes(Authenticator& authenticator) {
  Routes routes;
  routes.push_back({.method = "POST",
                    .path = "/api/v1/login",
                    .access = Access::Open(),
                    .handler = [&authenticator](const HttpRequest& request) {
                      absl::StatusOr<HttpResponse> response =
                          LogIn(authenticator, request);
                      return response.ok() ? *std::move(response)
                                           : ErrorAnswer(response.status());
                    }});
  routes.push_back({.method = "POST",
                    .path = "/api/v1/logout",
                    .access = Access::Open(),
                    .handler = [&authenticator](const HttpRequest& request) {
                      return LogOut(authenticator, request);
                    }});
  routes.push_back({.method = "GET",
                    .path = "/api/v1/session",
                    .access = Access::Open(),
                    .handler = [&authenticator](const HttpRequest& request) {
                      return SessionAnswer(authenticator, request.caller);
                    }});
  return routes;
}

}  // namespace camherd::gateway
