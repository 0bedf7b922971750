// SPDX-License-Identifier: Apache-2.0
#include "gateway/event_routes.h"

#include <set>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "camherd/v1/gateway.pb.h"
#include "gateway/event_listener.h"
#include "gateway/http_status.h"
#include "gateway/request_fields.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

absl::StatusOr<EventListener::Filter> ReadFilter(const v1::EventsQuery& query) {
  EventListener::Filter filter;
  if (query.types_size() > 0) filter.sources = {};
  for (const std::string& type : query.types()) {
    if (type == "stream") {
      filter.sources[EventHub::kStreams] = true;
    } else if (type == "record") {
      filter.sources[EventHub::kRecords] = true;
    } else if (type == "model") {
      filter.sources[EventHub::kModels] = true;
    } else {
      return absl::InvalidArgumentError(absl::StrCat(
          "types must be of stream, record, model, separated by commas, got \"",
          absl::Utf8SafeCEscape(type.substr(0, 64)), "\""));
    }
  }
  if (query.camera_id_size() > 0) {
    filter.cameras.emplace(query.camera_id().begin(), query.camera_id().end());
  }
  return filter;
}

absl::StatusOr<HttpResponse> Events(EventHub& hub, LiveCount& listeners,
                                    const HttpRequest& request) {
  v1::EventsQuery query;
  CAMHERD_RETURN_IF_ERROR(ReadQuery(request, {}, &query));
  CAMHERD_ASSIGN_OR_RETURN(EventListener::Filter filter, ReadFilter(query));
  if (const Caller& caller = request.caller; caller.limited()) {
    if (!filter.cameras.has_value()) {
      filter.cameras.emplace(caller.cameras.begin(), caller.cameras.end());
    }
    std::erase_if(*filter.cameras, [&caller](const std::string& id) {
      return !caller.MaySee(id);
    });
  }
  filter.replay = query.replay();
  // What the browser sends by itself is newer than what the address says.
  std::string last_event_id = std::string(request.Header("last-event-id"));
  if (last_event_id.empty()) last_event_id = query.last_event_id();
  CAMHERD_ASSIGN_OR_RETURN(LiveCount::Place place, listeners.Enter());
  HttpResponse response;
  response.content_type = "text/event-stream";
  response.headers = {{"Cache-Control", "no-cache"},
                      // For proxies that would wait for more.
                      {"X-Accel-Buffering", "no"}};
  response.live = EventListener::Make(hub, std::move(filter), last_event_id,
                                      std::move(place));
  return response;
}

}  // namespace

Routes EventRoutes(EventHub& hub, LiveCount& listeners) {
  return {{.method = "GET",
           .path = "/api/v1/events",
           .access = Access::For(Role::kViewer),
           .lane = Lane::kLocal,
           .handler =
               [&hub, &listeners](const HttpRequest& request) {
                 absl::StatusOr<HttpResponse> response =
                     Events(hub, listeners, request);
                 return response.ok() ? *std::move(response)
                                      : ErrorAnswer(response.status());
               },
           .as_made = true}};
}

}  // namespace camherd::gateway
