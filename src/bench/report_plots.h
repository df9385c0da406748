// Which plots a report shows, and of what.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "bench/run_summary.h"
#include "bench/svg_plot.h"
#include "bench/sweep_result.h"

namespace quire {

// Runs under the names that the whole report calls them by; the n-th has colour n.
struct NamedRuns {
  std::span<const RunSummary> runs;
  std::vector<std::string> names;
};

// Each gives only plots that have data.
std::vector<Plot> TimePlots(const NamedRuns& runs);          // over the time of the run
std::vector<Plot> DistributionPlots(const NamedRuns& runs);  // CDFs
std::vector<Plot> LoadPlots(const NamedRuns& runs);          // TTFT against requests in flight
std::vector<Plot> TradeoffPlots(const NamedRuns& runs);      // one point a run; of two and more
std::vector<Plot> SweepPlots(const SweepResult& sweep);

// "TTFT" and the like in words: "Time to first token (TTFT)".
std::string MetricTitle(std::string_view metric);
// A percentile in ms; NaN where the run does not have it.
double PercentileOf(const RunSummary& run, const std::string& metric, double percent);
// "12/s"; "all at once" for infinity.
std::string RateText(double rate);

// Of (latency, throughput) pairs those that no other beats in both.
std::vector<bool> ParetoPoints(const std::vector<PlotXy>& points);
// The median of y for stretches of x with `min_count` points and more, at the median of x; the
// stretches are `bins` equal parts of the range.
std::vector<PlotXy> BinnedMedians(const std::vector<PlotXy>& points, int bins,
                                  std::size_t min_count);

}  // namespace quire
