// SPDX-License-Identifier: Apache-2.0
#include "gateway/page_routes.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gateway/answers.h"
#include "gateway/html.h"
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

absl::StatusOr<std::string> PageFile(absl::string_view name,
                                     const std::string& static_dir) {
  for (const StaticFile& file : StaticFiles()) {
    // The name is one of ours, so no path of the caller's is ever opened.
    if (file.name != name) continue;
    // Libraries of Debian's are in the binary only.
    if (!static_dir.empty() && !absl::StartsWith(name, "leaflet.")) {
      absl::StatusOr<std::string> read =
          ReadFile(absl::StrCat(static_dir, "/", file.name), kMaxFileBytes);
      if (!read.ok()) {
        return absl::NotFoundError(absl::StrCat("cannot read ", file.name));
      }
      return read;
    }
    return std::string(file.bytes);
  }
  return absl::NotFoundError("there is no such file");
}

HttpResponse Serve(const HttpRequest& request, absl::string_view name,
                   const std::string& static_dir) {
  absl::StatusOr<std::string> bytes = PageFile(name, static_dir);
  if (!bytes.ok()) return ErrorAnswer(bytes.status());
  const std::string version = *bytes;
  return TaggedAnswer(request, *std::move(bytes), ContentType(name), version);
}

// The page; where the map has tiles, with their address written in, and a
// policy that lets it load them.
HttpResponse ServePage(const HttpRequest& request,
                       const std::string& static_dir,
                       const std::string& tile_url,
                       const std::string& attribution) {
  if (tile_url.empty()) return Serve(request, "index.html", static_dir);
  absl::StatusOr<std::string> page = PageFile("index.html", static_dir);
  if (!page.ok()) return ErrorAnswer(page.status());
  constexpr absl::string_view kTiles = "name=\"map-tiles\" content=\"";
  constexpr absl::string_view kAttribution =
      "name=\"map-attribution\" content=\"";
  const std::string html = absl::StrReplaceAll(
      *page,
      {{kTiles, absl::StrCat(kTiles, EscapeHtml(tile_url))},
       {kAttribution, absl::StrCat(kAttribution, EscapeHtml(attribution))}});
  HttpResponse response =
      TaggedAnswer(request, html, ContentType("index.html"), html);
  // "https://host" of "https://host/...".
  const std::string origin =
      tile_url.substr(0, tile_url.find('/', tile_url.find("://") + 3));
  for (auto& [name, value] : SecurityHeaders()) {
    if (name != "Content-Security-Policy") continue;
    response.headers.emplace_back(
        name, absl::StrReplaceAll(
                  value, {{"img-src", absl::StrCat("img-src ", origin)}}));
  }
  return response;
}

}  // namespace

Routes PageRoutes(const std::string& static_dir,
                  const std::string& map_tile_url,
                  const std::string& map_attribution) {
  Routes routes;
  routes.push_back({.method = "GET",
                    .path = "/",
                    .access = Access::Open(),
                    .handler = [static_dir, map_tile_url,
                                map_attribution](const HttpRequest& request) {
                      return ServePage(request, static_dir, map_tile_url,
                                       map_attribution);
                    }});
  routes.push_back({.method = "GET",
                    .path = "/static/{file}",
                    .access = Access::Open(),
                    .handler = [static_dir](const HttpRequest& request) {
                      return Serve(request, request.path_values[0], static_dir);
                    }});
  routes.push_back({.method = "GET",
                    .path = "/favicon.ico",
                    .access = Access::Open(),
                    .handler = [static_dir](const HttpRequest& request) {
                      return Serve(request, "favicon.svg", static_dir);
                    }});
  return routes;
}

}  // namespace camherd::gateway
