#include "bench/sweep.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "bench/objective.h"

namespace quire {
namespace {

constexpr double kMissed = std::numeric_limits<double>::infinity();

// How much of its bounds a run uses: at most 1 where it meets them all.
Result<double> Strain(const RunSummary& run, std::span<const SweepResult::Objective> objectives) {
  if (run.failed > 0 || run.completed == 0) return kMissed;
  double most = 0;
  for (const SweepResult::Objective& objective : objectives) {
    const auto value = ObjectiveValue(objective, run);
    if (!value) {
      return ConfigFault(fmt::format("the objective {} cannot be judged: the run has no such value",
                                     ObjectiveName(objective)));
    }
    most = std::max(most, *value / objective.bound_ms);
  }
  return most;
}

// Owns the points of one search.
class RateSearch {
 public:
  RateSearch(const SweepOptions& options, const std::function<Result<RunSummary>(double rate)>& run)
      : options_(options), run_(run) {}

  Status Search() {
    for (double rate = options_.low; More();) {
      QUIRE_RETURN_IF_ERROR(Measure(rate));
      const auto high = FirstMissed();
      if (high == points_.end()) {
        if (points_.empty() || points_.rbegin()->first >= options_.high) return {};
        rate = std::min(2 * points_.rbegin()->first, options_.high);
      } else if (high == points_.begin() ||
                 high->first <= std::prev(high)->first * (1 + options_.tolerance)) {
        const auto doubtful = Doubtful(high);
        if (!doubtful) return {};
        rate = *doubtful;
      } else {
        rate = (std::prev(high)->first + high->first) / 2;
      }
    }
    return {};
  }

  SweepResult Take() && {
    SweepResult result;
    result.objectives = options_.objectives;
    const auto missed = FirstMissed();
    result.best_rate = missed == points_.begin() ? 0 : std::prev(missed)->first;
    for (auto& [rate, measured] : points_)
      result.points.push_back({rate, measured.strain <= 1, std::move(measured.run)});
    return result;
  }

  bool stopped() const { return options_.stop != nullptr && *options_.stop; }
  bool empty() const { return points_.empty(); }

 private:
  struct Measured {
    double strain = 0;
    bool twice = false;
    RunSummary run;
  };
  using Points = std::map<double, Measured>;

  bool More() const { return num_runs_ < options_.max_runs && !stopped(); }

  Status Measure(double rate) {
    ++num_runs_;
    auto run = run_(rate);
    if (stopped()) return {};
    if (!run) return run.error();
    auto strain = Strain(*run, options_.objectives);
    if (!strain) return strain.error();
    const bool again = points_.contains(rate);
    points_[rate] = {*strain, again, std::move(*run)};
    return {};
  }

  Points::iterator FirstMissed() {
    return std::find_if(points_.begin(), points_.end(),
                        [](const auto& point) { return point.second.strain > 1; });
  }

  // At the end of a search, a rate of its bracket whose verdict the neighbours contradict: it
  // missed while a higher rate met or did better, or the strain jumps within the tolerance from
  // less than half of the bound to beyond it. The missed end is doubted first, then the other.
  std::optional<double> Doubtful(Points::iterator missed) {
    const auto above = std::next(missed);
    const bool worse_than_above =
        above != points_.end() &&
        (above->second.strain <= 1 || above->second.strain < missed->second.strain);
    const bool lowest = missed == points_.begin();
    const bool jump = !lowest && std::prev(missed)->second.strain < 0.5;
    if (!missed->second.twice && (lowest || jump || worse_than_above)) return missed->first;
    if (jump && !std::prev(missed)->second.twice) return std::prev(missed)->first;
    return {};
  }

  const SweepOptions& options_;
  const std::function<Result<RunSummary>(double rate)>& run_;
  Points points_;
  int num_runs_ = 0;
};

Status CheckSweepOptions(const SweepOptions& options) {
  if (!(options.low > 0) || !std::isfinite(options.low))
    return ConfigFault("a sweep's lowest rate must be more than 0");
  if (!(options.high >= options.low) || !std::isfinite(options.high))
    return ConfigFault("a sweep's highest rate must be finite and no less than its lowest");
  if (options.max_runs < 1) return ConfigFault("a sweep needs at least one run");
  if (!(options.tolerance >= 0.001 && options.tolerance <= 1))
    return ConfigFault("a sweep's tolerance must be from 0.001 to 1");
  if (options.objectives.empty()) return ConfigFault("a sweep needs an objective");
  return {};
}

}  // namespace

Result<SweepResult> FindHighestRate(const SweepOptions& options,
                                    const std::function<Result<RunSummary>(double rate)>& run) {
  QUIRE_RETURN_IF_ERROR(CheckSweepOptions(options));
  RateSearch search(options, run);
  const Status status = search.Search();
  if (!status.ok() && (!search.stopped() || search.empty())) return status.error();
  return std::move(search).Take();
}

}  // namespace quire
