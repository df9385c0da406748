// Objectives of latency, as flags say them: "ttft:p99:500", "tpot:50".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "bench/run_summary.h"
#include "bench/sweep_result.h"

namespace quire {

// METRIC:MS (of the 99th percentile) or METRIC:pNN:MS, METRIC one of ttft, tpot, itl, e2el. The
// error names `flag`.
Result<SweepResult::Objective> ParseObjective(std::string_view text, const std::string& flag);

// METRIC:MS as --goodput takes it, METRIC one of ttft, tpot, e2el.
Result<std::pair<std::string, double>> ParseGoodput(std::string_view text, const std::string& flag);

// "TTFT P99 < 500 ms", and its first two words alone.
std::string ObjectiveName(const SweepResult::Objective& objective);
std::string ObjectiveMetricName(const SweepResult::Objective& objective);

// "99", "99.9": a percentile as vLLM writes it into names.
std::string PercentWord(double percent);

// The distribution of that name (ttft, tpot, itl, e2el); null for another name.
const Distribution* MetricOf(const RunSummary& run, std::string_view metric);

// The value that `objective` bounds, in ms; nothing where the run does not have it.
std::optional<double> ObjectiveValue(const SweepResult::Objective& objective,
                                     const RunSummary& run);

}  // namespace quire
