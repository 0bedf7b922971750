// SPDX-License-Identifier: Apache-2.0
#include "services/cli/apply_command.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/cli/exit_code.h"
#include "services/cli/herd_file.h"
#include "services/cli/herd_plan.h"
#include "services/cli/output_file.h"
#include "services/common/file.h"
#include "services/common/proto_json.h"
#include "services/common/status_macros.h"

namespace camherd::cli {
namespace {

using Action = HerdChange::Action;

constexpr size_t kMaxFileBytes = 16 << 20;

absl::Status SayErrors(const std::string& file,
                       const std::vector<std::string>& errors,
                       Console& console) {
  if (errors.empty()) return absl::OkStatus();
  for (const std::string& error : errors) console.Say(error);
  return WrongUsage(absl::StrCat(Printable(file), " has ", errors.size(),
                                 errors.size() == 1 ? " error" : " errors",
                                 "; nothing was changed"));
}

absl::StatusOr<HerdState> ReadState(bool models, HerdClient& client) {
  HerdState state;
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListCamerasResponse cameras,
                           client.ListCameras({}));
  state.cameras = {cameras.cameras().begin(), cameras.cameras().end()};
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListStreamsResponse streams,
                           client.ListStreams({}));
  state.streams = {streams.streams().begin(), streams.streams().end()};
  if (models) {
    CAMHERD_ASSIGN_OR_RETURN(const v1::ListModelsResponse listed,
                             client.ListModels());
    for (const v1::Model& model : listed.models()) {
      state.models.push_back(model.name());
    }
  }
  return state;
}

struct Words {
  const char* sign;
  Colour colour;
  const char* kind;
  const char* action;
};

Words WordsOf(Action action) {
  switch (action) {
    case Action::kAddCamera:
      return {"+", Colour::kGreen, "camera", "add_camera"};
    case Action::kChangeCamera:
      return {"~", Colour::kYellow, "camera", "change_camera"};
    case Action::kStartStream:
      return {"+", Colour::kGreen, "stream", "start_stream"};
    case Action::kChangeStream:
      return {"~", Colour::kYellow, "stream", "change_stream"};
    case Action::kCompareLogin:
      return {"?", Colour::kDim, "stream", "compare_login"};
    case Action::kStopStream:
      return {"-", Colour::kRed, "stream", "stop_stream"};
  }
  return {"?", Colour::kNone, "", ""};
}

std::string Sentence(const HerdChange& change, const Console& console) {
  const Words words = WordsOf(change.action);
  return absl::StrCat(
      console.Paint(words.colour, absl::StrCat(words.sign, " ", words.kind, " ",
                                               Printable(change.camera_id))),
      change.details.empty() ? "" : ": ", absl::StrJoin(change.details, ", "));
}

std::string AsJson(const HerdChange& change, const absl::Status& status) {
  return absl::StrCat(
      "{\"action\":\"", WordsOf(change.action).action,
      "\",\"camera_id\":", QuoteJson(change.camera_id), ",\"details\":[",
      absl::StrJoin(change.details, ",",
                    [](std::string* out, const std::string& detail) {
                      out->append(QuoteJson(detail));
                    }),
      "],\"error\":",
      status.ok() ? "null" : QuoteJson(Printable(status.message())), "}");
}

// Does it. A login that is the same leaves no change behind.
absl::Status Do(HerdChange& change, bool* changed, HerdClient& client) {
  *changed = true;
  switch (change.action) {
    case Action::kAddCamera:
    case Action::kChangeCamera: {
      v1::UpsertCameraRequest upsert;
      *upsert.mutable_camera() = change.camera;
      return client.UpsertCamera(upsert).status();
    }
    case Action::kStartStream:
      return client.StartStream(change.start).status();
    case Action::kChangeStream:
      return client.UpdateStream(change.update).status();
    case Action::kCompareLogin: {
      const absl::StatusOr<v1::StartStreamResponse> same =
          client.StartStream(change.start);
      if (same.ok()) {
        *changed = !same->already_running();
        return absl::OkStatus();
      }
      change.action = Action::kChangeStream;
      change.details = {"another login"};
      if (!absl::IsAlreadyExists(same.status())) return same.status();
      return client.UpdateStream(change.update).status();
    }
    case Action::kStopStream: {
      v1::StopStreamRequest stop;
      stop.set_stream(change.camera_id);
      return client.StopStream(stop).status();
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunApply(const ApplyOptions& options, HerdClient& client,
                      Console& console) {
  const absl::StatusOr<std::string> text = ReadFile(
      options.file == "-" ? "/dev/stdin" : options.file, kMaxFileBytes);
  if (!text.ok()) return WrongUsage(text.status().message());
  const HerdFile file = ParseHerdFile(options.file, *text);
  CAMHERD_RETURN_IF_ERROR(SayErrors(options.file, file.errors, console));
  const bool models = std::any_of(
      file.entries.begin(), file.entries.end(),
      [](const HerdEntry& entry) { return entry.stream.models_size() > 0; });
  CAMHERD_ASSIGN_OR_RETURN(const HerdState state, ReadState(models, client));
  HerdPlan plan = MakeHerdPlan(file, state, options.prune);
  CAMHERD_RETURN_IF_ERROR(SayErrors(options.file, plan.errors, console));

  std::vector<std::string> json;
  std::set<std::string> without_camera;
  int done = 0;
  int failed = 0;
  absl::Status unreachable;
  for (HerdChange& change : plan.changes) {
    bool changed = true;
    absl::Status status;
    if (!unreachable.ok()) {
      status = unreachable;
    } else if (without_camera.contains(change.camera_id)) {
      // Its masks may be missing.
      status = absl::FailedPreconditionError(
          "not done, since the camera could not be changed");
    } else if (!options.dry_run) {
      status = Do(change, &changed, client);
    }
    if (!status.ok() && WordsOf(change.action).kind[0] == 'c') {
      without_camera.insert(change.camera_id);
    }
    if (IsUnreachable(status)) unreachable = status;
    if (!changed) {
      ++plan.unchanged;
      continue;
    }
    ++(status.ok() ? done : failed);
    json.push_back(AsJson(change, status));
    if (console.json()) continue;
    if (options.dry_run && change.action == Action::kCompareLogin) {
      change.details = {"its login will be compared"};
    }
    console.Out(absl::StrCat(Sentence(change, console), "\n"));
    if (!status.ok()) {
      console.Say(absl::StrCat(Printable(change.camera_id), ": ",
                               Printable(status.message())));
    }
  }
  if (console.json()) {
    console.Out(absl::StrCat(
        "{\"dry_run\":", options.dry_run ? "true" : "false", ",\"changes\":[",
        absl::StrJoin(json, ","), "],\"unchanged\":", plan.unchanged, "}\n"));
  } else if (options.dry_run) {
    console.Out(absl::StrCat(done, " to do, ", plan.unchanged,
                             " as they are; nothing was done\n"));
  } else {
    console.Out(absl::StrCat(done, " done, ", failed, " failed, ",
                             plan.unchanged, " as they were\n"));
  }
  if (!unreachable.ok()) return unreachable;
  if (failed == 0) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat(failed, " of ", done + failed,
                   " could not be done; the same again goes on from there"));
}

absl::Status RunConfig(const std::string& file, HerdClient& client,
                       Console& console) {
  CAMHERD_ASSIGN_OR_RETURN(const HerdState state, ReadState(false, client));
  CAMHERD_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> out,
                           OutputFile::Create(file));
  CAMHERD_RETURN_IF_ERROR(
      out->Write(WriteHerdFile(state.cameras, state.streams)));
  CAMHERD_RETURN_IF_ERROR(out->Commit());
  const auto logins = std::count_if(
      state.streams.begin(), state.streams.end(), [](const v1::Stream& stream) {
        return stream.desired_running() &&
               WithoutLogin(stream.rtsp_url()) != stream.rtsp_url();
      });
  if (logins > 0) {
    console.Say(absl::StrCat(
        logins,
        " streams have a login, which is not written; apply keeps that "
        "of a stream that runs"));
  }
  return absl::OkStatus();
}

}  // namespace camherd::cli
