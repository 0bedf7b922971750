// SPDX-License-Identifier: Apache-2.0
#include "services/cli/watch_command.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "services/cli/enum_names.h"
#include "services/cli/exit_code.h"
#include "services/cli/model_commands.h"
#include "services/cli/record_commands.h"
#include "services/cli/stream_commands.h"
#include "services/common/backoff.h"
#include "services/common/clock.h"
#include "services/common/proto_json.h"
#include "services/common/status_macros.h"
#include "services/common/steady_mutex.h"
#include "services/common/time_proto.h"

namespace camherd::cli {
namespace {

constexpr Backoff::Options kRetry = {.initial = absl::Milliseconds(200),
                                     .max = absl::Seconds(5)};
constexpr int kPageSize = 200;

// One line for people: "22:45:01  stream  demo        running".
std::string Line(absl::string_view kind, absl::string_view name,
                 absl::string_view text) {
  return absl::StrFormat(
      "%s  %-6s  %-16s  %s\n",
      absl::FormatTime("%H:%M:%S", Clock::Real().Now(), absl::LocalTimeZone()),
      kind, Printable(name), text);
}

// The watches of one command, a thread each.
class Watch {
 public:
  Watch(const WatchOptions& options, HerdClient& client, Console& console)
      : camera_id_(options.camera_id), client_(client), console_(console) {}

  absl::Status Run(const std::vector<std::string>& what) {
    std::vector<std::thread> threads;
    for (const std::string& kind : what) {
      threads.emplace_back([this, kind] {
        End(kind == "streams"   ? FollowStreams()
            : kind == "records" ? FollowRecords()
                                : FollowModels());
      });
    }
    mu_.Lock();
    mu_.Await([this] {
      mu_.AssertHeld();
      return ended_;
    });
    absl::Status status = status_;
    mu_.Unlock();
    client_.Cancel();
    for (std::thread& thread : threads) thread.join();
    return status;
  }

 private:
  // The first to end ends all.
  void End(const absl::Status& status) {
    mu_.Lock();
    if (!ended_) status_ = status;
    ended_ = true;
    mu_.Unlock();
  }

  // False: the command is over.
  bool Pause(absl::Duration pause) {
    mu_.Lock();
    const bool over = mu_.AwaitFor(
        [this] {
          mu_.AssertHeld();
          return ended_;
        },
        pause);
    mu_.Unlock();
    return !over;
  }

  // Calls `watch` with where it stands again and again. `take` is given each
  // answer, and whether the list has to be read: at the beginning and after a
  // reset.
  template <typename Request, typename Response>
  absl::Status Follow(
      absl::string_view service,
      absl::Status (HerdClient::*watch)(const Request&,
                                        const HerdClient::TakeFn<Response>&),
      const std::function<absl::Status(const Response&, bool read_list)>&
          take) {
    Request request;
    Backoff backoff(kRetry);
    bool ever = false;
    bool away = false;
    bool read_list = true;
    while (true) {
      const absl::Status ended =
          (client_.*watch)(request, [&](const Response& answer) {
            if (away) {
              console_.Say(absl::StrCat("the ", service, " service is back"));
            }
            away = false;
            ever = true;
            backoff.Reset();
            read_list = read_list || answer.reset();
            CAMHERD_RETURN_IF_ERROR(take(answer, read_list));
            read_list = false;
            request.set_resume_token(answer.resume_token());
            return absl::OkStatus();
          });
      if (!ended.ok() && !(ever && absl::IsUnavailable(ended))) return ended;
      if (!away && backoff.attempts() > 0) {
        console_.Say(
            absl::StrCat(Printable(ended.message()), "; it is tried again"));
        away = true;
      }
      if (!Pause(backoff.Next())) return absl::OkStatus();
    }
  }

  absl::Status FollowStreams() {
    return Follow<v1::WatchStreamsRequest, v1::WatchStreamsResponse>(
        "capture", &HerdClient::WatchStreams,
        [this](const v1::WatchStreamsResponse& answer, bool read_list) {
          if (read_list) {
            v1::ListStreamsRequest list;
            list.set_camera_id(camera_id_);
            CAMHERD_ASSIGN_OR_RETURN(const v1::ListStreamsResponse listed,
                                     client_.ListStreams(list));
            for (const v1::Stream& stream : listed.streams()) {
              if (stream.state() != v1::STREAM_STATE_STOPPED ||
                  shown_.contains(stream.stream_id())) {
                Tell(stream, false);
              }
            }
          }
          if (answer.has_stream() && !answer.sample()) {
            Tell(answer.stream(), answer.deleted());
          }
          return absl::OkStatus();
        });
  }

  void Tell(const v1::Stream& stream, bool deleted) {
    if (!camera_id_.empty() && stream.camera_id() != camera_id_) return;
    std::string text = deleted ? "forgotten" : NameOf(stream.state());
    if (stream.condition() > v1::CAMERA_CONDITION_GOOD) {
      absl::StrAppend(&text, ", ", NameOf(stream.condition()));
    }
    if (!stream.state_reason().empty()) {
      absl::StrAppend(&text, ": ", Printable(stream.state_reason()));
    }
    std::string& shown = shown_[stream.stream_id()];
    if (shown == text) return;
    shown = text;
    if (console_.json()) {
      console_.Out(absl::StrCat(
          "{\"type\":\"stream\",\"deleted\":", deleted ? "true" : "false",
          ",\"stream\":", ProtoToJson(stream), "}\n"));
    } else {
      console_.Out(Line("stream", stream.process_name(),
                        console_.Paint(ColourOf(stream.state()), text)));
    }
  }

  absl::Status FollowRecords() {
    return Follow<v1::WatchRecordsRequest, v1::WatchRecordsResponse>(
        "aggregator", &HerdClient::WatchRecords,
        [this](const v1::WatchRecordsResponse& answer, bool read_list) {
          if (read_list) CAMHERD_RETURN_IF_ERROR(CatchUp());
          if (answer.has_record()) Tell(answer.record());
          return absl::OkStatus();
        });
  }

  // What was recorded since the last one that was told; at first nothing. The
  // list goes by the time of capture, and what waited is recorded last: it is
  // read until a page has nothing new.
  absl::Status CatchUp() {
    const bool first = !last_record_.has_value();
    const int64_t last = last_record_.value_or(0);
    v1::ListRecordsRequest list;
    list.set_camera_id(camera_id_);
    list.set_page_size(kPageSize);
    std::map<int64_t, v1::Record> missed;
    bool any_new = true;
    do {
      CAMHERD_ASSIGN_OR_RETURN(const v1::ListRecordsResponse page,
                               client_.ListRecords(list));
      list.set_page_token(page.next_page_token());
      any_new = false;
      for (const v1::Record& record : page.records()) {
        if (record.record_id() <= last) continue;
        missed[record.record_id()] = record;
        any_new = true;
      }
    } while (any_new && !first && !list.page_token().empty());
    if (first) {
      last_record_ = missed.empty() ? 0 : missed.rbegin()->first;
    } else {
      for (const auto& [id, record] : missed) Tell(record);
    }
    return absl::OkStatus();
  }

  void Tell(const v1::Record& record) {
    if (!camera_id_.empty() && record.camera_id() != camera_id_) return;
    // It was in the list.
    if (last_record_.has_value() && record.record_id() <= *last_record_) return;
    last_record_ = record.record_id();
    if (console_.json()) {
      console_.Out(absl::StrCat(
          "{\"type\":\"record\",\"record\":", ProtoToJson(record), "}\n"));
      return;
    }
    const std::string seen = SeenIn(record);
    console_.Out(Line(
        "record", record.camera_id(),
        absl::StrCat(
            record.record_id(), ", ", record.frames_size(), " frames: ",
            console_.Paint(Colour::kYellow, Printable(ComplaintsOf(record))),
            "; ", seen.empty() ? "nothing seen" : Printable(seen))));
  }

  absl::Status FollowModels() {
    return Follow<v1::WatchModelsRequest, v1::WatchModelsResponse>(
        "inference", &HerdClient::WatchModels,
        [this](const v1::WatchModelsResponse& answer, bool read_list) {
          if (read_list) {
            CAMHERD_ASSIGN_OR_RETURN(const v1::ListModelsResponse listed,
                                     client_.ListModels());
            for (const v1::Model& model : listed.models()) Tell(model);
          }
          if (answer.has_model()) Tell(answer.model());
          return absl::OkStatus();
        });
  }

  void Tell(const v1::Model& model) {
    const std::string text = model.preparing() || model.reason().empty()
                                 ? ProgressLine(model)
                                 : absl::StrCat(NameOf(model.state()), ": ",
                                                Printable(model.reason()));
    std::string& shown = models_[model.name()];
    if (shown == text) return;
    shown = text;
    if (console_.json()) {
      console_.Out(absl::StrCat(
          "{\"type\":\"model\",\"model\":", ProtoToJson(model), "}\n"));
    } else {
      console_.Out(Line("model", model.name(),
                        console_.Paint(ColourOf(model.state()), text)));
    }
  }

  const std::string camera_id_;
  HerdClient& client_;
  Console& console_;

  // Each of its follower's thread: what was last said of a stream and of a
  // model, by id, and the last record.
  std::map<std::string, std::string> shown_;
  std::map<std::string, std::string> models_;
  std::optional<int64_t> last_record_;

  SteadyMutex mu_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::Status RunWatch(const WatchOptions& options, HerdClient& client,
                      Console& console) {
  std::vector<std::string> what = options.what;
  if (what.empty()) what = {"streams", "records", "models"};
  std::sort(what.begin(), what.end());
  what.erase(std::unique(what.begin(), what.end()), what.end());
  return Watch(options, client, console).Run(what);
}

}  // namespace camherd::cli
