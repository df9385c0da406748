// FindHighestRate: the highest request rate that meets objectives of latency.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "base/result.h"
#include "bench/run_summary.h"
#include "bench/sweep_result.h"

namespace quire {

struct SweepOptions {
  double low = 1;      // requests/s; the search begins here
  double high = 4096;  // and does not go beyond
  int max_runs = 20;
  double tolerance = 0.05;  // of the rate: how near the highest one must be
  std::vector<SweepResult::Objective> objectives;
  const std::atomic<bool>* stop = nullptr;  // set: end now with what there is
};

// Doubles the rate from `low` until a run misses an objective, then bisects. A run with a failed
// request misses. Runs of one rate differ, and a single unlucky one must not decide: a point that
// contradicts its neighbours is run a second time, and the second run counts. A run that was under
// way when `stop` was set is left out. An error of `run` is the result's, unless there are points
// already and `stop` is set.
Result<SweepResult> FindHighestRate(const SweepOptions& options,
                                    const std::function<Result<RunSummary>(double rate)>& run);

}  // namespace quire
