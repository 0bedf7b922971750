// SPDX-License-Identifier: Apache-2.0
#include "services/common/service_main.h"

#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/mutex.h"
#include "services/common/camera_url.h"
#include "services/common/log.h"

namespace camherd {
namespace {

constexpr int kUsageError = 2;

ServiceArgs Done(int exit_code) {
  ServiceArgs args;
  args.done = true;
  args.exit_code = exit_code;
  return args;
}

ServiceArgs Wrong(const std::string& program, absl::string_view message) {
  std::fprintf(stderr, "%s: %s\n", program.c_str(),
               MaskSecrets(message).c_str());
  return Done(kUsageError);
}

// As the lines of PrintHelp are.
std::string HelpLines(const ServiceOption& option) {
  constexpr absl::string_view kIndent = "\n                   ";
  return absl::StrFormat(
      "  %-15s  %s\n",
      option.name.empty()
          ? option.value
          : absl::StrCat("--", option.name, option.value.empty() ? "" : " ",
                         option.value),
      absl::StrReplaceAll(option.help, {{"\n", kIndent}}));
}

void PrintHelp(const std::string& program, absl::string_view description,
               const std::vector<ServiceOption>& own) {
  std::string own_lines;
  std::string argument;
  for (const ServiceOption& option : own) {
    own_lines += HelpLines(option);
    if (option.name.empty()) argument = absl::StrCat(" ", option.value);
  }
  std::printf(
      "Usage: %s [options]%s\n"
      "%s\n\n"
      "  --config FILE    configuration, see deploy/config/camherd.yaml; left\n"
      "                   out: defaults and the environment only\n"
      "  --data-dir DIR   folder for everything that is written; left out:\n"
      "                   $CAMHERD_DATA_DIR, else common.data_dir, else ./var\n"
      "  --check-config   check the configuration and exit: 0 good, 2 bad\n"
      "%s"
      "  --help           print this and exit\n"
      "  --version        print the version and exit\n\n"
      "CAMHERD_<SECTION>_<KEY> in the environment overrides <section>.<key>\n"
      "of the configuration. SIGTERM and SIGINT stop the service.\n",
      program.c_str(), argument.c_str(), std::string(description).c_str(),
      own_lines.c_str());
}

std::string Absolute(const std::string& path) {
  if (!path.empty() && path.front() == '/') return path;
  char* cwd = getcwd(nullptr, 0);
  std::string base = cwd == nullptr ? "" : cwd;
  std::free(cwd);
  absl::string_view rest = path;
  while (rest.substr(0, 2) == "./") rest.remove_prefix(2);
  if (rest.empty() || rest == ".") return base;
  return absl::StrCat(base == "/" ? "" : base, "/", rest);
}

}  // namespace

ServiceOption HealthOption() {
  return {.name = "health",
          .help =
              "ask the service that runs with this configuration how\n"
              "it fares, and exit: 0 it serves, 1 it does not",
          .command = true};
}

void KeepFreedMemory() {
  constexpr int kMapFrom = 4 << 20;
  constexpr int kKeep = 16 << 20;
  mallopt(M_MMAP_THRESHOLD, kMapFrom);
  mallopt(M_TRIM_THRESHOLD, kKeep);
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  mallopt(M_ARENA_MAX, std::max(2, cores));
}

ServiceArgs StartServiceMain(int argc, char** argv, absl::string_view service,
                             absl::string_view description,
                             const std::vector<ServiceOption>& own,
                             bool command) {
  const std::string program = absl::StrCat("camherd-", service);
  // The service's own options follow from kOwn on.
  enum Option { kConfig = 1000, kDataDir, kCheckConfig, kHelp, kVersion, kOwn };
  std::vector<option> options = {
      {"config", required_argument, nullptr, kConfig},
      {"data-dir", required_argument, nullptr, kDataDir},
      {"check-config", no_argument, nullptr, kCheckConfig},
      {"help", no_argument, nullptr, kHelp},
      {"version", no_argument, nullptr, kVersion}};
  int code = kOwn;
  const ServiceOption* argument = nullptr;
  for (const ServiceOption& extra : own) {
    if (extra.name.empty()) {
      argument = &extra;
      ++code;
      continue;
    }
    options.push_back({extra.name.c_str(),
                       extra.value.empty() ? no_argument : required_argument,
                       nullptr, code++});
  }
  options.push_back({nullptr, 0, nullptr, 0});
  ServiceArgs args;
  std::string config_path;
  optind = 0;
  opterr = 0;
  while (true) {
    // The argument getopt_long looks at, for messages.
    const int index = optind == 0 ? 1 : optind;
    const int option = getopt_long(argc, argv, "+:", options.data(), nullptr);
    if (option == -1) {
      if (argument == nullptr || optind >= argc || args.own.contains("")) break;
      args.own[""] = argv[optind++];
      continue;
    }
    if (option >= kOwn) {
      const ServiceOption& given = own[static_cast<size_t>(option - kOwn)];
      args.own[given.name] = optarg == nullptr ? "" : optarg;
      command = command || given.command;
      continue;
    }
    switch (option) {
      case kConfig:
        config_path = optarg;
        if (config_path.empty()) {
          return Wrong(program, "--config must name a file, got \"\"");
        }
        break;
      case kDataDir:
        args.data_dir = optarg;
        if (args.data_dir.empty()) {
          return Wrong(program, "--data-dir must name a folder, got \"\"");
        }
        break;
      case kCheckConfig:
        args.check_config = true;
        break;
      case kHelp:
        PrintHelp(program, description, own);
        return Done(0);
      case kVersion:
        std::printf("%s %s\n", program.c_str(), CAMHERD_VERSION);
        return Done(0);
      case ':':
        return Wrong(program,
                     absl::StrCat(argv[index], " needs a value; see --help"));
      default:
        return Wrong(program, absl::StrCat("unknown option ", argv[index],
                                           "; see --help"));
    }
  }
  if (optind < argc) {
    return Wrong(program, absl::StrCat("unexpected argument ", argv[optind],
                                       "; see --help"));
  }
  if (argument != nullptr && !args.check_config && !args.own.contains("")) {
    return Wrong(program,
                 absl::StrCat(argument->value, " is missing; see --help"));
  }

  const YamlConfig::Environment environment = YamlConfig::ProcessEnvironment();
  absl::StatusOr<YamlConfig> config =
      YamlConfig::Load(config_path, environment);
  if (!config.ok()) return Wrong(program, config.status().message());
  args.config = *std::move(config);

  ConfigSection common = args.config.Section("common");
  std::string data_dir = common.String("data_dir", "./var");
  const std::string level =
      common.Choice("log_level", "info", {"debug", "info", "warning", "error"});
  const std::string format =
      common.Choice("log_format", "text", {"text", "json"});
  args.audit_file = common.String("audit_file", "");
  if (data_dir.empty()) common.Fail("data_dir", "must name a folder, got \"\"");
  if (absl::Status status = common.Finish(); !status.ok()) {
    return Wrong(program, status.message());
  }
  if (args.data_dir.empty()) {
    const auto it = environment.find("CAMHERD_DATA_DIR");
    args.data_dir =
        it != environment.end() && !it->second.empty() ? it->second : data_dir;
  }
  args.data_dir = Absolute(args.data_dir);
  args.audit_file = Absolute(args.audit_file.empty()
                                 ? absl::StrCat(args.data_dir, "/audit.jsonl")
                                 : args.audit_file);
  ConfigSection grpc = args.config.Section("grpc");
  absl::StatusOr<GrpcSecurity> security = LoadGrpcSecurity(grpc);
  if (!security.ok()) return Wrong(program, security.status().message());
  args.grpc = *std::move(security);

  InitLog(service, LogLevel::kInfo,
          format == "json" ? LogFormat::kJson : LogFormat::kText);
  if (!args.check_config && !command) {
    LogInfo("starting",
            {{"version", CAMHERD_VERSION},
             {"config", config_path.empty() ? "none" : Absolute(config_path)},
             {"data_dir", args.data_dir}});
  }
  if (absl::Status status = SetLogLevel(level); !status.ok()) {
    return Wrong(program, status.message());
  }

  KeepFreedMemory();
  // Debian's Abseil checks the order of locks at each Lock and aborts on a
  // cycle; the tests do that, a service need not.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  if (!command) {
    ShutdownSignal::Block();
    signal(SIGPIPE, SIG_IGN);
  }
  return args;
}

}  // namespace camherd
