#include "engine/engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "cache/kv_cache_manager.h"
#include "runtime/step_profiler.h"
#include "sched/scheduler.h"

namespace quire {
namespace {

KvCacheConfig CacheConfig(const EngineInfo& info) {
  std::random_device device;
  KvCacheConfig config;
  config.num_blocks = info.num_blocks;
  config.block_size = info.block_size;
  config.enable_prefix_caching = info.enable_prefix_caching;
  config.hash_seed = (std::uint64_t{device()} << 32) | device();
  return config;
}

SchedulerConfig PolicyOf(const EngineInfo& info, int max_steps_in_flight) {
  SchedulerConfig config;
  config.max_num_seqs = info.max_num_seqs;
  config.max_num_batched_tokens = info.max_num_batched_tokens;
  config.max_model_len = info.max_model_len;
  config.max_steps_in_flight = max_steps_in_flight;
  config.eos_token_ids = info.eos_token_ids;
  return config;
}

}  // namespace

// Owns the thread and all that only it may touch. Requests and cancellations reach it through the
// inbox.
class Engine::Impl {
 public:
  Impl(std::unique_ptr<Executor> executor, ReportHandler on_report, ProfileOptions profile)
      : executor_(std::move(executor)),
        on_report_(std::move(on_report)),
        cache_(CacheConfig(executor_->info())),
        scheduler_(PolicyOf(executor_->info(), executor_->max_steps_in_flight()), cache_, clock_),
        profiler_(profile.num_steps > 0
                      ? std::make_unique<StepProfiler>(std::move(profile), *executor_)
                      : nullptr),
        thread_([this] { Loop(); }) {}

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  const EngineInfo& info() const { return executor_->info(); }

  void Put(std::variant<Request, RequestId> message) {
    {
      const std::lock_guard lock(mutex_);
      inbox_.push_back(std::move(message));
    }
    wake_.notify_one();
  }

 private:
  // Takes in what came; waits for something where there is nothing else to do. False: the end.
  bool Drain(bool wait, EngineReport& report);
  void Admit(Request request, EngineReport& report);
  std::string Refusal(const Request& request) const;
  void Loop();
  void FinishOldest(EngineReport& report);
  void Report(EngineReport report);
  void Enter(HostPhase phase) {
    if (profiler_) profiler_->Enter(phase);
  }

  const std::unique_ptr<Executor> executor_;
  const ReportHandler on_report_;
  const Clock clock_;
  KvCacheManager cache_;
  Scheduler scheduler_;
  struct InFlight {
    std::shared_ptr<const StepPlan> plan;
    Duration launch_time;  // planning included
  };
  std::deque<InFlight> in_flight_;
  std::vector<std::variant<Request, RequestId>> taken_;
  const std::unique_ptr<StepProfiler> profiler_;  // null: no profile is wanted

  std::mutex mutex_;  // of the inbox
  std::condition_variable wake_;
  std::vector<std::variant<Request, RequestId>> inbox_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

bool Engine::Impl::Drain(bool wait, EngineReport& report) {
  {
    std::unique_lock lock(mutex_);
    if (wait) wake_.wait(lock, [this] { return stopping_ || !inbox_.empty(); });
    if (stopping_) return false;
    taken_.swap(inbox_);
  }
  for (auto& message : taken_) {
    if (auto* request = std::get_if<Request>(&message)) {
      Admit(std::move(*request), report);
    } else {
      scheduler_.Cancel(std::get<RequestId>(message));
    }
  }
  if (!taken_.empty()) Report(std::move(report));
  report = {};
  taken_.clear();
  return true;
}

// The front end has checked all this; the engine does not rely on it (rule 9).
std::string Engine::Impl::Refusal(const Request& request) const {
  const EngineInfo& info = executor_->info();
  const std::size_t length =
      request.prompt.size() + static_cast<std::size_t>(request.sampling.max_tokens);
  if (request.prompt.empty() || request.sampling.max_tokens < 1) return "the request is empty";
  if (length > static_cast<std::size_t>(info.max_model_len)) {
    return fmt::format("the request needs {} tokens, the model has {}", length, info.max_model_len);
  }
  const auto pool =
      static_cast<std::size_t>(info.num_blocks) * static_cast<std::size_t>(info.block_size);
  if (length > pool)
    return fmt::format("the request needs {} tokens of KV cache, there are {}", length, pool);
  for (const auto* ids : {&request.prompt, &request.delivered, &request.sampling.allowed_token_ids,
                          &request.sampling.stop_token_ids}) {
    for (const TokenId id : *ids) {
      if (id < 0 || id >= info.vocab_size) return "a token id is outside of the vocabulary";
    }
  }
  for (const auto& [id, bias] : request.sampling.logit_bias) {
    if (id < 0 || id >= info.vocab_size) return "a token id is outside of the vocabulary";
  }
  for (const auto& word : request.sampling.bad_words) {
    if (word.empty()) return "a bad word is empty";
    for (const TokenId id : word) {
      if (id < 0 || id >= info.vocab_size) return "a token id is outside of the vocabulary";
    }
  }
  const std::int32_t top =
      std::max(request.sampling.num_logprobs, request.sampling.num_prompt_logprobs);
  if (top > info.vocab_size) return "more log-probabilities than the vocabulary has tokens";
  if (!scheduler_.Fits(request)) return "the request's id or its delivered tokens do not fit";
  return "";
}

void Engine::Impl::Admit(Request request, EngineReport& report) {
  const std::string refusal = Refusal(request);
  if (refusal.empty()) {
    scheduler_.Add(std::move(request));
    return;
  }
  RequestOutput output;
  output.id = request.id;
  output.finish_reason = FinishReason::kError;
  output.error = refusal;
  report.outputs.push_back(std::move(output));
}

void Engine::Impl::Report(EngineReport report) {
  const std::int32_t step_tokens = report.stats.step_tokens;
  const StepTimes times = report.stats.step_times;
  report.stats = scheduler_.Stats();
  report.stats.step_tokens = step_tokens;
  report.stats.step_times = times;
  on_report_(std::move(report));
}

void Engine::Impl::FinishOldest(EngineReport& report) {
  const auto [plan, launch_time] = std::move(in_flight_.front());
  in_flight_.pop_front();
  Enter(HostPhase::kWait);
  const StepOutput output = executor_->Finish();
  Enter(HostPhase::kTakeIn);
  const TimePoint begin = Now();
  report.outputs = scheduler_.Finish(*plan, output);
  report.stats.step_tokens = plan->num_tokens();
  report.stats.step_times = output.times;
  report.stats.step_times.host = static_cast<float>(1e6 * Seconds(launch_time + (Now() - begin)));
  Report(std::move(report));
  report = {};
  if (profiler_) profiler_->Finished(output.times);
}

void Engine::Impl::Loop() {
  EngineReport report;
  while (true) {
    const bool wait = in_flight_.empty() && !scheduler_.HasWork();
    Enter(wait ? HostPhase::kIdle : HostPhase::kPlan);
    if (!Drain(wait, report)) break;
    Enter(HostPhase::kPlan);
    const TimePoint begin = Now();
    auto plan = std::make_shared<const StepPlan>(scheduler_.Schedule());
    const bool idle = plan->empty();
    if (!idle) {
      Enter(HostPhase::kLaunch);
      executor_->Submit(plan);
      if (profiler_) profiler_->Launched(*plan);
      in_flight_.push_back({std::move(plan), Now() - begin});
    }
    const bool full = static_cast<int>(in_flight_.size()) >= executor_->max_steps_in_flight();
    // Wait for the oldest step only when the pipeline is full or there was nothing to add to it.
    if (!in_flight_.empty() && (idle || full)) FinishOldest(report);
  }
  while (!in_flight_.empty()) {  // the device may still be reading the plans
    executor_->Finish();
    in_flight_.pop_front();
  }
  if (profiler_) profiler_->End();
}

Engine::Engine(std::unique_ptr<Executor> executor, ReportHandler on_report, ProfileOptions profile)
    : impl_(std::make_unique<Impl>(std::move(executor), std::move(on_report), std::move(profile))) {
}

Engine::~Engine() = default;

const EngineInfo& Engine::info() const { return impl_->info(); }

void Engine::Submit(Request request) { impl_->Put(std::move(request)); }

void Engine::Cancel(RequestId id) { impl_->Put(id); }

}  // namespace quire
