// quire bench serve: one run against a server.
#include <fmt/core.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/flag_texts.h"
#include "bench/run_json.h"
#include "bench/run_table.h"
#include "cli/bench_commands.h"
#include "cli/bench_flags.h"
#include "cli/bench_session.h"
#include "cli/engine_options.h"

namespace quire {
namespace {

struct BenchServeFlags {
  BenchFlags shared;
  std::vector<std::string> compare;
};

// The other columns of the table. Their heads are told apart by the table.
Status ReadCompared(const std::vector<std::string>& files, std::vector<RunSummary>& runs) {
  for (const std::string& file : files) {
    auto read = ReadRunFile(file);
    if (!read) return read.error();
    runs.push_back(std::move(read->run));
  }
  return {};
}

// What to do about refusals, which other servers leave to their queues.
void PrintHints(const RunSummary& run) {
  for (const auto& [message, count] : run.errors) {
    if (message.find("HTTP 429") == std::string::npos) continue;
    std::printf(
        "\nThe server refused requests because its queue was full: --max-concurrency sends fewer "
        "at "
        "once,\nquire serve --max-num-queued-reqs lets more wait.\n");
    return;
  }
}

int RunBenchServe(BenchServeFlags& flags) {
  BenchFlags& shared = flags.shared;
  if (const Status status = FinishBenchFlags(shared); !status.ok()) return Fail(status.error());
  std::vector<RunSummary> runs;
  if (const Status status = ReadCompared(flags.compare, runs); !status.ok())
    return Fail(status.error());

  BenchSession session(!shared.output.disable_bar);
  auto bench = ServeBench::Connect(shared.bench, session.Hooks());
  if (!bench) return Fail(bench.error());
  const DatasetOptions& dataset = shared.bench.dataset;
  auto run = (*bench)->Run(shared.bench.profile, dataset.num_prompts, dataset.seed);
  if (!run) return Fail(run.error());

  const RunSummary& summary = run->summary;
  runs.push_back(summary);
  std::printf("%s\n%s", ServingLines(summary).c_str(), ComparisonTable(runs).c_str());
  PrintHints(summary);
  if (run->interrupted) {
    std::printf("\ninterrupted: these are the figures of the first %.1f s\n", summary.duration_s);
  }
  std::fflush(stdout);
  Json json =
      ToJson(summary, shared.output.save_detailed ? run->records : std::vector<RequestRecord>());
  if (run->interrupted) json["interrupted"] = true;
  if (const Status status = SaveBenchJson(shared.output, std::move(json), ResultFileName(summary));
      !status.ok())
    return Fail(status.error());
  if (const Status status = SaveBenchReport(shared.output, runs, nullptr); !status.ok())
    return Fail(status.error());
  if (summary.completed == 0) {
    std::fprintf(stderr, "quire: no request succeeded\n");
    return 1;
  }
  return run->interrupted ? 1 : 0;
}

}  // namespace

Command AddBenchServeCommand(CLI::App& bench) {
  auto flags = std::make_shared<BenchServeFlags>();
  CLI::App* command = bench.add_subcommand(
      "serve", "Measure a running server, with the flags and figures of vllm bench serve");
  AddBenchTargetFlags(*command, flags->shared);
  AddBenchDatasetFlags(*command, flags->shared);
  AddBenchLoadFlags(*command, flags->shared, /*sweep=*/false);
  AddBenchOutputFlags(*command, flags->shared);
  command
      ->add_option("--compare", flags->compare,
                   "Results of earlier runs, as columns before this one's")
      ->group("Results");
  return [flags] { return RunBenchServe(*flags); };
}

}  // namespace quire
