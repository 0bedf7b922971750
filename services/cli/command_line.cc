// SPDX-License-Identifier: Apache-2.0
#include "services/cli/command_line.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/cli/apply_command.h"
#include "services/cli/camera_commands.h"
#include "services/cli/enum_names.h"
#include "services/cli/herd_client.h"
#include "services/cli/herd_config.h"
#include "services/cli/model_commands.h"
#include "services/cli/record_commands.h"
#include "services/cli/secret_input.h"
#include "services/cli/stream_commands.h"
#include "services/cli/up_command.h"
#include "services/cli/watch_command.h"
#include "services/common/camera_url.h"

namespace camherd::cli {
namespace {

constexpr char kComplete[] = "__complete";

constexpr char kBashCompletion[] = R"(# camherd's completion for bash:
#   camherd completion bash > /etc/bash_completion.d/camherd
_camherd() {
  local word
  COMPREPLY=()
  while IFS= read -r word; do
    COMPREPLY+=("$word")
  done < <("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _camherd camherd
)";

constexpr char kFooter[] =
    "The services are found as the gateway finds them: by gateway.capture,\n"
    "gateway.inference, gateway.aggregator and the section grpc of the\n"
    "configuration, or CAMHERD_GATEWAY_CAPTURE ... in the environment.\n"
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 a service\n"
    "cannot be reached, 130 interrupted.";

// The folder of our own binary.
std::string ProgramDir() {
  std::array<char, 4096> path = {};
  const ssize_t length =
      readlink("/proc/self/exe", path.data(), path.size() - 1);
  const std::string text(path.data(), length > 0 ? length : 0);
  return text.substr(0, text.rfind('/'));
}

// The commands, what was given to each, and the one that is to be run.
//
// Serves one command line.
class Commands {
 public:
  Commands(const YamlConfig::Environment& environment,
           const Console::Options& files)
      : environment_(environment), files_(files) {
    Build();
  }

  int Run(std::vector<std::string> arguments) {
    if (!arguments.empty() && arguments[0] == kComplete) {
      arguments.erase(arguments.begin());
      if (!arguments.empty() && arguments[0] == "--") {
        arguments.erase(arguments.begin());
      }
      return Complete(arguments);
    }
    // CLI11 takes them from the end.
    std::reverse(arguments.begin(), arguments.end());
    try {
      app_.parse(arguments);
    } catch (const CLI::CallForHelp&) {
      Write(files_.out, app_.help());
      return kDone;
    } catch (const CLI::CallForVersion&) {
      return PrintVersion();
    } catch (const CLI::ParseError& error) {
      if (app_.get_subcommands().empty() && !app_.remaining().empty()) {
        return SayUsage(
            absl::StrCat("there is no command ", app_.remaining().front()));
      }
      return SayUsage(error.what());
    }
    Console::Options console_options = files_;
    console_options.json = json_;
    Console console(console_options);
    absl::Status status = Execute(console);
    if (!console.Flush() && status.ok()) {
      status = absl::InternalError("the output could not be written");
    }
    if (!status.ok()) {
      console.Say(Printable(MaskSecrets(status.message())));
    }
    return ExitCodeOf(status);
  }

 private:
  using RunFn = std::function<absl::Status(HerdClient&, Console&)>;
  // What a shell can be told of a value.
  enum class Kind { kOther, kStream, kModel, kCamera };

  static void Write(FILE* file, const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), file);
    std::fflush(file);
  }

  int PrintVersion() {
    Write(files_.out, absl::StrCat("camherd ", CAMHERD_VERSION, "\n"));
    return kDone;
  }

  int SayUsage(absl::string_view message) {
    Write(files_.err, absl::StrCat("camherd: ", Printable(MaskSecrets(message)),
                                   "\n\n", app_.help()));
    return kWrongUsage;
  }

  absl::Status Execute(Console& console) {
    if (run_alone_) return run_alone_(console);
    absl::StatusOr<HerdClient::Options> options =
        LoadHerdOptions(place_, environment_);
    if (!options.ok()) return options.status();
    HerdClient client(*options);
    return run_(client, console);
  }

  void Build();
  void BuildStreams();
  void BuildRecords();
  void BuildModels();
  void BuildCameras();

  // A command that asks the services.
  CLI::App* Command(CLI::App* parent, const char* name, const char* help,
                    RunFn run) {
    CLI::App* command = parent->add_subcommand(name, help);
    // That of a command of a command is called first.
    command->callback([this, command, run = std::move(run)] {
      if (command->get_subcommands().empty()) run_ = run;
    });
    return command;
  }

  CLI::Option* Is(CLI::Option* option, Kind kind) {
    kinds_[option] = kind;
    return option;
  }
  template <typename Enum>
  CLI::Option* Choice(CLI::App* command, const char* name, std::string& value,
                      const char* help) {
    CLI::Option* option = command->add_option(name, value, help);
    option->check(CLI::IsMember(NamesOf<Enum>()));
    choices_[option] = NamesOf<Enum>();
    return option;
  }
  // --NAME-file, --NAME-env.
  void AddPlaces(CLI::App* command, const std::string& name,
                 ValueSource& source, const std::string& what) {
    command
        ->add_option("--" + name + "-file", source.file,
                     what +
                         " from the first line of a file; -: the next "
                         "line of standard input")
        ->type_name("FILE");
    command
        ->add_option("--" + name + "-env", source.env,
                     what + " from a variable of the environment")
        ->type_name("NAME");
  }
  void AddSource(CLI::App* command, CameraSource& source);

  // Completion.
  int Complete(const std::vector<std::string>& words);
  std::vector<std::string> Names(Kind kind);
  static bool TakesValue(const CLI::Option& option) {
    return option.get_items_expected_max() > 0;
  }

  const YamlConfig::Environment environment_;
  const Console::Options files_;
  CLI::App app_{"The command line of Camherd.", "camherd"};
  std::map<const CLI::Option*, Kind> kinds_;
  std::map<const CLI::Option*, std::vector<std::string>> choices_;
  RunFn run_;
  std::function<absl::Status(Console&)> run_alone_;

  HerdPlace place_;
  bool json_ = false;
  StartOptions start_;
  StopOptions stop_;
  LsOptions ls_;
  GridOptions grid_;
  CameraSource probe_;
  UpOptions up_;
  WatchOptions watch_;
  RecordsOptions records_;
  ExportOptions export_;
  std::string config_file_;
  ApplyOptions apply_;
  std::string model_;
  PrepareOptions prepare_;
  std::string camera_;
  SetCameraOptions set_;
  std::string file_;
};

void Commands::Build() {
  app_.require_subcommand(1);
  app_.fallthrough();
  app_.set_version_flag("--version", CAMHERD_VERSION, "Print the version");
  app_.set_help_flag("-h,--help", "Print this");
  app_.add_option("--config", place_.config,
                  "The services' configuration; left out: "
                  "/etc/camherd/camherd.yaml where there is one")
      ->type_name("FILE");
  for (const auto& [name, value] :
       {std::pair{"--capture", &place_.capture},
        std::pair{"--inference", &place_.inference},
        std::pair{"--aggregator", &place_.aggregator}}) {
    app_.add_option(name, *value, "Address of that service")
        ->type_name("HOST:PORT");
  }
  app_.add_flag("--json", json_, "Results as JSON, in the form of REST");
  BuildStreams();
  CLI::App* watch = Command(&app_, "watch", "Say what changes, as it does",
                            [this](HerdClient& client, Console& console) {
                              return RunWatch(watch_, client, console);
                            });
  const std::vector<std::string> feeds = {"streams", "records", "models"};
  CLI::Option* what = watch->add_option(
      "what", watch_.what, "streams, records, models; left out: all of them");
  what->check(CLI::IsMember(feeds));
  choices_[what] = feeds;
  Is(watch->add_option("-c,--camera", watch_.camera_id, "Only that camera's"),
     Kind::kCamera)
      ->type_name("ID");
  BuildRecords();
  BuildModels();
  BuildCameras();
  CLI::App* up =
      app_.add_subcommand("up", "Run all four services in this terminal");
  up->add_option("--data-dir", up_.data_dir,
                 "Folder for everything that is written; left out: as the "
                 "configuration says, else ./var")
      ->type_name("DIR");
  up->callback([this] {
    run_alone_ = [this](Console& console) {
      up_.config = ConfigPath(place_.config);
      up_.program_dir = ProgramDir();
      return RunUp(up_, console);
    };
  });
  CLI::App* completion =
      app_.add_subcommand("completion", "Print a shell's completion");
  completion->require_subcommand(1);
  completion->add_subcommand("bash", "For bash")->callback([this] {
    run_alone_ = [](Console& console) {
      console.Out(kBashCompletion);
      return absl::OkStatus();
    };
  });
  app_.add_subcommand("version", "Print the version")->callback([this] {
    run_alone_ = [](Console& console) {
      console.Out(absl::StrCat("camherd ", CAMHERD_VERSION, "\n"));
      return absl::OkStatus();
    };
  });
  // Last, so that commands have none of their own.
  app_.footer(kFooter);
}

void Commands::AddSource(CLI::App* command, CameraSource& source) {
  command->add_option("url", source.url.value,
                      "The camera's URL, rtsp:// or rtsps://, without a "
                      "password");
  AddPlaces(command, "url", source.url, "The URL, with user and password");
  command->add_option("--user", source.user.value, "User, as it is")
      ->type_name("NAME");
  AddPlaces(command, "user", source.user, "User");
  AddPlaces(command, "password", source.password, "Password, as it is");
  Choice<v1::Transport>(command, "--transport", source.transport,
                        "How RTP travels");
  command->add_flag("--no-tls-verify", source.no_tls_verify,
                    "Take any certificate of an rtsps camera");
}

void Commands::BuildStreams() {
  CLI::App* start = Command(&app_, "start", "Start a stream",
                            [this](HerdClient& client, Console& console) {
                              return RunStart(start_, client, console);
                            });
  AddSource(start, start_.source);
  Is(start->add_option("-c,--camera", start_.camera_id,
                       "The camera's id; left out: from the URL"),
     Kind::kCamera)
      ->type_name("ID");
  Is(start->add_option("-m,--model", start_.models,
                       "Models to run, by comma or one by one; none: only the "
                       "nine brightest frames are kept"),
     Kind::kModel)
      ->delimiter(',')
      ->expected(1, -1)
      ->allow_extra_args(false)
      ->type_name("NAME");
  start->add_option("-i,--interval", start_.interval_seconds,
                    "Seconds between samples, 0.1 to 86400");
  Choice<v1::SamplingMode>(start, "--mode", start_.sampling_mode,
                           "How a sample is chosen");
  start->add_option("--batch-size", start_.batch_size,
                    "Frames in a batch, 1 to 64");
  start->add_option("--ttl", start_.ttl_seconds,
                    "Stop by itself after so many seconds");
  start->add_option("--max-frames", start_.max_frames,
                    "Stop by itself after so many frames");
  start->add_option("--detect-url", start_.detect_url.value,
                    "A second, smaller stream of the camera for the models");
  AddPlaces(start, "detect-url", start_.detect_url, "That URL");

  CLI::App* stop = Command(&app_, "stop", "Stop streams, make their grids",
                           [this](HerdClient& client, Console& console) {
                             return RunStop(stop_, client, console);
                           });
  Is(stop->add_option("stream", stop_.streams,
                      "Names, camera ids or stream ids"),
     Kind::kStream);
  stop->add_flag("--all", stop_.all, "All that run");

  CLI::App* ls = Command(&app_, "ls", "List streams",
                         [this](HerdClient& client, Console& console) {
                           return RunLs(ls_, client, console);
                         });
  CLI::Option* state =
      ls->add_option("-s,--state", ls_.states, "Only those in these states");
  state->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember(NamesOf<v1::StreamState>()))
      ->type_name("STATE");
  choices_[state] = NamesOf<v1::StreamState>();
  Is(ls->add_option("-c,--camera", ls_.camera_id, "Only that camera's"),
     Kind::kCamera)
      ->type_name("ID");
  ls->add_flag("-a,--all", ls_.all, "Stopped ones too");

  CLI::App* grid =
      Command(&app_, "grid", "The nine brightest frames of a stream",
              [this](HerdClient& client, Console& console) {
                return RunGrid(grid_, client, console);
              });
  Is(grid->add_option("stream", grid_.stream, "Name, camera id or stream id"),
     Kind::kStream)
      ->required();
  grid->add_option("-o,--output", grid_.file,
                   "File of the picture; -: standard output; left out: only "
                   "what its cells are")
      ->type_name("FILE");

  CLI::App* probe = Command(&app_, "probe", "Try a camera, step by step",
                            [this](HerdClient& client, Console& console) {
                              return RunProbe(probe_, client, console);
                            });
  AddSource(probe, probe_);
}

void Commands::BuildRecords() {
  CLI::App* records =
      Command(&app_, "records", "List records, newest first, or show one",
              [this](HerdClient& client, Console& console) {
                return RunRecords(records_, client, console);
              });
  records->add_option("record", records_.record_id, "Number of one record")
      ->check(CLI::PositiveNumber);
  Is(records->add_option("-c,--camera", records_.camera_id,
                         "Only that camera's"),
     Kind::kCamera)
      ->type_name("ID");
  records
      ->add_option("--class", records_.class_name,
                   "Only with a detection of that class")
      ->type_name("NAME");
  records
      ->add_option("--complaint", records_.complaint_type,
                   "Only with that complaint")
      ->type_name("TYPE");
  records->add_option("--session", records_.session_id, "Only that session's")
      ->type_name("ID");
  const char* when =
      "2026-08-01T10:15:00Z, 2026-08-01, or how long ago: 90s, 30m, 2h, 7d";
  records
      ->add_option("--since", records_.since,
                   absl::StrCat("Captured then or later: ", when))
      ->type_name("TIME");
  records->add_option("--until", records_.until, "Captured before that")
      ->type_name("TIME");
  records->add_option("-n,--count", records_.count, "How many, 1 to 1000")
      ->check(CLI::Range(1, 1000));
  records
      ->add_option("--page-token", records_.page_token,
                   "Go on where the last list ended")
      ->type_name("TOKEN");

  CLI::App* out = Command(&app_, "export", "Records as a file",
                          [this](HerdClient& client, Console& console) {
                            return RunExport(export_, client, console);
                          });
  Choice<v1::ExportFormat>(out, "-f,--format", export_.format,
                           "jsonl: the lines of predictions.json; array: the "
                           "same as one JSON array; csv; geojson: a point a "
                           "record")
      ->capture_default_str();
  Is(out->add_option("-c,--camera", export_.camera_id, "Only that camera's"),
     Kind::kCamera)
      ->type_name("ID");
  out->add_option("--since", export_.since,
                  absl::StrCat("Captured then or later: ", when))
      ->type_name("TIME");
  out->add_option("--until", export_.until, "Captured before that")
      ->type_name("TIME");
  out->add_option("-o,--output", export_.file,
                  "A file, which is there whole or not at all; left out: "
                  "standard output")
      ->type_name("FILE");

  CLI::App* config =
      Command(&app_, "config", "Cameras and streams as a file for apply",
              [this](HerdClient& client, Console& console) {
                return RunConfig(config_file_, client, console);
              });
  config
      ->add_option("-o,--output", config_file_,
                   "A file, which is there whole or not at all; left out: "
                   "standard output")
      ->type_name("FILE");

  CLI::App* apply =
      Command(&app_, "apply", "Make cameras and streams what a file says",
              [this](HerdClient& client, Console& console) {
                return RunApply(apply_, client, console);
              });
  apply
      ->add_option("-f,--file", apply_.file,
                   "cameras.yaml, or .csv; -: YAML from standard input")
      ->required()
      ->type_name("FILE");
  apply->add_flag("-n,--dry-run", apply_.dry_run,
                  "Only say what would be done");
  apply->add_flag("--prune", apply_.prune,
                  "Stop the streams that are not in the file");
}

void Commands::BuildModels() {
  const RunFn list = [](HerdClient& client, Console& console) {
    return ListModels(client, console);
  };
  CLI::App* models = Command(&app_, "models", "List models", list);
  models->require_subcommand(0, 1);
  Command(models, "list", "List models", list);
  const auto one = [&](const char* name, const char* help, RunFn run) {
    CLI::App* command = Command(models, name, help, std::move(run));
    Is(command->add_option("model", model_, "Name of the model"), Kind::kModel)
        ->required();
    return command;
  };
  one("get", "Show one", [this](HerdClient& client, Console& console) {
    return GetModel(model_, client, console);
  });
  one("prepare", "Make it ready, and follow that to its end",
      [this](HerdClient& client, Console& console) {
        prepare_.name = model_;
        return PrepareModel(prepare_, client, console);
      })
      ->add_flag("--rebuild", prepare_.rebuild,
                 "Load it anew; build its environment again");
  one("unload", "Give its memory back",
      [this](HerdClient& client, Console& console) {
        return UnloadModel(model_, client, console);
      });
}

void Commands::BuildCameras() {
  const RunFn list = [](HerdClient& client, Console& console) {
    return ListCameras(client, console);
  };
  CLI::App* cameras = Command(&app_, "cameras", "List cameras", list);
  cameras->require_subcommand(0, 1);
  Command(cameras, "list", "List cameras", list);
  CLI::App* get = Command(cameras, "get", "Show one",
                          [this](HerdClient& client, Console& console) {
                            return GetCamera(camera_, client, console);
                          });
  Is(get->add_option("camera", camera_, "Id of the camera"), Kind::kCamera)
      ->required();
  CLI::App* set =
      Command(cameras, "set", "Change one, or add it; what is left out stays",
              [this](HerdClient& client, Console& console) {
                return SetCamera(set_, client, console);
              });
  Is(set->add_option("camera", set_.camera_id, "Id of the camera"),
     Kind::kCamera)
      ->required();
  set->add_option("--name", set_.name, "Name for people")->type_name("TEXT");
  set->add_option("--latitude", set_.latitude, "Degrees, -90 to 90");
  set->add_option("--longitude", set_.longitude, "Degrees, -180 to 180");
  set->add_option("--from", set_.file,
                  "Replace it by the JSON of `cameras get --json`, masks and "
                  "zones too; -: standard input")
      ->type_name("FILE");
  CLI::App* import = Command(cameras, "import", "Places from a camera_data.csv",
                             [this](HerdClient& client, Console& console) {
                               return ImportCameras(file_, client, console);
                             });
  import->add_option("file", file_, "The file; -: standard input")->required();
}

std::vector<std::string> Commands::Names(Kind kind) {
  std::vector<std::string> names;
  const absl::StatusOr<HerdClient::Options> options =
      LoadHerdOptions(place_, environment_);
  if (!options.ok()) return names;
  HerdClient client(*options);
  if (kind == Kind::kStream) {
    if (const auto listed = client.ListStreams({}); listed.ok()) {
      for (const v1::Stream& stream : listed->streams()) {
        if (stream.desired_running()) names.push_back(stream.process_name());
      }
    }
  } else if (kind == Kind::kModel) {
    if (const auto listed = client.ListModels(); listed.ok()) {
      for (const v1::Model& model : listed->models()) {
        names.push_back(model.name());
      }
    }
  } else if (kind == Kind::kCamera) {
    if (const auto listed = client.ListCameras({}); listed.ok()) {
      for (const v1::Camera& camera : listed->cameras()) {
        names.push_back(camera.camera_id());
      }
    }
  }
  return names;
}

// Prints what may stand for the last of `words`, which may be empty; nothing
// where it is a file or nobody knows.
int Commands::Complete(const std::vector<std::string>& words) {
  CLI::App* command = &app_;
  const CLI::Option* awaits = nullptr;
  std::map<std::string, std::string*> places = {
      {"--config", &place_.config},
      {"--capture", &place_.capture},
      {"--inference", &place_.inference},
      {"--aggregator", &place_.aggregator}};
  const std::string last = words.empty() ? "" : words.back();
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (awaits != nullptr) {
      const auto place = places.find(words[i - 1]);
      if (place != places.end()) *place->second = words[i];
      awaits = nullptr;
    } else if (absl::StartsWith(words[i], "-")) {
      awaits = command->get_option_no_throw(words[i]);
      if (awaits == nullptr) awaits = app_.get_option_no_throw(words[i]);
      if (awaits != nullptr && !TakesValue(*awaits)) awaits = nullptr;
    } else {
      for (CLI::App* sub : command->get_subcommands({})) {
        if (sub->get_name() == words[i]) command = sub;
      }
    }
  }
  std::vector<std::string> candidates;
  const auto add_values = [&](const CLI::Option* option) {
    if (const auto found = choices_.find(option); found != choices_.end()) {
      candidates = found->second;
    } else if (const auto kind = kinds_.find(option); kind != kinds_.end()) {
      candidates = Names(kind->second);
    }
  };
  if (awaits != nullptr) {
    add_values(awaits);
  } else if (absl::StartsWith(last, "-")) {
    for (CLI::App* app : {command, &app_}) {
      for (const CLI::Option* option : app->get_options()) {
        for (const std::string& name : option->get_lnames()) {
          candidates.push_back("--" + name);
        }
      }
      if (command == &app_) break;
    }
  } else if (!command->get_subcommands({}).empty()) {
    for (const CLI::App* sub : command->get_subcommands({})) {
      candidates.push_back(sub->get_name());
    }
  } else {
    for (const CLI::Option* option : command->get_options()) {
      if (option->get_positional()) add_values(option);
    }
  }
  std::string text;
  for (const std::string& candidate : candidates) {
    if (absl::StartsWith(candidate, last)) {
      absl::StrAppend(&text, Printable(candidate), "\n");
    }
  }
  Write(files_.out, text);
  return kDone;
}

}  // namespace

int RunCommandLine(std::vector<std::string> arguments,
                   const YamlConfig::Environment& environment,
                   const Console::Options& files) {
  return Commands(environment, files).Run(std::move(arguments));
}

}  // namespace camherd::cli
