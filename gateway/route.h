// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gateway/access.h"
#include "gateway/http_message.h"

namespace camherd::gateway {

// Which threads run a route. Each service behind the gateway has threads of its
// own, so that one that hangs delays its own routes only. So have pictures,
// which a page asks for by the dozen, probes, which take up to a minute,
// kStream, whose handlers take as long as their readers, and what asks all
// three services: kStats, and kHealth, which everyone may ask.
enum class Lane {
  kLocal,
  kCapture,
  kCapturePictures,
  kInference,
  kAggregator,
  kAggregatorPictures,
  kProbe,
  kStream,
  kStats,
  kHealth
};
inline constexpr int kLanes = 10;

using Handler = std::function<HttpResponse(const HttpRequest&)>;

// One row of the table of routes.
struct Route {
  std::string method;
  // Segments in braces match one segment: "/api/v1/streams/{stream}/stop".
  std::string path;
  Access access;
  Lane lane = Lane::kLocal;
  Handler handler = {};
  size_t max_body = 64 << 10;
  // Types that a body may be sent as; a request that names another is answered
  // 415. Without any: JSON or a form.
  std::vector<std::string> body_types = {};
  // Time for the request to arrive, where more than the server's.
  absl::Duration read_timeout = absl::ZeroDuration();
  // Its answers may be sent as they are made (HttpResponse::next_piece, live):
  // they go past the library, which has an answer whole or not at all.
  bool as_made = false;
};

using Routes = std::vector<Route>;

// True if `path` is an instance of the template; fills in what stands in the
// braces, in order.
bool MatchesTemplate(absl::string_view path, absl::string_view path_template,
                     std::vector<std::string>* values);

}  // namespace camherd::gateway
