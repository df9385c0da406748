// OfflineBench: an engine in this process under load: what the steps give without a server.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "bench/request_record.h"
#include "engine/load.h"
#include "sched/request.h"

namespace quire {

struct OfflineRequest {
  std::vector<TokenId> prompt;
  std::int32_t output_tokens = 0;
};

// Prompts of random tokens. Output lengths are `output_len`, or exponential with that mean and at
// most `max_output_len` where that is not 0. A function of the seed alone.
struct OfflineLoad {
  int num_prompts = 0;
  std::int32_t input_len = 0;
  std::int32_t output_len = 0;
  std::int32_t max_output_len = 0;
  std::int32_t vocab_size = 0;
  std::uint64_t seed = 0;
};
std::vector<OfflineRequest> MakeOfflineRequests(const OfflineLoad& load);

// What one engine step took; microseconds.
struct OfflineStep {
  double at_s = 0;  // when the host had its results, from the run's start
  std::int32_t tokens = 0;
  std::int32_t running = 0, waiting = 0;
  double kv_cache_usage = 0;
  StepTimes times;
};

struct OfflineRun {
  std::vector<RequestRecord> records;  // in the order of the requests
  double duration_s = 0;
  std::vector<OfflineStep> steps;
  std::uint64_t num_preemptions = 0;
  std::uint64_t prompt_tokens_computed = 0;  // recomputation after preemptions included
};

// Owns the engine.
class OfflineBench {
 public:
  static Result<std::unique_ptr<OfflineBench>> Load(const EngineConfig& config,
                                                    const LoadProgressHandler& progress);
  ~OfflineBench();

  const EngineInfo& info() const;
  // Submits all requests at once and waits for their ends, or until *stop (null: never). Nothing is
  // found in the prefix cache of earlier runs.
  OfflineRun Run(std::span<const OfflineRequest> requests, const SamplingParams& sampling,
                 const std::atomic<bool>* stop);

 private:
  class Impl;
  explicit OfflineBench(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
