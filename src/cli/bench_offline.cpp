// quire bench throughput and latency: an engine in this process, without a server.
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "bench/offline_bench.h"
#include "bench/run_json.h"
#include "bench/run_table.h"
#include "cli/bench_commands.h"
#include "cli/engine_options.h"
#include "runtime/profile_summary.h"

namespace quire {
namespace {

struct OfflineFlags {
  EngineFlags engine;
  OfflineLoad load;
  SamplingParams sampling;
  int batch_size = 8;
  int num_iters = 3;
  int num_warmups = 1;
  std::string output_json;
  std::optional<ProfileSummary> profile;  // of the steps that were profiled
};

// Means over the steps of a run that had work behind them.
struct StepMeans {
  std::size_t num_steps = 0;
  double tokens = 0, device_us = 0, gap_us = 0, host_us = 0;
  double gap_share() const { return device_us + gap_us > 0 ? gap_us / (device_us + gap_us) : 0; }
};

StepMeans MeansOf(const std::vector<OfflineStep>& steps) {
  StepMeans means;
  for (std::size_t i = 1; i < steps.size();
       ++i) {  // the first one's gap is the time before the run
    ++means.num_steps;
    means.tokens += steps[i].tokens;
    means.device_us += steps[i].times.device;
    means.gap_us += steps[i].times.gap;
    means.host_us += steps[i].times.host;
  }
  const double n = static_cast<double>(std::max<std::size_t>(1, means.num_steps));
  means.tokens /= n;
  means.device_us /= n;
  means.gap_us /= n;
  means.host_us /= n;
  return means;
}

Json ToJson(const StepMeans& means) {
  return {{"steps", means.num_steps},       {"tokens_per_step", means.tokens},
          {"device_us", means.device_us},   {"gap_us", means.gap_us},
          {"gap_share", means.gap_share()}, {"host_us", means.host_us}};
}

void PrintSteps(const StepMeans& means) {
  fmt::print(
      "Steps: {}, {:.1f} tokens each; device {:.1f} us, gap {:.2f} us ({:.2f} %), host {:.1f} us\n",
      means.num_steps, means.tokens, means.device_us, means.gap_us, 100 * means.gap_share(),
      means.host_us);
}

RunSummary SummaryOf(const OfflineRun& run, const OfflineFlags& flags, const EngineInfo& info) {
  RunConfig config;
  config.endpoint_type = "in-process";
  config.dataset = flags.load.max_output_len > 0 ? "random, exponential output" : "random";
  config.num_prompts = static_cast<int>(run.records.size());
  config.request_rate = std::numeric_limits<double>::infinity();
  config.seed = flags.load.seed;
  config.ignore_eos = flags.sampling.ignore_eos;
  config.percentile_metrics = {"ttft", "tpot", "itl", "e2el"};
  RunSummary summary = Summarize(run.records, std::move(config), run.duration_s);
  summary.subject.model = flags.engine.config.model_folder.filename().string();
  summary.subject.backend_name = "Quire " QUIRE_VERSION ", in process";
  summary.subject.dtype = info.dtype;
  summary.subject.weights_gb = static_cast<double>(info.weight_bytes) * 1e-9;
  summary.subject.gpu = info.device;
  return summary;
}

Result<std::unique_ptr<OfflineBench>> LoadBench(OfflineFlags& flags) {
  ApplyLogLevel(flags.engine.log_level, "");
  QUIRE_RETURN_IF_ERROR(FinishEngineFlags(flags.engine));
  flags.engine.config.profile.on_done = [&flags](const ProfileSummary& summary) {
    flags.profile = summary;
  };
  auto bench = OfflineBench::Load(flags.engine.config, {});
  if (!bench) return bench.error();
  const EngineInfo& info = (*bench)->info();
  flags.load.vocab_size = info.vocab_size;
  const std::int32_t longest =
      flags.load.input_len + std::max(flags.load.output_len, flags.load.max_output_len);
  if (longest > info.max_model_len) {
    return ConfigFault(
        fmt::format("--input-len and --output-len: {} tokens are more than the {} "
                    "of --max-model-len",
                    longest, info.max_model_len));
  }
  return bench;
}

// Ends the engine, so that its profile is complete, and tells of that.
void FinishProfile(std::unique_ptr<OfflineBench> bench, const OfflineFlags& flags, Json& json) {
  bench.reset();
  if (!flags.profile) return;
  fmt::print("\n{}", ToText(*flags.profile));
  json["profile"] = ToJson(*flags.profile);
}

int Save(const std::string& file, const Json& json) {
  if (file.empty()) return 0;
  if (const Status status = WriteJsonFile(json, file); !status.ok()) return Fail(status.error());
  return 0;
}

bool AnyFailed(const OfflineRun& run) {
  for (const RequestRecord& record : run.records) {
    if (record.ok()) continue;
    std::fprintf(stderr, "quire: a request failed: %s\n", record.error.c_str());
    return true;
  }
  return false;
}

int RunThroughput(OfflineFlags& flags) {
  auto bench = LoadBench(flags);
  if (!bench) return Fail(bench.error());
  const std::vector<OfflineRequest> requests = MakeOfflineRequests(flags.load);
  for (int i = 0; i < flags.num_warmups; ++i) (*bench)->Run(requests, flags.sampling, nullptr);
  const OfflineRun run = (*bench)->Run(requests, flags.sampling, nullptr);
  if (AnyFailed(run)) return 1;
  const RunSummary summary = SummaryOf(run, flags, (*bench)->info());
  const StepMeans means = MeansOf(run.steps);
  fmt::print("Throughput: {:.2f} requests/s, {:.2f} total tokens/s, {:.2f} output tokens/s\n",
             summary.RequestsPerS(), summary.TotalPerS(), summary.OutputPerS());
  fmt::print("Total num prompt tokens:  {}\nTotal num output tokens:  {}\n",
             summary.total_input_tokens, summary.total_output_tokens);
  PrintSteps(means);
  const auto prompt_tokens = static_cast<std::uint64_t>(summary.total_input_tokens);
  const double recomputed = run.prompt_tokens_computed > prompt_tokens
                                ? static_cast<double>(run.prompt_tokens_computed - prompt_tokens)
                                : 0;
  fmt::print("Preemptions: {}, recomputed tokens: {:.0f} ({:.2f} % of all)\n\n",
             run.num_preemptions, recomputed,
             100 * recomputed /
                 static_cast<double>(summary.total_input_tokens + summary.total_output_tokens));
  fmt::print("{}", ComparisonTable({&summary, 1}));
  Json json = quire::ToJson(summary);
  json["steps"] = ToJson(means);
  json["num_preemptions"] = run.num_preemptions;
  json["recomputed_tokens"] = recomputed;
  FinishProfile(std::move(bench).value(), flags, json);
  return Save(flags.output_json, json);
}

int RunLatency(OfflineFlags& flags) {
  flags.load.num_prompts = flags.batch_size;
  auto bench = LoadBench(flags);
  if (!bench) return Fail(bench.error());
  const std::vector<OfflineRequest> requests = MakeOfflineRequests(flags.load);
  std::vector<double> seconds;
  std::vector<RequestRecord> records;
  std::vector<OfflineStep> steps;
  for (int i = -flags.num_warmups; i < flags.num_iters; ++i) {
    OfflineRun run = (*bench)->Run(requests, flags.sampling, nullptr);
    if (AnyFailed(run)) return 1;
    if (i < 0) continue;
    seconds.push_back(run.duration_s);
    std::move(run.records.begin(), run.records.end(), std::back_inserter(records));
    if (run.steps.size() > 1) steps.insert(steps.end(), run.steps.begin() + 1, run.steps.end());
  }
  const double total = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  const double mean = total / static_cast<double>(seconds.size());
  const std::vector<double> percents = {10, 25, 50, 75, 90, 99};
  const Distribution latency = Distribute(seconds, percents);
  OfflineRun all;
  all.records = std::move(records);
  all.duration_s = total;
  const RunSummary summary = SummaryOf(all, flags, (*bench)->info());
  fmt::print("Avg latency: {:.6f} seconds\n", mean);
  for (const double percent : percents)
    fmt::print("{:.0f}% percentile latency: {:.6f} seconds\n", percent,
               latency.percentiles.at(percent));
  fmt::print(
      "Decode: {:.2f} tokens/s a sequence (1000 / median TPOT of {:.3f} ms); prefill: {:.1f} "
      "tokens/s (median TTFT {:.2f} ms)\n",
      summary.MedianEvalRate(), summary.tpot.median,
      1000.0 * flags.load.input_len * flags.batch_size / std::max(1e-9, summary.ttft.median),
      summary.ttft.median);
  PrintSteps(MeansOf(steps));
  Json json = quire::ToJson(summary);
  json["avg_latency"] = mean;
  json["latencies"] = seconds;
  for (const double percent : percents)
    json["percentiles"][fmt::format("{:.0f}", percent)] = latency.percentiles.at(percent);
  json["steps"] = ToJson(MeansOf(steps));
  FinishProfile(std::move(bench).value(), flags, json);
  return Save(flags.output_json, json);
}

constexpr int kMaxPrompts = 1 << 20;

void AddOfflineFlags(CLI::App& app, OfflineFlags& flags) {
  const char* group = "Load";
  flags.sampling.temperature = 0;
  flags.sampling.ignore_eos = true;
  app.add_option("--input-len", flags.load.input_len, "Tokens of each prompt")
      ->check(Between(1, kMaxPrompts))
      ->group(group)
      ->capture_default_str();
  app.add_option("--output-len", flags.load.output_len, "Tokens of each answer")
      ->check(Between(1, kMaxPrompts))
      ->group(group)
      ->capture_default_str();
  app.add_option("--temperature", flags.sampling.temperature, "0: greedy")
      ->check(Between(0.0, 2.0))
      ->group(group)
      ->capture_default_str();
  app.add_option("--top-p", flags.sampling.top_p)->check(Between(1e-6, 1.0))->group(group);
  app.add_option("--top-k", flags.sampling.top_k)->check(Between(0, kMaxPrompts))->group(group);
  app.add_option("--load-seed", flags.load.seed, "Of prompts and output lengths")->group(group);
  app.add_option("--num-iters-warmup", flags.num_warmups, "Runs before the measured ones")
      ->check(Between(0, 1000))
      ->group(group)
      ->capture_default_str();
  app.add_option("--output-json", flags.output_json, "Write the result to this file")->group(group);
  AddEngineFlags(app, flags.engine);
}

}  // namespace

Command AddBenchThroughputCommand(CLI::App& bench) {
  auto flags = std::make_shared<OfflineFlags>();
  flags->load.num_prompts = 300;
  flags->load.input_len = 100;
  flags->load.output_len = 600;
  CLI::App* command = bench.add_subcommand("throughput", "Many requests at once, in this process");
  command->add_option("--num-prompts", flags->load.num_prompts, "Requests, all at once")
      ->check(Between(1, kMaxPrompts))
      ->group("Load")
      ->capture_default_str();
  command
      ->add_option("--max-output-len", flags->load.max_output_len,
                   "Draw output lengths from an exponential distribution with the mean "
                   "--output-len, and at most this")
      ->check(Between(1, kMaxPrompts))
      ->group("Load");
  AddOfflineFlags(*command, *flags);
  return [flags] { return RunThroughput(*flags); };
}

Command AddBenchLatencyCommand(CLI::App& bench) {
  auto flags = std::make_shared<OfflineFlags>();
  flags->load.input_len = 32;
  flags->load.output_len = 128;
  CLI::App* command = bench.add_subcommand("latency", "One batch at a time, in this process");
  command->add_option("--batch-size", flags->batch_size, "Requests at once")
      ->check(Between(1, 4096))
      ->group("Load")
      ->capture_default_str();
  command->add_option("--num-iters", flags->num_iters, "Measured runs")
      ->check(Between(1, 10000))
      ->group("Load")
      ->capture_default_str();
  AddOfflineFlags(*command, *flags);
  return [flags] { return RunLatency(*flags); };
}

}  // namespace quire
