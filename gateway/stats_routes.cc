// SPDX-License-Identifier: Apache-2.0
#include "gateway/stats_routes.h"

#include <cstdint>
#include <string>
#include <thread>

#include "camherd/v1/gateway.pb.h"
#include "gateway/answers.h"
#include "gateway/health_routes.h"
#include "gateway/request_fields.h"
#include "gateway/route_row.h"
#include "google/protobuf/descriptor.h"
#include "services/common/clock.h"
#include "services/common/proto_json.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::gateway {
namespace {

using ::google::protobuf::EnumDescriptor;
using Counts = ::google::protobuf::Map<std::string, int64_t>;

// A number for each value, so that a chart knows all its lines from the start.
void NameAll(const EnumDescriptor& type, bool unspecified, Counts* counts) {
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0 || unspecified) {
      (*counts)[EnumText(*type.value(i))] = 0;
    }
  }
}

void CountOne(const EnumDescriptor& type, int number, Counts* counts) {
  const auto* value = type.FindValueByNumber(number);
  if (value != nullptr) ++(*counts)[EnumText(*value)];
}

void Add(const Counts& more, Counts* sums) {
  for (const auto& [reason, count] : more) (*sums)[reason] += count;
}

void Add(const v1::Accounting& more, v1::Accounting* sum) {
  sum->set_due(sum->due() + more.due());
  sum->set_captured(sum->captured() + more.captured());
  Add(more.missed(), sum->mutable_missed());
  sum->set_recorded(sum->recorded() + more.recorded());
  Add(more.dropped(), sum->mutable_dropped());
  sum->set_spooled(sum->spooled() + more.spooled());
  sum->set_ranked_only(sum->ranked_only() + more.ranked_only());
}

absl::Status AskStreams(BackendClients& clients, v1::StreamStats* stats) {
  const EnumDescriptor& states = *v1::StreamState_descriptor();
  const EnumDescriptor& conditions = *v1::CameraCondition_descriptor();
  NameAll(states, false, stats->mutable_states());
  NameAll(conditions, true, stats->mutable_conditions());
  v1::ListStreamsRequest list;
  list.set_page_size(1000);
  do {
    CAMHERD_ASSIGN_OR_RETURN(const v1::ListStreamsResponse listed,
                             clients.ListStreams(list));
    for (const v1::Stream& stream : listed.streams()) {
      CountOne(states, stream.state(), stats->mutable_states());
      if (stream.state() != v1::STREAM_STATE_STOPPED) {
        CountOne(conditions, stream.condition(), stats->mutable_conditions());
      }
      Add(stream.accounting(), stats->mutable_accounting());
      stats->set_batches_pending(stats->batches_pending() +
                                 stream.batches_pending());
      stats->set_spool_bytes(stats->spool_bytes() + stream.spool_bytes());
    }
    list.set_page_token(listed.next_page_token());
  } while (!list.page_token().empty());
  return absl::OkStatus();
}

absl::Status AskModels(BackendClients& clients, v1::ModelStats* stats) {
  const EnumDescriptor& states = *v1::ModelState_descriptor();
  NameAll(states, false, stats->mutable_states());
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListModelsResponse listed,
                           clients.ListModels());
  for (const v1::Model& model : listed.models()) {
    CountOne(states, model.state(), stats->mutable_states());
    if (model.preparing()) stats->set_preparing(stats->preparing() + 1);
    stats->set_batches_ok(stats->batches_ok() + model.batches_ok());
    stats->set_batches_failed(stats->batches_failed() + model.batches_failed());
  }
  return absl::OkStatus();
}

absl::Status AskRecords(BackendClients& clients, v1::RecordStats* stats) {
  v1::ListRecordsRequest list;
  list.set_page_size(1);
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListRecordsResponse listed,
                           clients.ListRecords(list));
  for (const v1::Record& record : listed.records()) {
    stats->set_last_record_id(record.record_id());
    *stats->mutable_last_captured_at() = record.captured_at();
    *stats->mutable_last_recorded_at() = record.recorded_at();
  }
  return absl::OkStatus();
}

absl::StatusOr<HttpResponse> Look(BackendClients& clients,
                                  const HttpRequest& request) {
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  v1::StreamStats streams;
  v1::ModelStats models;
  v1::RecordStats records;
  BackendClients::Health health;
  absl::Status models_status;
  absl::Status records_status;
  // At once, so that several that hang cost the time of one.
  std::thread ask_health([&] { health = clients.CheckHealth(); });
  std::thread ask_models([&] { models_status = AskModels(clients, &models); });
  std::thread ask_records(
      [&] { records_status = AskRecords(clients, &records); });
  const absl::Status streams_status = AskStreams(clients, &streams);
  ask_health.join();
  ask_models.join();
  ask_records.join();

  v1::Stats stats;
  *stats.mutable_at() = ToProto(Clock::Real().Now());
  if (streams_status.ok()) {
    *stats.mutable_streams() = std::move(streams);
  } else {
    health.capture = streams_status;
  }
  if (models_status.ok()) {
    *stats.mutable_models() = std::move(models);
  } else {
    health.inference = models_status;
  }
  if (records_status.ok()) {
    *stats.mutable_records() = std::move(records);
  } else {
    health.aggregator = records_status;
  }
  *stats.mutable_services() = ReadinessOf(health);
  return JsonAnswer(stats);
}

}  // namespace

Routes StatsRoutes(BackendClients& clients) {
  return {BackendRoute(clients, Lane::kStats, Access::For(Role::kViewer), "GET",
                       "/api/v1/stats", Look)};
}

}  // namespace camherd::gateway
