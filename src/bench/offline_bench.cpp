#include "bench/offline_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/clock.h"

namespace quire {
namespace {

constexpr auto kStopPoll = std::chrono::milliseconds(50);

double UnitInterval(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1p-53;
}

}  // namespace

std::vector<OfflineRequest> MakeOfflineRequests(const OfflineLoad& load) {
  std::mt19937_64 random(load.seed);
  std::vector<OfflineRequest> requests(static_cast<std::size_t>(load.num_prompts));
  for (OfflineRequest& request : requests) {
    for (std::int32_t i = 0; i < load.input_len; ++i) {
      request.prompt.push_back(
          static_cast<TokenId>(random() % static_cast<std::uint64_t>(load.vocab_size)));
    }
    request.output_tokens = load.output_len;
    if (load.max_output_len > 0) {
      const double length = -std::log1p(-UnitInterval(random)) * load.output_len;
      request.output_tokens =
          std::clamp(static_cast<std::int32_t>(std::lround(length)), 1, load.max_output_len);
    }
  }
  return requests;
}

// Owns the engine and what its thread tells of the run that is under way.
class OfflineBench::Impl {
 public:
  Status Load(const EngineConfig& config, const LoadProgressHandler& progress) {
    auto engine =
        LoadEngine(config, progress, [this](const EngineReport& report) { Take(report); });
    if (!engine) return engine.error();
    engine_ = std::move(engine).value();
    return {};
  }

  const EngineInfo& info() const { return engine_->info(); }
  OfflineRun Run(std::span<const OfflineRequest> requests, const SamplingParams& sampling,
                 const std::atomic<bool>* stop);

 private:
  void Take(const EngineReport& report);
  void TakeOutput(const RequestOutput& output, double at_s);

  std::mutex mutex_;  // of everything below but the engine
  std::condition_variable done_;
  OfflineRun run_;
  std::unordered_map<RequestId, std::size_t> records_;
  std::vector<double> last_s_;  // when each request's newest tokens came
  std::size_t num_ended_ = 0;
  TimePoint begin_;
  EngineStats first_stats_, stats_;
  std::uint64_t last_id_ = 0;
  std::unique_ptr<Engine> engine_;  // last: its thread uses the above
};

void OfflineBench::Impl::TakeOutput(const RequestOutput& output, double at_s) {
  const auto found = records_.find(output.id);
  if (found == records_.end()) return;
  RequestRecord& record = run_.records[found->second];
  double& last_s = last_s_[found->second];
  for (std::size_t i = 0; i < output.tokens.size(); ++i) {
    if (record.output_tokens++ == 0) {
      record.ttft_s = at_s;
    } else {
      record.itl.push_back(static_cast<float>(at_s - last_s));
    }
    last_s = at_s;
  }
  record.latency_s = last_s;
  if (output.finish_reason == FinishReason::kNone) return;
  if (output.finish_reason == FinishReason::kError || output.finish_reason == FinishReason::kAbort)
    record.error = output.error.empty() ? "aborted" : output.error;
  ++num_ended_;
}

void OfflineBench::Impl::Take(const EngineReport& report) {
  const std::lock_guard lock(mutex_);
  stats_ = report.stats;
  if (records_.empty()) return;
  const double at_s = Seconds(Now() - begin_);
  if (report.stats.step_tokens > 0) {
    const EngineStats& s = report.stats;
    run_.steps.push_back({at_s, s.step_tokens, s.num_running, s.num_waiting,
                          static_cast<double>(s.num_used_blocks) /
                              static_cast<double>(std::max<std::int64_t>(1, s.num_blocks)),
                          s.step_times});
  }
  for (const RequestOutput& output : report.outputs) TakeOutput(output, at_s);
  if (num_ended_ == records_.size()) done_.notify_all();
}

OfflineRun OfflineBench::Impl::Run(std::span<const OfflineRequest> requests,
                                   const SamplingParams& sampling, const std::atomic<bool>* stop) {
  std::vector<Request> made;
  {
    const std::lock_guard lock(mutex_);
    run_ = {};
    run_.records.resize(requests.size());
    last_s_.assign(requests.size(), 0);
    num_ended_ = 0;
    records_.clear();
    first_stats_ = stats_;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      Request request;
      request.id = {++last_id_};
      request.prompt = requests[i].prompt;
      request.sampling = sampling;
      request.sampling.seed += i;
      request.sampling.max_tokens = requests[i].output_tokens;
      request.cache_salt = std::to_string(last_id_);
      records_.emplace(request.id, i);
      run_.records[i].conversation = static_cast<int>(i);
      run_.records[i].input_tokens = static_cast<int>(requests[i].prompt.size());
      made.push_back(std::move(request));
    }
    begin_ = Now();
  }
  for (Request& request : made) engine_->Submit(std::move(request));
  std::unique_lock lock(mutex_);
  bool cancelled = false;
  while (num_ended_ < records_.size()) {
    done_.wait_for(lock, kStopPoll);
    if (cancelled || stop == nullptr || !stop->load()) continue;
    cancelled = true;
    for (const auto& [id, index] : records_) engine_->Cancel(id);
  }
  for (const RequestRecord& record : run_.records)
    run_.duration_s = std::max(run_.duration_s, record.latency_s);
  run_.num_preemptions = stats_.num_preemptions - first_stats_.num_preemptions;
  run_.prompt_tokens_computed = stats_.prompt_tokens_computed - first_stats_.prompt_tokens_computed;
  records_.clear();
  return std::move(run_);
}

OfflineBench::OfflineBench(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OfflineBench::~OfflineBench() = default;

Result<std::unique_ptr<OfflineBench>> OfflineBench::Load(const EngineConfig& config,
                                                         const LoadProgressHandler& progress) {
  auto impl = std::make_unique<Impl>();
  QUIRE_RETURN_IF_ERROR(impl->Load(config, progress));
  return std::unique_ptr<OfflineBench>(new OfflineBench(std::move(impl)));
}

const EngineInfo& OfflineBench::info() const { return impl_->info(); }

OfflineRun OfflineBench::Run(std::span<const OfflineRequest> requests,
                             const SamplingParams& sampling, const std::atomic<bool>* stop) {
  return impl_->Run(requests, sampling, stop);
}

}  // namespace quire
