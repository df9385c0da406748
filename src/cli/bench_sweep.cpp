// quire bench sweep: the highest request rate that a server answers within its objectives.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/flag_texts.h"
#include "bench/objective.h"
#include "bench/run_json.h"
#include "bench/run_table.h"
#include "bench/sweep.h"
#include "cli/bench_commands.h"
#include "cli/bench_flags.h"
#include "cli/bench_session.h"
#include "cli/engine_options.h"

namespace quire {
namespace {

constexpr int kFewestRequests = 10;  // of a run whose length is given in seconds

struct BenchSweepFlags {
  BenchFlags shared;
  std::vector<std::string> objectives = {"ttft:p99:500"};
  SweepOptions sweep;
  double seconds_per_run = 0;  // 0: --num-prompts
};

Status FinishSweepFlags(BenchSweepFlags& flags) {
  BenchFlags& shared = flags.shared;
  for (const std::string& text : flags.objectives) {
    auto objective = ParseObjective(text, "--slo");
    if (!objective) return objective.error();
    flags.sweep.objectives.push_back(std::move(*objective));
  }
  if (flags.sweep.high < flags.sweep.low)
    return ConfigFault("--max-rate must not be less than --min-rate");
  const std::string& dataset = shared.bench.dataset.name;
  if (dataset == "azure" || dataset == "mooncake") {
    return ConfigFault(fmt::format(
        "--dataset-name {}: a trace has times of its own; bench serve --trace-speed replays it",
        dataset));
  }
  QUIRE_RETURN_IF_ERROR(FinishBenchFlags(shared));
  std::vector<double>& percentiles = shared.bench.config.metric_percentiles;
  for (const SweepResult::Objective& objective : flags.sweep.objectives) {
    if (std::find(percentiles.begin(), percentiles.end(), objective.percentile) ==
        percentiles.end())
      percentiles.push_back(objective.percentile);
  }
  return {};
}

int RequestsAt(const BenchSweepFlags& flags, double rate) {
  if (flags.seconds_per_run <= 0) return flags.shared.bench.dataset.num_prompts;
  const double count = std::min(std::ceil(rate * flags.seconds_per_run), 1e7);
  return std::max(kFewestRequests, static_cast<int>(count));
}

// "12.5 req/s   TTFT P99 83.1 ms   4210.3 output tok/s   met"
std::string PointLine(const BenchSweepFlags& flags, double rate, const RunSummary& run) {
  std::string line = fmt::format("{:>9.6g} req/s", rate);
  bool met = run.failed == 0 && run.completed > 0;
  for (const SweepResult::Objective& objective : flags.sweep.objectives) {
    const auto value = ObjectiveValue(objective, run);
    met = met && value && *value <= objective.bound_ms;
    line += fmt::format("   {} {:>8.1f} ms", ObjectiveMetricName(objective), value.value_or(0));
  }
  line += fmt::format("   {:>9.1f} output tok/s   {}", run.OutputPerS(), met ? "met" : "missed");
  if (run.failed > 0) line += fmt::format(" ({} failed)", run.failed);
  return line;
}

int ReportSweep(const BenchSweepFlags& flags, const SweepResult& sweep, bool interrupted) {
  std::printf("%s", SweepTable(sweep).c_str());
  if (sweep.best_rate <= 0 && !interrupted)
    std::printf("--min-rate %g is too much already: try a lower one\n", flags.sweep.low);
  if (interrupted) std::printf("\ninterrupted: these are the rates measured until then\n");
  std::fflush(stdout);
  const BenchOutputFlags& output = flags.shared.output;
  Json json = ToJson(sweep);
  if (interrupted) json["interrupted"] = true;
  std::vector<RunSummary> runs;
  for (const SweepPoint& point : sweep.points) runs.push_back(point.run);
  const std::string name = runs.empty() ? "sweep.json" : "sweep-" + ResultFileName(runs.front());
  if (const Status status = SaveBenchJson(output, std::move(json), name); !status.ok())
    return Fail(status.error());
  // The table of the report shows the best run; the curve has them all.
  const auto best = std::find_if(sweep.points.begin(), sweep.points.end(), [&](const auto& point) {
    return point.request_rate == sweep.best_rate;
  });
  if (best != sweep.points.end()) runs = {best->run};
  if (const Status status = SaveBenchReport(output, runs, &sweep); !status.ok())
    return Fail(status.error());
  const bool any = std::any_of(sweep.points.begin(), sweep.points.end(),
                               [](const SweepPoint& point) { return point.run.completed > 0; });
  if (!any) std::fprintf(stderr, "quire: no request succeeded\n");
  return any && !interrupted ? 0 : 1;
}

int RunBenchSweep(BenchSweepFlags& flags) {
  if (const Status status = FinishSweepFlags(flags); !status.ok()) return Fail(status.error());
  BenchSession session(!flags.shared.output.disable_bar);
  auto bench = ServeBench::Connect(flags.shared.bench, session.Hooks());
  if (!bench) return Fail(bench.error());
  flags.sweep.stop = &session.stop();
  std::uint64_t seed = flags.shared.bench.dataset.seed;
  const auto sweep = FindHighestRate(flags.sweep, [&](double rate) -> Result<RunSummary> {
    LoadProfile profile = flags.shared.bench.profile;
    profile.request_rate = rate;
    profile.seed = seed;
    session.Name(fmt::format("{:.6g} req/s", rate));
    // Other prompts each time, or the prefix cache would have them from the run before.
    auto run = (*bench)->Run(profile, RequestsAt(flags, rate), seed++);
    if (!run) return run.error();
    if (!run->interrupted) session.Say(PointLine(flags, rate, run->summary));
    return std::move(run->summary);
  });
  if (!sweep) return Fail(sweep.error());
  return ReportSweep(flags, *sweep, session.stop());
}

}  // namespace

Command AddBenchSweepCommand(CLI::App& bench) {
  auto flags = std::make_shared<BenchSweepFlags>();
  CLI::App* command = bench.add_subcommand(
      "sweep", "Find the highest request rate that a running server answers in time");
  const char* group = "Sweep";
  command
      ->add_option("--slo", flags->objectives,
                   "METRIC:pNN:MS, of ttft, tpot, itl, e2el; several must all hold")
      ->group(group)
      ->capture_default_str();
  command->add_option("--min-rate", flags->sweep.low, "Requests/s to begin with")
      ->check(Between(1e-6, 1e6))
      ->group(group)
      ->capture_default_str();
  command->add_option("--max-rate", flags->sweep.high, "Requests/s not to go beyond")
      ->check(Between(1e-6, 1e6))
      ->group(group)
      ->capture_default_str();
  command->add_option("--max-runs", flags->sweep.max_runs, "Runs at most")
      ->check(Between(1, 1000))
      ->group(group)
      ->capture_default_str();
  command
      ->add_option("--tolerance", flags->sweep.tolerance,
                   "Share of the rate that the answer may be off by")
      ->check(Between(0.001, 1.0))
      ->group(group)
      ->capture_default_str();
  command
      ->add_option("--seconds-per-run", flags->seconds_per_run,
                   "Length of each run, instead of --num-prompts")
      ->check(Between(0.1, 86400.0))
      ->group(group);
  AddBenchTargetFlags(*command, flags->shared);
  AddBenchDatasetFlags(*command, flags->shared);
  AddBenchLoadFlags(*command, flags->shared, /*sweep=*/true);
  AddBenchOutputFlags(*command, flags->shared);
  return [flags] { return RunBenchSweep(*flags); };
}

}  // namespace quire
