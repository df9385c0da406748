// Scheduler: decides what runs in the next step, and owns every Sequence. One thread, no locks, no
// device.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "cache/kv_cache_manager.h"
#include "sched/output.h"
#include "sched/request.h"
#include "sched/step_plan.h"

namespace quire {

struct SchedulerConfig {
  std::int32_t max_num_seqs = 64;              // sequences running at once = number of slots
  std::int32_t max_num_batched_tokens = 2048;  // token budget of a step
  std::int32_t max_model_len = 2048;
  std::int32_t max_steps_in_flight = 1;
  std::vector<TokenId> eos_token_ids;  // end a sequence unless ignore_eos
  bool look_ahead = true;              // false, for comparison: admits whatever fits at the moment
};

// A step is planned by Schedule(), run elsewhere, and retired by Finish() in the order of planning;
// up to max_steps_in_flight may lie between the two. Decode first, then chunked prefill of running
// sequences, then admission (first come, first served; looks ahead so that a full cache does not
// thrash); preemption by recomputation, the youngest first.
class Scheduler {
 public:
  Scheduler(const SchedulerConfig& config, KvCacheManager& cache, const Clock& clock);
  ~Scheduler();

  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Whether the request can ever run: it has a prompt, its id is new, prompt + max_tokens ≤
  // max_model_len and its blocks exist in the pool. Add() aborts on one that does not: the engine
  // asks before.
  bool Fits(const Request& request) const;
  void Add(Request request);
  // True where it was known and not finished. Its blocks and slot are freed when the last step in
  // flight that names it retires; no further output comes for it.
  bool Cancel(RequestId id);

  // All blocks of the plan are reserved, or nothing changed (rule 6). Empty: nothing can be added
  // now; with no step in flight that is only so when there is no work at all.
  StepPlan Schedule();
  // Retires the oldest planned step. The outputs of requests, in the plan's order.
  std::vector<RequestOutput> Finish(const StepPlan& plan, const StepOutput& output);

  bool HasWork() const;       // anything waiting, running or in flight
  EngineStats Stats() const;  // step_tokens is left 0

  void CheckInvariants() const;  // aborts where broken; O(sequences + blocks), for tests

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
