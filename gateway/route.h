// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gateway/http_message.h"

namespace camherd::gateway {

// Which threads run a route. Each service behind the gateway has threads of its
// own, so that one that hangs delays its own routes only. So have probes, which
// take up to a minute, and answers that are sent as they are made, which take
// as long as their readers.
enum class Lane { kLocal, kCapture, kInference, kAggregator, kProbe, kStream };
inline constexpr int kLanes = 6;

using Handler = std::function<HttpResponse(const HttpRequest&)>;

// One row of the table of routes.
struct Route {
  std::string method;
  // Segments in braces match one segment: "/api/v1/streams/{stream}/stop".
  std::string path;
  Lane lane = Lane::kLocal;
  Handler handler = {};
  size_t max_body = 64 << 10;
  // Time for the request to arrive, where more than the server's.
  absl::Duration read_timeout = absl::ZeroDuration();
};

using Routes = std::vector<Route>;

// True if `path` is an instance of the template; fills in what stands in the
// braces, in order.
bool MatchesTemplate(absl::string_view path, absl::string_view path_template,
                     std::vector<std::string>* values);

}  // namespace camherd::gateway
