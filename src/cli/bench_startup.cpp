// quire bench startup: from a server's start to its first token.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/page_cache.h"
#include "bench/run_json.h"
#include "bench/startup_bench.h"
#include "cli/bench_commands.h"
#include "cli/bench_flags.h"
#include "cli/engine_options.h"
#include "cli/shutdown.h"
#include "engine/load.h"

namespace quire {
namespace {

struct BenchStartupFlags {
  std::string model;
  std::vector<std::string> serve_flags;
  std::string command;
  std::string base_url = "http://127.0.0.1:8000";
  std::string api_key;
  std::string served_model;
  int num_iters = 3;
  double timeout_s = 600;
  bool no_cold = false;
  bool no_warm = false;
  std::string output_json;
};

Result<std::string> OwnProgram() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) {
    return Error{ErrorKind::kInternal, "cannot find this program's own file: " + error.message(),
                 "", ""};
  }
  return program.string();
}

// `quire serve MODEL …` on a port of our choice.
Status UseOwnServer(const BenchStartupFlags& flags, StartupOptions& options) {
  for (const std::string& word : flags.serve_flags) {
    if (word.rfind("--port", 0) == 0 || word.rfind("--host", 0) == 0)
      return ConfigFault("--host and --port of the server are chosen by the benchmark");
  }
  auto program = OwnProgram();
  if (!program) return program.error();
  auto folder = FindModel(flags.model);
  if (!folder) return folder.error();
  options.files = FilesOfFolder(*folder);
  options.command = {*program, "serve"};
  if (!flags.model.empty()) options.command.push_back(flags.model);
  for (const std::string& word : flags.serve_flags) options.command.push_back(word);
  for (const char* word : {"--host=127.0.0.1", "--port={port}"}) options.command.emplace_back(word);
  return {};
}

Status UseCommand(const BenchStartupFlags& flags, StartupOptions& options) {
  if (!flags.serve_flags.empty())
    return ConfigFault("--command has the server's flags itself: there are none behind --");
  auto words = SplitWords(flags.command);
  if (!words) return ConfigFault("--command: " + words.error().message);
  if (words->empty()) return ConfigFault("--command is empty");
  options.command = std::move(*words);
  if (flags.model.empty()) return {};
  auto folder = FindModel(flags.model);
  if (!folder) return folder.error();
  options.files = FilesOfFolder(*folder);
  return {};
}

Status FinishStartupFlags(BenchStartupFlags& flags, StartupOptions& options) {
  if (!flags.model.empty() && flags.model.front() == '-') {  // `startup -- --flag`
    flags.serve_flags.insert(flags.serve_flags.begin(), flags.model);
    flags.model.clear();
  }
  if (flags.no_cold && flags.no_warm)
    return ConfigFault("--no-cold and --no-warm leave nothing to measure");
  auto base = ParseUrl(flags.base_url);
  if (!base) return ConfigFault("--base-url: " + base.error().message);
  options.base = std::move(*base);
  QUIRE_RETURN_IF_ERROR(flags.command.empty() ? UseOwnServer(flags, options)
                                              : UseCommand(flags, options));
  options.headers = KeyHeaders(flags.api_key);
  options.model = flags.served_model;
  options.cold = !flags.no_cold;
  options.warm = !flags.no_warm;
  options.num_iters = flags.num_iters;
  options.timeout_s = flags.timeout_s;
  if (flags.no_warm && options.files.empty())
    return ConfigFault("--no-warm: a cold start needs the MODEL folder whose files to forget");
  if (!flags.output_json.empty())
    QUIRE_RETURN_IF_ERROR(CheckWritable(flags.output_json, "--output-json"));
  return {};
}

int RunBenchStartup(BenchStartupFlags& flags) {
  StartupOptions options;
  if (const Status status = FinishStartupFlags(flags, options); !status.ok())
    return Fail(status.error());
  const bool can_be_cold = !options.files.empty();
  StartupBench bench(std::move(options),
                     [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); });
  ShutdownSignals signals;
  // The second Ctrl-C is not heard before the server that was started is gone.
  signals.WhileLoading([&bench] { bench.Interrupt(); });
  auto result = bench.Measure();
  signals.WhileLoading({});
  if (!result) return Fail(result.error());
  std::printf("%s", StartupTable(*result).c_str());
  if (result->interrupted) std::printf("interrupted: these are the starts measured until then\n");
  if (!flags.no_cold && !can_be_cold)
    std::printf("no cold starts: MODEL names the folder whose files to forget\n");
  if (result->still_cached > 0.05) {
    std::printf("note: %.0f %% of the model's files stayed in memory before cold starts\n",
                100 * result->still_cached);
  }
  std::fflush(stdout);
  if (!flags.output_json.empty()) {
    const Status status = WriteJsonFile(ToJson(*result), flags.output_json);
    if (!status.ok()) return Fail(status.error());
    std::fprintf(stderr, "saved     %s\n", flags.output_json.c_str());
  }
  return result->interrupted ? 1 : 0;
}

}  // namespace

Command AddBenchStartupCommand(CLI::App& bench) {
  auto flags = std::make_shared<BenchStartupFlags>();
  CLI::App* command = bench.add_subcommand(
      "startup", "Measure how long a server takes from its start to its first token");
  command->add_option("model", flags->model, "As for quire serve; without it the built-in model")
      ->type_name("MODEL");
  command->add_option("serve-flags", flags->serve_flags, "Behind --: flags for quire serve")
      ->type_name("...");
  command->add_option("--command", flags->command,
                      "Another server's command line instead; {port} in it is a free port. No "
                      "shell takes part");
  command->add_option("--base-url", flags->base_url, "Where that server listens")
      ->capture_default_str();
  command->add_option("--served-model", flags->served_model,
                      "Model of the first request (default: the server's first)");
  AddApiKeyFlag(*command, flags->api_key, "Options");
  command->add_option("--num-iters", flags->num_iters, "Starts of each kind")
      ->check(Between(1, 1000))
      ->capture_default_str();
  command->add_option("--timeout", flags->timeout_s, "Seconds that a start may take")
      ->check(Between(0.1, 86400.0))
      ->capture_default_str();
  command->add_flag("--no-cold", flags->no_cold,
                    "No starts with the model's files out of the page cache");
  command->add_flag("--no-warm", flags->no_warm, "No starts with them in it");
  command->add_option("--output-json", flags->output_json, "Write a JSON file");
  return [flags] { return RunBenchStartup(*flags); };
}

}  // namespace quire
