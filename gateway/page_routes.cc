// SPDX-License-Identifier: Apache-2.0
#include "gateway/page_routes.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gateway/answers.h"
#include "gateway/http_status.h"
#include "gateway/static_files.h"
#include "services/common/file.h"

namespace camherd::gateway {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

absl::string_view ContentType(absl::string_view name) {
  if (absl::EndsWith(name, ".html")) return "text/html; charset=utf-8";
  if (absl::EndsWith(name, ".js")) return "text/javascript; charset=utf-8";
  if (absl::EndsWith(name, ".css")) return "text/css; charset=utf-8";
  if (absl::EndsWith(name, ".svg")) return "image/svg+xml";
  return "application/octet-stream";
}

HttpResponse Serve(const HttpRequest& request, absl::string_view name,
                   const std::string& static_dir) {
  for (const StaticFile& file : StaticFiles()) {
    // The name is one of ours, so no path of the caller's is ever opened.
    if (file.name != name) continue;
    std::string bytes(file.bytes);
    if (!static_dir.empty()) {
      absl::StatusOr<std::string> read =
          ReadFile(absl::StrCat(static_dir, "/", file.name), kMaxFileBytes);
      if (!read.ok()) {
        return ErrorAnswer(
            absl::NotFoundError(absl::StrCat("cannot read ", file.name)));
      }
      bytes = *std::move(read);
    }
    const std::string version = bytes;
    return TaggedAnswer(request, std::move(bytes), ContentType(name), version);
  }
  return ErrorAnswer(absl::NotFoundError("there is no such file"));
}

}  // namespace

Routes PageRoutes(const std::string& static_dir) {
  Routes routes;
  routes.push_back({.method = "GET",
                    .path = "/",
                    .handler = [static_dir](const HttpRequest& request) {
                      return Serve(request, "index.html", static_dir);
                    }});
  routes.push_back({.method = "GET",
                    .path = "/static/{file}",
                    .handler = [static_dir](const HttpRequest& request) {
                      return Serve(request, request.path_values[0], static_dir);
                    }});
  routes.push_back({.method = "GET",
                    .path = "/favicon.ico",
                    .handler = [static_dir](const HttpRequest& request) {
                      return Serve(request, "favicon.svg", static_dir);
                    }});
  return routes;
}

}  // namespace camherd::gateway
