#include "bench/serve_bench.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "bench/host_facts.h"
#include "bench/metrics_scrape.h"
#include "bench/printable.h"
#include "net/http_client.h"
#include "topology/probe.h"

namespace quire {
namespace {

constexpr std::chrono::milliseconds kSmallTimeout{10000};
constexpr std::chrono::milliseconds kScrapeTimeout{1000};
constexpr std::chrono::milliseconds kTick{100};
constexpr int kIdleSamples = 5;
// Warm-ups draw other prompts than the run, which would find its own in the prefix cache.
constexpr std::uint64_t kWarmUpSeed = 0x77a71U;

bool HasTokenizer(const std::string& folder) {
  std::error_code ignored;
  return !folder.empty() && std::filesystem::is_regular_file(
                                std::filesystem::path(folder) / "tokenizer.json", ignored);
}

double ExpectedTokens(const BenchWorkload& workload) {
  double tokens = 0;
  for (const BenchConversation& conversation : workload.conversations) {
    for (const BenchTurn& turn : conversation.turns) tokens += turn.output_tokens;
  }
  return tokens;
}

// `count` first turns of `workload` from its `begin`th, without times of their own.
BenchWorkload FirstTurns(const BenchWorkload& workload, std::size_t begin, std::size_t count) {
  BenchWorkload some;
  for (std::size_t i = begin; i < begin + count && !workload.conversations.empty(); ++i) {
    const auto& from = workload.conversations[i % workload.conversations.size()];
    if (from.turns.empty()) continue;
    some.conversations.emplace_back().turns.push_back(from.turns.front());
  }
  return some;
}

}  // namespace

std::string DateWord() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y%m%d-%H%M%S", &local)};
}

ServeBench::ServeBench(ServeBenchOptions options, ServeBenchHooks hooks)
    : options_(std::move(options)), hooks_(std::move(hooks)) {}

void ServeBench::Say(const std::string& line) const {
  if (hooks_.say) hooks_.say(line);
}

Result<std::unique_ptr<ServeBench>> ServeBench::Connect(ServeBenchOptions options,
                                                        ServeBenchHooks hooks) {
  std::unique_ptr<ServeBench> bench(new ServeBench(std::move(options), std::move(hooks)));
  QUIRE_RETURN_IF_ERROR(bench->FindServer());
  bench->DescribeHost();
  QUIRE_RETURN_IF_ERROR(bench->FindCodec());
  QUIRE_RETURN_IF_ERROR(bench->WarmUp());
  return bench;
}

Status ServeBench::FindServer() {
  LoadTarget& target = options_.target;
  HttpClient client(target.base, target.headers, kSmallTimeout);
  auto models = AwaitModels(client, target.base, options_.ready_timeout_s, hooks_.stop);
  if (models) {
    auto chosen = ChooseModel(*models, target.model);
    if (!chosen) return chosen.error();
    server_model_ = std::move(*chosen);
    target.model = server_model_.id;
  } else {
    // A server may have no such list; the test request will show whether it has the model.
    if (models.error().kind != ErrorKind::kNotFound) {
      Error error = models.error();
      if (error.message.find("connection refused") != std::string::npos)
        error.message +=
            ": --base-url says where a server is, --ready-check-timeout-sec waits for it";
      return error;
    }
    if (target.model.empty())
      return Error{ErrorKind::kUnavailable, models.error().message + ": --model names one", "", ""};
    server_model_.id = target.model;
  }
  facts_ = AskServer(client, server_model_);
  RunSubject& subject = options_.subject;
  subject.model = PrintableText(target.model);
  subject.tokenizer = options_.tokenizer;
  if (subject.backend_name.empty()) subject.backend_name = facts_.name;
  if (subject.label.empty()) subject.label = subject.model;
  if (subject.gpu.empty()) subject.gpu = facts_.device;
  if (subject.dtype.empty()) subject.dtype = facts_.dtype;
  if (subject.weights_gb == 0) subject.weights_gb = facts_.weights_gb;
  const std::string& name = subject.backend_name;
  Say(fmt::format("server    {} at {}, model {}", name.empty() ? "of unknown make" : name,
                  UrlText(target.base), subject.model));
  return {};
}

void ServeBench::DescribeHost() {
  host_ = facts_.lines;
  if (!options_.host_facts || !IsLoopback(options_.target.base)) return;
  const Topology topology = ProbeTopology();
  for (auto& line : HostFactsOf(topology)) host_.push_back(std::move(line));
  // Which of a host's devices a server uses is known only where there is no choice.
  RunSubject& subject = options_.subject;
  if (subject.gpu.empty() && topology.gpus.empty()) subject.gpu = topology.cpu;
  const bool on_gpus = facts_.needs_gpu && !topology.gpus.empty();
  if (subject.gpu.empty() && on_gpus) subject.gpu = topology.gpus.front().name;
  if (subject.num_gpus == 0 && on_gpus && topology.gpus.size() == 1) subject.num_gpus = 1;
  for (const std::string& folder : {server_model_.root, options_.target.model})
    DescribeModelFolder(folder, subject);
  meter_ = GpuEnergyMeter::Open();
  if (meter_ == nullptr) return;
  for (int i = 0; i < kIdleSamples; ++i) {
    std::this_thread::sleep_for(kTick);
    idle_watts_ += meter_->Watts() / kIdleSamples;
  }
}

Status ServeBench::FindCodec() {
  const LoadTarget& target = options_.target;
  std::string folder = options_.tokenizer;
  if (folder.empty() && IsLoopback(target.base)) {
    if (HasTokenizer(server_model_.root)) folder = server_model_.root;
    if (HasTokenizer(target.model)) folder = target.model;
  }
  auto codec = folder.empty() ? RemotePromptCodec(target.base, target.headers, target.model)
                              : LocalPromptCodec(folder);
  if (codec) {
    codec_ = std::move(*codec);
  } else if (!folder.empty()) {
    return codec.error();
  }
  return {};  // a dataset that cannot do without says so
}

Result<BenchWorkload> ServeBench::Workload(int num_prompts, std::uint64_t seed) {
  DatasetOptions dataset = options_.dataset;
  dataset.num_prompts = num_prompts;
  dataset.seed = seed;
  auto workload = MakeWorkload(dataset, codec_.get());
  if (workload && workload->NumRequests() == 0) {
    return ConfigFault(
        fmt::format("--dataset-name {}: there is not one request in it", dataset.name));
  }
  return workload;
}

Status ServeBench::CheckFirst(const BenchWorkload& workload) const {
  const std::int64_t context = server_model_.max_model_len;
  if (options_.dataset.name != "random" || context <= 0) return {};
  const BenchTurn& first = workload.conversations.front().turns.front();
  if (std::int64_t{first.input_tokens} + first.output_tokens <= context) return {};
  return ConfigFault(
      fmt::format("a request of {} + {} tokens is longer than the server's context of {}: "
                  "--random-input-len and --random-output-len make it shorter",
                  first.input_tokens, first.output_tokens, context));
}

Status ServeBench::WarmUp() {
  const int num_warmups = options_.num_warmups;
  auto workload = Workload(num_warmups + 1, options_.dataset.seed + kWarmUpSeed);
  if (!workload) return workload.error();
  QUIRE_RETURN_IF_ERROR(CheckFirst(*workload));
  Say("test      one request");
  auto tested = Load({}, FirstTurns(*workload, 0, 1), /*shown=*/false);
  if (!tested) return tested.error();
  const std::string path = UrlText(options_.target.base) + options_.target.endpoint;
  if (stopped()) return Error{ErrorKind::kUnavailable, "interrupted before the run began", "", ""};
  if (tested->records.empty() || !tested->records.front().ok()) {
    const std::string why =
        tested->records.empty() ? "it was not sent" : tested->records.front().error;
    return Error{ErrorKind::kUnavailable,
                 fmt::format("the test request to {} failed: {}", path, PrintableText(why, 400)),
                 "", ""};
  }
  if (num_warmups == 0) return {};
  Say(fmt::format("warm-up   {} request{}", num_warmups, num_warmups == 1 ? "" : "s"));
  LoadProfile profile;
  profile.max_concurrency = options_.profile.max_concurrency;
  auto warmed =
      Load(profile, FirstTurns(*workload, 1, static_cast<std::size_t>(num_warmups)), true);
  if (!warmed) return warmed.error();
  if (stopped()) return Error{ErrorKind::kUnavailable, "interrupted before the run began", "", ""};
  return {};
}

Result<LoadOutcome> ServeBench::Load(const LoadProfile& profile, const BenchWorkload& workload,
                                     bool shown) {
  RunProgress progress;
  LoadRun run;
  run.target = options_.target;
  run.profile = profile;
  run.num_threads = options_.num_threads;
  run.progress = &progress;
  run.stop = hooks_.stop;
  const TimePoint start = Now();
  const int num_requests = workload.NumRequests();
  const double expected_tokens = ExpectedTokens(workload);
  auto outcome = std::async(std::launch::async, [&] { return RunLoad(run, workload); });
  while (outcome.wait_for(kTick) != std::future_status::ready) {
    if (shown && hooks_.tick)
      hooks_.tick({progress, num_requests, expected_tokens, Seconds(Now() - start)});
  }
  if (shown && hooks_.tick_end) hooks_.tick_end();
  return outcome.get();
}

void ServeBench::CheckLengths(const BenchWorkload& workload) {
  if (lengths_checked_ || server_model_.max_model_len <= 0) return;
  lengths_checked_ = true;
  int too_long = 0;
  for (const BenchConversation& conversation : workload.conversations) {
    std::int64_t context = 0;
    for (const BenchTurn& turn : conversation.turns) {
      context += turn.input_tokens + turn.output_tokens;
      too_long += context > server_model_.max_model_len ? 1 : 0;
    }
  }
  if (too_long == 0) return;
  Say(
      fmt::format("warning   {} of {} requests are longer than the server's context of {} tokens "
                  "and may fail",
                  too_long, workload.NumRequests(), server_model_.max_model_len));
}

Result<ServeRun> ServeBench::Run(const LoadProfile& profile, int num_prompts, std::uint64_t seed) {
  auto workload = Workload(num_prompts, seed);
  if (!workload) return workload.error();
  CheckLengths(*workload);
  RunConfig config = options_.config;
  config.date = DateWord();
  config.num_prompts = workload->NumRequests();
  config.request_rate = profile.request_rate;
  config.burstiness = profile.burstiness;
  config.max_concurrency = profile.max_concurrency;
  config.seed = seed;

  std::optional<MetricsScraper> scraper;
  if (facts_.has_gauges)
    scraper.emplace(HttpClient(options_.target.base, options_.target.headers, kScrapeTimeout));
  const double joules = meter_ != nullptr ? meter_->Joules() : 0;
  const TimePoint start = Now();
  auto outcome = Load(profile, *workload, /*shown=*/true);
  const double used = meter_ != nullptr ? meter_->Joules() - joules : 0;
  const auto samples = scraper ? scraper->Stop() : std::vector<GaugeSample>();
  if (!outcome) return outcome.error();

  ServeRun run;
  run.interrupted = outcome->interrupted;
  run.summary = Summarize(outcome->records, std::move(config), outcome->duration_s);
  run.summary.subject = options_.subject;
  run.summary.host = host_;
  if (meter_ != nullptr) run.summary.energy = EnergyUse{used, idle_watts_};
  FillGauges(samples, start, run.summary.series);
  run.records = std::move(outcome->records);
  return run;
}

}  // namespace quire
