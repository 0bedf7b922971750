// SPDX-License-Identifier: Apache-2.0
#include "services/cli/model_commands.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/cli/enum_names.h"
#include "services/cli/table.h"
#include "services/common/clock.h"
#include "services/common/proto_json.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::cli {
namespace {

// Those that are known, with blanks between.
std::string Words(const std::vector<std::string>& words) {
  std::vector<std::string> known;
  for (const std::string& word : words) {
    if (!word.empty()) known.push_back(word);
  }
  return absl::StrJoin(known, " ");
}

std::string Milliseconds(double seconds) {
  return seconds <= 0 ? "" : absl::StrFormat("%.0f ms", seconds * 1000);
}

void Show(const v1::Model& model, Console& console) {
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(model), "\n"));
    return;
  }
  const auto line = [&console](const char* title, const std::string& text) {
    if (!text.empty()) {
      console.Out(absl::StrFormat("%-12s %s\n", title, Printable(text)));
    }
  };
  line("model", model.name());
  line("finds", model.description());
  line("state", NameOf(model.state()));
  line("reason", model.reason());
  line("hint", model.hint());
  if (model.preparing()) line("progress", ProgressLine(model));
  line("engine", Words({model.engine(), model.device(), model.precision()}));
  line("section", model.section());
  line("classes", absl::StrJoin(model.classes(), ", "));
  line("complaints", absl::StrJoin(model.complaint_classes(), ", "));
  line("weights", model.weights_file());
  line("licence", model.weights_licence());
  line("batches", absl::StrCat(model.batches_ok(), " run, ",
                               model.batches_failed(), " failed"));
  line("a picture", Milliseconds(model.latency_p50_seconds()));
  for (const std::string& text : model.log_tail()) line("log", text);
}

}  // namespace

Colour ColourOf(v1::ModelState state) {
  switch (state) {
    case v1::MODEL_STATE_READY:
      return Colour::kGreen;
    case v1::MODEL_STATE_FAILED:
      return Colour::kRed;
    case v1::MODEL_STATE_ABSENT:
      return Colour::kDim;
    default:
      return Colour::kYellow;
  }
}

std::string ProgressLine(const v1::Model& model) {
  constexpr int kBar = 20;
  std::string line;
  if (model.progress_total() > 0) {
    const int done =
        std::clamp(model.progress_done(), 0, model.progress_total());
    const auto filled =
        static_cast<size_t>(int64_t{kBar} * done / model.progress_total());
    line = absl::StrCat("[", std::string(filled, '#'),
                        std::string(kBar - filled, '-'), "]  ", done, " of ",
                        model.progress_total(), "  ");
  }
  absl::StrAppend(&line, NameOf(model.state()));
  if (!model.progress_text().empty() &&
      model.state() != v1::MODEL_STATE_READY) {
    absl::StrAppend(&line, ": ", Printable(model.progress_text()));
  }
  return line;
}

absl::Status ListModels(HerdClient& client, Console& console) {
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListModelsResponse listed,
                           client.ListModels());
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(listed), "\n"));
    return absl::OkStatus();
  }
  Table table({"NAME", "STATE", "FOR", "ENGINE", "A PICTURE#", "BATCHES#",
               "FAILED#", "FINDS / REASON"});
  const absl::Time now = Clock::Real().Now();
  for (const v1::Model& model : listed.models()) {
    table.Add(
        {{.text = model.name()},
         {.text = NameOf(model.state()), .colour = ColourOf(model.state())},
         {.text = ShortAge(now - FromProto(model.state_since()))},
         {.text = Words({model.engine(), model.device()})},
         {.text = Milliseconds(model.latency_p50_seconds())},
         {.text = absl::StrCat(model.batches_ok())},
         {.text = absl::StrCat(model.batches_failed())},
         {.text = model.preparing()        ? ProgressLine(model)
                  : model.reason().empty() ? model.description()
                                           : model.reason()}});
  }
  console.Out(table.ToText(console));
  return absl::OkStatus();
}

absl::Status GetModel(const std::string& name, HerdClient& client,
                      Console& console) {
  v1::GetModelRequest request;
  request.set_name(name);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Model model, client.GetModel(request));
  Show(model, console);
  return absl::OkStatus();
}

absl::Status UnloadModel(const std::string& name, HerdClient& client,
                         Console& console) {
  v1::UnloadModelRequest request;
  request.set_name(name);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Model model, client.UnloadModel(request));
  if (console.json()) {
    Show(model, console);
  } else {
    console.Out(absl::StrCat("unloaded ", Printable(model.name()), ": ",
                             NameOf(model.state()), "\n"));
  }
  return absl::OkStatus();
}

absl::Status PrepareModel(const PrepareOptions& options, HerdClient& client,
                          Console& console) {
  v1::PrepareModelRequest request;
  request.set_name(options.name);
  request.set_rebuild(options.rebuild);
  v1::Model model;
  std::string shown;
  CAMHERD_RETURN_IF_ERROR(
      client.PrepareModel(request, [&](const v1::PrepareModelResponse& step) {
        // Where nobody sees a line written over: each state, each tenth.
        const int total = step.model().progress_total();
        const int tenth =
            total > 0 ? 10 * step.model().progress_done() / total : 0;
        const std::string milestone =
            absl::StrCat(NameOf(step.model().state()), tenth);
        model = step.model();
        if (console.json()) {
          console.Out(absl::StrCat(ProtoToJson(model), "\n"));
        } else {
          console.Progress(ProgressLine(model), milestone != shown);
        }
        shown = milestone;
        return absl::OkStatus();
      }));
  if (console.json()) return absl::OkStatus();
  console.Out(absl::StrCat(
      Printable(model.name()), " is ", NameOf(model.state()), ": ",
      Printable(model.engine()), " on ", Printable(model.device()), "\n"));
  if (!model.reason().empty()) console.Say(Printable(model.reason()));
  return absl::OkStatus();
}

}  // namespace camherd::cli
