#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "server/metrics_text.h"

namespace quire {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using Labels = std::map<std::string, std::string>;
using Bounds = std::vector<double>;

// vLLM's bounds; some have finer ones before them, because ours are often below its first.
const Bounds& FirstTokenBounds() {
  static const Bounds kBounds = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                 1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
  return kBounds;
}
const Bounds& TokenGapBounds() {
  static const Bounds kBounds = {.0005, .001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3,
                                 .4,    .5,   .75,   1,    2.5, 5,    7.5, 10,   20, 40,  80};
  return kBounds;
}
const Bounds& LatencyBounds() {
  static const Bounds kBounds = {.005, .01, .025, .05, .1, .2, .3, .5,  .8,  1,   1.5, 2,    2.5, 5,
                                 10,   15,  20,   30,  40, 50, 60, 120, 240, 480, 960, 1920, 7680};
  return kBounds;
}
const Bounds& TokenCountBounds() {
  static const Bounds kBounds = [] {
    Bounds bounds;
    for (double scale = 1; scale <= 1e6; scale *= 10)
      for (const double step : {1, 2, 5}) bounds.push_back(scale * step);
    return bounds;
  }();
  return kBounds;
}
const Bounds& StepTokenBounds() {
  static const Bounds kBounds = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
  return kBounds;
}
const Bounds& NumChoicesBounds() {
  static const Bounds kBounds = {1, 2, 5, 10, 20};
  return kBounds;
}

}  // namespace

std::int64_t NumWaiting(const Gauges& gauges) {
  const std::int64_t running = gauges.engine.num_running;
  return std::max<std::int64_t>(gauges.engine.num_waiting, gauges.num_sequences - running);
}

double KvCacheUsage(const EngineStats& stats) {
  if (stats.num_blocks <= 0) return 0;
  return static_cast<double>(stats.num_used_blocks) / static_cast<double>(stats.num_blocks);
}

class Metrics::Impl {
 public:
  explicit Impl(const std::string& model_name)
      : labels_{{"model_name", model_name}, {"engine", "0"}} {}

  Counter& MakeCounter(const std::string& name, const std::string& help, Labels more = {}) {
    more.insert(labels_.begin(), labels_.end());
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(more);
  }
  Gauge& MakeGauge(const std::string& name, const std::string& help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(labels_);
  }
  Histogram& MakeHistogram(const std::string& name, const std::string& help, const Bounds& bounds) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels_,
                                                                                     bounds);
  }
  Counter& MakeSuccess(FinishReason reason) {
    return MakeCounter("vllm:request_success_total", "Count of requests that ended, by reason.",
                       {{"finished_reason", std::string(FinishName(reason))}});
  }
  Counter& MakeOutcome(const char* name) {
    return MakeCounter(std::string("quire:requests_") + name + "_total",
                       std::string("HTTP requests for generation: ") + name + ".");
  }
  Counter& MakeRefused(const char* reason) {
    return MakeCounter("quire:requests_refused_total",
                       "HTTP requests for generation answered 429 or 503.", {{"reason", reason}});
  }

 private:
  Labels labels_;

 public:
  prometheus::Registry registry{prometheus::Registry::InsertBehavior::Merge};

  Gauge& running = MakeGauge("vllm:num_requests_running", "Number of requests in model execution.");
  Gauge& waiting = MakeGauge("vllm:num_requests_waiting", "Number of requests waiting to run.");
  Gauge& kv_usage =
      MakeGauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.");
  Gauge& in_flight =
      MakeGauge("quire:requests_in_flight", "HTTP requests for generation under way.");

  Counter& cache_queries = MakeCounter("vllm:prefix_cache_queries_total",
                                       "Prefix cache queries, in terms of queried tokens.");
  Counter& cache_hits =
      MakeCounter("vllm:prefix_cache_hits_total", "Prefix cache hits, in terms of cached tokens.");
  Counter& preemptions =
      MakeCounter("vllm:num_preemptions_total", "Cumulative number of preemptions.");
  Counter& prompt_tokens =
      MakeCounter("vllm:prompt_tokens_total", "Number of prefill tokens processed.");
  Counter& prompt_tokens_cached =
      MakeCounter("vllm:prompt_tokens_cached_total", "Number of prompt tokens found in the cache.");
  Counter& generation_tokens =
      MakeCounter("vllm:generation_tokens_total", "Number of generation tokens processed.");
  Counter& success_stop = MakeSuccess(FinishReason::kStop);
  Counter& success_length = MakeSuccess(FinishReason::kLength);
  Counter& success_abort = MakeSuccess(FinishReason::kAbort);
  Counter& success_error = MakeSuccess(FinishReason::kError);

  Counter& accepted = MakeOutcome("accepted");
  Counter& completed = MakeOutcome("completed");
  Counter& failed = MakeOutcome("failed");
  Counter& cancelled = MakeOutcome("cancelled");
  Counter& invalid = MakeOutcome("invalid");
  Counter& refused_full = MakeRefused("queue_full");
  Counter& refused_away = MakeRefused("unavailable");
  Counter& restarts =
      MakeCounter("quire:engine_restarts_total", "How often the engine was started again.");

  Histogram& first_token = MakeHistogram("vllm:time_to_first_token_seconds",
                                         "Time to first token in seconds.", FirstTokenBounds());
  Histogram& token_gap = MakeHistogram("vllm:inter_token_latency_seconds",
                                       "Inter-token latency in seconds.", TokenGapBounds());
  Histogram& per_token =
      MakeHistogram("vllm:request_time_per_output_token_seconds",
                    "Time per output token of a request in seconds.", TokenGapBounds());
  Histogram& e2e = MakeHistogram("vllm:e2e_request_latency_seconds",
                                 "End to end request latency in seconds.", LatencyBounds());
  Histogram& queue = MakeHistogram("vllm:request_queue_time_seconds",
                                   "Time spent waiting, in seconds.", LatencyBounds());
  Histogram& inference = MakeHistogram("vllm:request_inference_time_seconds",
                                       "Time spent running, in seconds.", LatencyBounds());
  Histogram& prefill = MakeHistogram("vllm:request_prefill_time_seconds",
                                     "Time spent in prefill, in seconds.", LatencyBounds());
  Histogram& decode = MakeHistogram("vllm:request_decode_time_seconds",
                                    "Time spent in decode, in seconds.", LatencyBounds());
  Histogram& request_prompt_tokens = MakeHistogram(
      "vllm:request_prompt_tokens", "Number of prefill tokens of a request.", TokenCountBounds());
  Histogram& request_generation_tokens =
      MakeHistogram("vllm:request_generation_tokens", "Number of generation tokens of a request.",
                    TokenCountBounds());
  Histogram& request_max_num_generation_tokens =
      MakeHistogram("vllm:request_max_num_generation_tokens",
                    "Most generation tokens among a request's choices.", TokenCountBounds());
  Histogram& params_n =
      MakeHistogram("vllm:request_params_n", "The n request parameter.", NumChoicesBounds());
  Histogram& params_max_tokens = MakeHistogram(
      "vllm:request_params_max_tokens", "The max_tokens request parameter.", TokenCountBounds());
  Histogram& prefill_kv_computed =
      MakeHistogram("vllm:request_prefill_kv_computed_tokens",
                    "Prompt tokens of a request that were computed.", TokenCountBounds());
  Histogram& step_tokens = MakeHistogram("vllm:iteration_tokens_total",
                                         "Number of tokens per engine step.", StepTokenBounds());

  std::mutex mutex;  // of what follows
  EngineStats last;
  Gauge* cache_config = nullptr;

  std::atomic<std::uint64_t> num_prompt_tokens{0};
  std::atomic<std::uint64_t> num_generation_tokens{0};
  std::atomic<std::uint64_t> num_cache_queries{0};
  std::atomic<std::uint64_t> num_cache_hits{0};
};

Metrics::Metrics(const std::string& model_name) : impl_(std::make_unique<Impl>(model_name)) {}

Metrics::~Metrics() = default;

void Metrics::SetModel(const EngineInfo& info) {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->cache_config != nullptr) return;
  impl_->cache_config =
      &prometheus::BuildGauge()
           .Name("vllm:cache_config_info")
           .Help("Information of the LLMEngine CacheConfig.")
           .Register(impl_->registry)
           .Add({{"engine", "0"},
                 {"block_size", std::to_string(info.block_size)},
                 {"num_gpu_blocks", std::to_string(info.num_blocks)},
                 {"kv_cache_memory_bytes", std::to_string(info.kv_cache_bytes)},
                 {"enable_prefix_caching", info.enable_prefix_caching ? "True" : "False"}});
  impl_->cache_config->Set(1);
}

void Metrics::OnStats(const EngineStats& stats) {
  const std::lock_guard lock(impl_->mutex);
  // An engine that was started again counts from zero.
  if (stats.num_steps < impl_->last.num_steps) {
    impl_->restarts.Increment();
    impl_->last = {};
  }
  auto grown = [](std::uint64_t now, std::uint64_t before) {
    return now > before ? now - before : 0;
  };
  const std::uint64_t queries = grown(stats.prefix_cache_queries, impl_->last.prefix_cache_queries);
  const std::uint64_t hits = grown(stats.prefix_cache_hits, impl_->last.prefix_cache_hits);
  impl_->cache_queries.Increment(static_cast<double>(queries));
  impl_->cache_hits.Increment(static_cast<double>(hits));
  impl_->num_cache_queries += queries;
  impl_->num_cache_hits += hits;
  impl_->preemptions.Increment(
      static_cast<double>(grown(stats.num_preemptions, impl_->last.num_preemptions)));
  if (stats.step_tokens > 0) impl_->step_tokens.Observe(stats.step_tokens);
  impl_->last = stats;
}

void Metrics::OnFirstToken(double seconds, std::int64_t num_prompt_tokens,
                           std::int64_t num_cached_tokens) {
  impl_->first_token.Observe(seconds);
  impl_->prompt_tokens.Increment(static_cast<double>(num_prompt_tokens));
  impl_->prompt_tokens_cached.Increment(static_cast<double>(num_cached_tokens));
  impl_->num_prompt_tokens += static_cast<std::uint64_t>(num_prompt_tokens);
}

void Metrics::OnTokens(std::int64_t count) {
  impl_->generation_tokens.Increment(static_cast<double>(count));
  impl_->num_generation_tokens += static_cast<std::uint64_t>(count);
}

void Metrics::OnTokenGap(double seconds) { impl_->token_gap.Observe(seconds); }

void Metrics::OnFinished(const FinishedRequest& request) {
  switch (request.reason) {
    case FinishReason::kLength:
      impl_->success_length.Increment();
      break;
    case FinishReason::kAbort:
      impl_->success_abort.Increment();
      break;
    case FinishReason::kError:
      impl_->success_error.Increment();
      break;
    case FinishReason::kStop:
    case FinishReason::kNone:
      impl_->success_stop.Increment();
  }
  impl_->e2e.Observe(request.e2e_seconds);
  impl_->queue.Observe(request.queue_seconds);
  impl_->prefill.Observe(request.prefill_seconds);
  impl_->decode.Observe(request.decode_seconds);
  impl_->inference.Observe(request.prefill_seconds + request.decode_seconds);
  impl_->request_prompt_tokens.Observe(static_cast<double>(request.num_prompt_tokens));
  impl_->request_generation_tokens.Observe(static_cast<double>(request.num_tokens));
  impl_->params_max_tokens.Observe(static_cast<double>(request.max_tokens));
  impl_->prefill_kv_computed.Observe(
      static_cast<double>(request.num_prompt_tokens - request.num_cached_tokens));
  if (request.num_tokens > 1)
    impl_->per_token.Observe(request.decode_seconds / static_cast<double>(request.num_tokens - 1));
}

void Metrics::OnAborted() { impl_->success_abort.Increment(); }

void Metrics::OnErrored() { impl_->success_error.Increment(); }

void Metrics::OnRequest(int n, std::int64_t max_generation_tokens) {
  impl_->params_n.Observe(n);
  impl_->request_max_num_generation_tokens.Observe(static_cast<double>(max_generation_tokens));
}

void Metrics::OnAccepted() { impl_->accepted.Increment(); }

void Metrics::OnOutcome(Outcome outcome) {
  if (outcome == Outcome::kCompleted) impl_->completed.Increment();
  if (outcome == Outcome::kFailed) impl_->failed.Increment();
  if (outcome == Outcome::kCancelled) impl_->cancelled.Increment();
}

void Metrics::OnRefused(Refusal why) {
  (why == Refusal::kQueueFull ? impl_->refused_full : impl_->refused_away).Increment();
}

void Metrics::OnInvalid() { impl_->invalid.Increment(); }

Totals Metrics::totals() const {
  return {impl_->num_prompt_tokens.load(), impl_->num_generation_tokens.load(),
          impl_->num_cache_queries.load(), impl_->num_cache_hits.load()};
}

std::string Metrics::Scrape(const Gauges& gauges) const {
  impl_->running.Set(gauges.engine.num_running);
  impl_->waiting.Set(static_cast<double>(NumWaiting(gauges)));
  impl_->kv_usage.Set(KvCacheUsage(gauges.engine));
  impl_->in_flight.Set(static_cast<double>(gauges.num_requests));
  return MetricsText(impl_->registry.Collect());
}

}  // namespace quire
