// Metrics: the numbers of /metrics, under vLLM's names and labels, and Quire's own (quire:…).
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "sched/output.h"
#include "server/choice.h"

namespace quire {

// One engine request that ended by itself.
struct FinishedRequest {
  FinishReason reason = FinishReason::kStop;
  double e2e_seconds = 0;
  double queue_seconds = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  std::int64_t num_prompt_tokens = 0;
  std::int64_t num_cached_tokens = 0;
  std::int64_t num_tokens = 0;
  std::int64_t max_tokens = 0;
};

// How an accepted HTTP request ended.
enum class Outcome : unsigned char { kCompleted, kFailed, kCancelled };
enum class Refusal : unsigned char { kQueueFull, kUnavailable };

// What the front end alone knows when it is asked.
struct Gauges {
  EngineStats engine;
  std::int64_t num_sequences = 0;  // admitted and not ended, wherever they are
  std::int64_t num_requests = 0;   // HTTP requests in flight
};

// Sums for the log's line.
struct Totals {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t generation_tokens = 0;
  std::uint64_t cache_queries = 0;
  std::uint64_t cache_hits = 0;
};

// What waits: in the engine, or on its way to it.
std::int64_t NumWaiting(const Gauges& gauges);
double KvCacheUsage(const EngineStats& stats);

class Metrics {
 public:
  explicit Metrics(const std::string& model_name);
  ~Metrics();

  void SetModel(const EngineInfo& info);
  void OnStats(const EngineStats& stats);

  void OnFirstToken(double seconds, std::int64_t num_prompt_tokens, std::int64_t num_cached_tokens);
  void OnTokens(std::int64_t count);
  void OnTokenGap(double seconds);
  void OnFinished(const FinishedRequest& request);
  void OnAborted();  // an engine request whose client went away
  void OnErrored();  // one that failed
  void OnRequest(int n,
                 std::int64_t max_generation_tokens);  // a prompt of a completed HTTP request

  void OnAccepted();
  void OnOutcome(Outcome outcome);
  void OnRefused(Refusal why);
  void OnInvalid();

  Totals totals() const;
  // Prometheus' text format.
  std::string Scrape(const Gauges& gauges) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
