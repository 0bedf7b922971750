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
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
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

struct ExportForm {
  v1::ExportFormat format;
  const char* content_type;
  const char* file_name;
};
constexpr ExportForm kExportForms[] = {
    {v1::EXPORT_FORMAT_JSONL, "application/x-ndjson", "records.jsonl"},
    {v1::EXPORT_FORMAT_ARRAY, "application/json", "records.json"},
    {v1::EXPORT_FORMAT_CSV, "text/csv; charset=utf-8", "records.csv"},
    {v1::EXPORT_FORMAT_GEOJSON, "application/geo+json", "records.geojson"}};

absl::StatusOr<HttpResponse> Export(BackendClients& clients,
                                    const HttpRequest& request) {
  v1::ExportRecordsRequest wanted;
  CAMHERD_RETURN_IF_ERROR(ReadQuery(request, {}, &wanted));
  if (wanted.format() == v1::EXPORT_FORMAT_UNSPECIFIED) {
    wanted.set_format(v1::EXPORT_FORMAT_JSONL);
  }
  HttpResponse response;
  for (const ExportForm& form : kExportForms) {
    if (form.format != wanted.format()) continue;
    response.content_type = form.content_type;
    response.headers = {
        {"Content-Disposition",
         absl::StrCat("attachment; filename=\"", form.file_name, "\"")}};
  }
  CAMHERD_ASSIGN_OR_RETURN(response.next_piece, clients.ExportRecords(wanted));
  return response;
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
  const Access viewer = Access::For(Role::kViewer);
  const auto row = [&clients, viewer](const char* path,
                                      BackendHandler handler) {
    return BackendRoute(clients, Lane::kAggregator, viewer, "GET", path,
                        handler);
  };
  Route file = BackendRoute(clients, Lane::kStream, viewer, "GET",
                            "/api/v1/records/export", Export);
  file.as_made = true;
  return {
      row("/api/v1/records", List),
      // Before that of a record's id.
      file,
      row("/api/v1/records/{record_id}", Get),
      BackendRoute(clients, Lane::kAggregatorPictures, viewer, "GET",
                   "/api/v1/records/{record_id}/frame.jpg", Picture),
      row("/api/v1/grids", Grids),
  };
}

}  // namespace camherd::gateway
