// SPDX-License-Identifier: Apache-2.0
#include "gateway/record_routes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/answers.h"
#include "gateway/request_fields.h"
#include "gateway/route_row.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

absl::StatusOr<HttpResponse> List(BackendClients& clients,
                                  const HttpRequest& request) {
  v1::ListRecordsRequest list;
  CAMHERD_RETURN_IF_ERROR(ReadQuery(request, {}, &list));
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListRecordsResponse listed,
                           clients.ListRecords(list));
  return JsonAnswer(listed);
}

absl::StatusOr<HttpResponse> Get(BackendClients& clients,
                                 const HttpRequest& request) {
  v1::GetRecordRequest get;
  CAMHERD_ASSIGN_OR_RETURN(const int64_t id,
                           ReadId("record_id", request.path_values[0]));
  get.set_record_id(id);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Record record, clients.GetRecord(get));
  return JsonAnswer(record);
}

absl::StatusOr<HttpResponse> Picture(BackendClients& clients,
                                     const HttpRequest& request) {
  v1::GetRecordImageRequest get;
  CAMHERD_ASSIGN_OR_RETURN(const int64_t id,
                           ReadId("record_id", request.path_values[0]));
  CAMHERD_RETURN_IF_ERROR(
      // A page that shows another record of that number needs another address.
      ReadQuery(request, {.hidden = {"record_id"}, .ignored = "v"}, &get));
  get.set_record_id(id);
  CAMHERD_ASSIGN_OR_RETURN(v1::GetRecordImageResponse image,
                           clients.GetRecordImage(get));
  const std::string version = image.jpeg();
  return JpegAnswer(request, std::move(*image.mutable_jpeg()), version);
}

absl::StatusOr<HttpResponse> Grids(BackendClients& clients,
                                   const HttpRequest& request) {
  v1::ListGridsRequest list;
  CAMHERD_RETURN_IF_ERROR(ReadQuery(request, {}, &list));
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListGridsResponse listed,
                           clients.ListGrids(list));
  return JsonAnswer(listed);
}

}  // namespace

Routes RecordRoutes(BackendClients& clients) {
  const auto row = [&clients](const char* path, BackendHandler handler) {
    return BackendRoute(clients, Lane::kAggregator, "GET", path, handler);
  };
  return {
      row("/api/v1/records", List),
      row("/api/v1/records/{record_id}", Get),
      row("/api/v1/records/{record_id}/frame.jpg", Picture),
      row("/api/v1/grids", Grids),
  };
}

}  // namespace camherd::gateway
