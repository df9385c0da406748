#include "bench/objective.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace quire {
namespace {

constexpr std::string_view kLatencyMetrics[] = {"ttft", "tpot", "itl", "e2el"};

std::optional<double> ObjectiveNumber(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

std::string Upper(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return result;
}

}  // namespace

Result<SweepResult::Objective> ParseObjective(std::string_view text, const std::string& flag) {
  SweepResult::Objective objective;
  const std::size_t first = text.find(':');
  const std::size_t last = text.rfind(':');
  const Error fault =
      ConfigFault(flag +
                  ": an objective is METRIC:MS or METRIC:pNN:MS, as ttft:500 or tpot:p90:50, with "
                  "METRIC one of ttft, tpot, itl, e2el");
  if (first == std::string_view::npos) return fault;
  objective.metric = text.substr(0, first);
  if (std::find(std::begin(kLatencyMetrics), std::end(kLatencyMetrics), objective.metric) ==
      std::end(kLatencyMetrics))
    return fault;
  const auto bound = ObjectiveNumber(text.substr(last + 1));
  if (!bound || *bound <= 0) return fault;
  objective.bound_ms = *bound;
  if (first == last) return objective;
  const std::string_view middle = text.substr(first + 1, last - first - 1);
  if (middle.empty() || (middle[0] != 'p' && middle[0] != 'P')) return fault;
  const auto percent = ObjectiveNumber(middle.substr(1));
  if (!percent || *percent < 0 || *percent > 100) return fault;
  objective.percentile = *percent;
  return objective;
}

Result<std::pair<std::string, double>> ParseGoodput(std::string_view text,
                                                    const std::string& flag) {
  const std::size_t colon = text.find(':');
  const Error fault = ConfigFault(
      flag + ": a bound is METRIC:MS, as ttft:500, with METRIC one of ttft, tpot, e2el");
  if (colon == std::string_view::npos) return fault;
  const std::string metric(text.substr(0, colon));
  const auto bound = ObjectiveNumber(text.substr(colon + 1));
  if ((metric != "ttft" && metric != "tpot" && metric != "e2el") || !bound || *bound < 0)
    return fault;
  return std::pair(metric, *bound);
}

std::string PercentWord(double percent) {
  return percent == std::floor(percent) && std::abs(percent) < 1e6
             ? fmt::format("{}", static_cast<int>(percent))
             : fmt::format("{}", percent);
}

std::string ObjectiveMetricName(const SweepResult::Objective& objective) {
  return fmt::format("{} P{}", Upper(objective.metric), PercentWord(objective.percentile));
}

std::string ObjectiveName(const SweepResult::Objective& objective) {
  return fmt::format("{} < {} ms", ObjectiveMetricName(objective), PercentWord(objective.bound_ms));
}

const Distribution* MetricOf(const RunSummary& run, std::string_view metric) {
  if (metric == "ttft") return &run.ttft;
  if (metric == "tpot") return &run.tpot;
  if (metric == "itl") return &run.itl;
  if (metric == "e2el") return &run.e2el;
  return nullptr;
}

std::optional<double> ObjectiveValue(const SweepResult::Objective& objective,
                                     const RunSummary& run) {
  const Distribution* metric = MetricOf(run, objective.metric);
  if (metric == nullptr || metric->count == 0) return {};
  const auto value = metric->percentiles.find(objective.percentile);
  if (value != metric->percentiles.end()) return value->second;
  if (objective.percentile == 50) return metric->median;
  if (objective.percentile == 100) return metric->max;
  return {};
}

}  // namespace quire
