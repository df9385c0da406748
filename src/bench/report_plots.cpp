#include "bench/report_plots.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "bench/html_text.h"
#include "bench/objective.h"

namespace quire {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
constexpr std::array<const char*, 4> kLatencies = {"ttft", "tpot", "itl", "e2el"};
constexpr int kTimeBins = 40;
constexpr int kLoadBins = 16;
constexpr std::size_t kMaxClouds = 3;  // more runs than that hide each other's dots

struct ReportUnit {
  double per;  // of the shown unit in one of the kept
  const char* name;
};

ReportUnit LatencyUnit(double max_ms) {
  return max_ms >= 20000 ? ReportUnit{1e-3, "s"} : ReportUnit{1, "ms"};
}

ReportUnit TimeUnit(double max_s) {
  if (max_s > 4 * 3600) return {1.0 / 3600, "h"};
  return max_s > 1200 ? ReportUnit{1.0 / 60, "min"} : ReportUnit{1, "s"};
}

std::string InUnit(double ms, const ReportUnit& unit) {
  return fmt::format("{} {}", ReadableNumber(ms * unit.per), unit.name);
}

std::string Uppercase(std::string_view text) {
  std::string upper(text);
  for (char& c : upper)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return upper;
}

template <class Visit>
void ForEachPoint(const Plot& plot, const Visit& visit) {
  for (const PlotSeries& s : plot.series)
    for (const PlotXy& p : s.points)
      if (IsPlottable(p.first) && IsPlottable(p.second)) visit(p);
  for (const PlotMark& m : plot.marks)
    if (IsPlottable(m.at.first) && IsPlottable(m.at.second)) visit(m.at);
}

// The range of the positive values on one axis.
PlotXy PositiveRange(const Plot& plot, double PlotXy::*axis) {
  PlotXy range{std::numeric_limits<double>::infinity(), 0};
  ForEachPoint(plot, [&](const PlotXy& p) {
    if (p.*axis > 0) range = {std::min(range.first, p.*axis), std::max(range.second, p.*axis)};
  });
  return range;
}

void ScaleValues(Plot& plot, double PlotXy::*axis, double factor) {
  for (PlotSeries& s : plot.series)
    for (PlotXy& p : s.points) p.*axis *= factor;
  for (PlotMark& m : plot.marks) m.at.*axis *= factor;
  for (PlotRule& r : plot.rules)
    if (r.vertical == (axis == &PlotXy::first)) r.at *= factor;
}

// Gives a latency axis its unit and, where the values are far apart, a logarithmic scale.
void FinishLatencyAxis(Plot& plot, double PlotXy::*which, PlotXy range) {
  PlotAxis& axis = which == &PlotXy::first ? plot.x : plot.y;
  const ReportUnit unit = LatencyUnit(range.second);
  ScaleValues(plot, which, unit.per);
  axis.label += fmt::format(", {}", unit.name);
  axis.log = IsWide(range.first, range.second);
  if (axis.lo) *axis.lo *= unit.per;
  if (axis.log) axis.label += ", log scale";
}

void FinishLatencyAxis(Plot& plot, double PlotXy::*which) {
  FinishLatencyAxis(plot, which, PositiveRange(plot, which));
}

// One range for all, so that what happened at a time is at the same place in each.
void FinishTimeAxes(std::vector<Plot>& plots) {
  double last = 0;
  for (const Plot& plot : plots) last = std::max(last, PositiveRange(plot, &PlotXy::first).second);
  const ReportUnit unit = TimeUnit(last);
  for (Plot& plot : plots) {
    ScaleValues(plot, &PlotXy::first, unit.per);
    plot.x.label = fmt::format("Time since the start, {}", unit.name);
    plot.x.tight = true;
    if (last > 0) plot.x.hi = last * unit.per;
  }
}

void KeepIfAny(std::vector<Plot>& plots, Plot plot) {
  if (HasData(plot)) plots.push_back(std::move(plot));
}

// A line a run of what `of` says of each second; a negative value is unknown.
void AddSeriesLines(Plot& plot, const NamedRuns& runs, const std::string& suffix, bool dashed,
                    const std::function<double(const SeriesPoint&)>& of) {
  for (std::size_t i = 0; i < runs.runs.size(); ++i) {
    PlotSeries line;
    line.name = suffix.empty() ? runs.names[i] : runs.names[i] + suffix;
    line.color = static_cast<int>(i);
    line.dashed = dashed;
    for (const SeriesPoint& point : runs.runs[i].series) {
      const double value = of(point);
      line.points.emplace_back(point.t_s, value >= 0 ? value : kUnknown);
    }
    plot.series.push_back(std::move(line));
  }
}

Plot OverTime(std::string title, std::string y) {
  Plot plot;
  plot.title = std::move(title);
  plot.y.label = std::move(y);
  return plot;
}

// Dashes tell waiting from running, unless there are so many runs that dashes tell runs apart.
std::vector<Plot> QueuePlots(const NamedRuns& runs) {
  Plot plot = OverTime("Running and waiting requests", "Requests");
  const auto running = [](const SeriesPoint& p) { return p.running; };
  const auto waiting = [](const SeriesPoint& p) { return p.waiting; };
  plot.y.integer = true;
  plot.note = "As the server counts them.";
  if (runs.runs.size() > kPlotColors) {
    Plot other = plot;
    plot.title = "Running requests";
    other.title = "Waiting requests";
    AddSeriesLines(plot, runs, "", false, running);
    AddSeriesLines(other, runs, "", false, waiting);
    return {std::move(plot), std::move(other)};
  }
  if (runs.runs.size() == 1) {
    const NamedRuns unnamed{runs.runs, {""}};
    AddSeriesLines(plot, unnamed, "Running", false, running);
    AddSeriesLines(plot, unnamed, "Waiting", true, waiting);
    plot.series[1].color = 1;
  } else {
    AddSeriesLines(plot, runs, "", false, running);
    NamedRuns unnamed = runs;
    for (std::string& name : unnamed.names) name.clear();
    AddSeriesLines(plot, unnamed, "", true, waiting);
    plot.note = "As the servers count them: solid running, dashed waiting.";
  }
  return {std::move(plot)};
}

// (x, ms) of each request as dots, with the median of each stretch of x as a line.
void AddCloud(Plot& plot, std::vector<PlotXy> points, const std::string& name, int color, int bins,
              bool with_dots) {
  PlotSeries line{name, color, PlotForm::kLine, false, BinnedMedians(points, bins, 3)};
  // Too few for medians: the points themselves are all there is.
  const bool has_line = line.points.size() > 1;
  if (with_dots || !has_line)
    plot.series.push_back({has_line ? "" : name, color, PlotForm::kDots, false, std::move(points)});
  if (has_line) plot.series.push_back(std::move(line));
}

Plot TtftOverTime(const NamedRuns& runs) {
  Plot plot = OverTime("TTFT over time", "TTFT");
  for (std::size_t i = 0; i < runs.runs.size(); ++i)
    AddCloud(plot, runs.runs[i].ttft_over_time, runs.names[i], static_cast<int>(i), kTimeBins,
             runs.runs.size() <= kMaxClouds);
  plot.note = runs.runs.size() <= kMaxClouds
                  ? "Each dot is a request at the time it was sent; the line is the running median."
                  : "Running medians.";
  if (!HasData(plot)) {
    plot.series.clear();
    AddSeriesLines(plot, runs, "", false, [](const SeriesPoint& p) { return p.ttft_ms; });
    plot.note = "Median of the first tokens that came in each second.";
  }
  return plot;
}

// Where the goodput bound of `metric` is the same for all runs, a line there.
void AddGoodputRule(Plot& plot, const NamedRuns& runs, const std::string& metric,
                    double highest_ms) {
  const ReportUnit unit = LatencyUnit(highest_ms);
  std::optional<double> bound;
  for (const RunSummary& run : runs.runs) {
    const auto& bounds = run.config.goodput_ms;
    const auto it = std::find_if(bounds.begin(), bounds.end(),
                                 [&](const auto& entry) { return entry.first == metric; });
    if (it == bounds.end() || (bound && *bound != it->second)) return;
    bound = it->second;
  }
  // One far beyond what was measured would press the curves into a corner.
  if (bound && *bound > 0 && *bound < 1.5 * highest_ms)
    plot.rules.push_back(
        {true, *bound, fmt::format("bound {} {}", PlainNumber(*bound * unit.per), unit.name)});
}

// The smallest value with at least `fraction` of the requests at or below it.
double CdfAt(const Distribution& distribution, double fraction) {
  for (const auto& [ms, part] : distribution.cdf)
    if (part >= fraction) return ms;
  return kUnknown;
}

Plot CdfPlot(const NamedRuns& runs, const std::string& metric) {
  Plot plot;
  plot.title = MetricTitle(metric);
  plot.x.label = Uppercase(metric);
  plot.y.label = metric == "itl" ? "Gaps at or below, %" : "Requests at or below, %";
  plot.y.lo = 0;
  plot.y.hi = 100;
  double low = std::numeric_limits<double>::infinity(), high = 0;
  for (std::size_t i = 0; i < runs.runs.size(); ++i) {
    const Distribution& d = *MetricOf(runs.runs[i], metric);
    PlotSeries curve{runs.names[i], static_cast<int>(i), PlotForm::kStep, false, {}};
    if (d.cdf.size() >= 100) curve.form = PlotForm::kLine;
    for (const auto& [ms, fraction] : d.cdf) {
      if (curve.points.empty()) curve.points.emplace_back(ms, 0);
      curve.points.emplace_back(ms, 100 * fraction);
      if (IsPlottable(ms)) high = std::max(high, ms);
    }
    // Few odd ones near zero shall not stretch a log axis over decades: they end at its edge.
    const double first = CdfAt(d, 0.01);
    if (first > 0) low = std::min(low, first);
    plot.series.push_back(std::move(curve));
  }
  const ReportUnit unit = LatencyUnit(high);
  if (runs.runs.size() == 1 && HasData(plot))
    for (const double percent : {50.0, 99.0}) {
      const double ms = PercentileOf(runs.runs[0], metric, percent);
      const std::string label = fmt::format("P{} {}", percent, InUnit(ms, unit));
      plot.marks.push_back({{ms, percent}, label, "", 0, PlotMark::Look::kSolid});
    }
  AddGoodputRule(plot, runs, metric, high);
  if (IsWide(low, high)) plot.x.lo = low;
  plot.x.zero = low <= 0.45 * high;
  FinishLatencyAxis(plot, &PlotXy::first, {low, high});
  return plot;
}

// How many requests were in flight in the second that holds `t_s`; NaN where it is not known.
double ConcurrentAt(const RunSummary& run, double t_s) {
  const auto after =
      std::upper_bound(run.series.begin(), run.series.end(), t_s,
                       [](double t, const SeriesPoint& point) { return t < point.t_s; });
  return after == run.series.begin() ? kUnknown : std::prev(after)->concurrent;
}

std::string SweepHint(const SweepPoint& point, const std::string& metric) {
  return fmt::format("{}: {} output tokens/s, {} P50 {} ms, P99 {} ms",
                     RateText(point.request_rate), ReadableNumber(point.run.OutputPerS()),
                     Uppercase(metric), ReadableNumber(PercentileOf(point.run, metric, 50)),
                     ReadableNumber(PercentileOf(point.run, metric, 99)));
}

// Long names mostly differ at their ends.
std::string MarkName(std::string_view name) {
  constexpr std::size_t kMost = 24;
  if (Shortened(name, kMost) == name) return std::string(name);
  std::string_view tail = name.substr(name.size() - std::min(name.size(), kMost - 4));
  while (!tail.empty() && (static_cast<unsigned char>(tail.front()) & 0xC0) == 0x80)
    tail.remove_prefix(1);
  return "…" + std::string(tail);
}

std::vector<double> SweepPercentiles(const SweepResult& sweep, const std::string& metric) {
  std::vector<double> percents = {50, 99};
  for (const SweepResult::Objective& objective : sweep.objectives)
    if (objective.metric == metric &&
        std::find(percents.begin(), percents.end(), objective.percentile) == percents.end())
      percents.push_back(objective.percentile);
  std::sort(percents.begin(), percents.end());
  return percents;
}

Plot LatencyAgainstRate(const SweepResult& sweep, const std::string& metric) {
  Plot plot;
  plot.title = Uppercase(metric) + " against request rate";
  plot.x.label = "Offered rate, requests/s";
  plot.y.label = Uppercase(metric);
  int color = 0;
  for (const double percent : SweepPercentiles(sweep, metric)) {
    PlotSeries line{"P" + PercentWord(percent), color, PlotForm::kLine, false, {}};
    for (const SweepPoint& point : sweep.points) {
      const PlotXy at{point.request_rate, PercentileOf(point.run, metric, percent)};
      if (!IsPlottable(at.first) || !IsPlottable(at.second)) continue;
      line.points.push_back(at);
      plot.marks.push_back({at, "", SweepHint(point, metric), color, PlotMark::Look::kSolid});
    }
    std::sort(line.points.begin(), line.points.end());
    plot.series.push_back(std::move(line));
    ++color;
  }
  for (const SweepResult::Objective& objective : sweep.objectives)
    if (objective.metric == metric)
      plot.rules.push_back({false, objective.bound_ms, ObjectiveName(objective)});
  if (sweep.best_rate > 0)
    plot.rules.push_back({true, sweep.best_rate, "best " + RateText(sweep.best_rate)});
  FinishLatencyAxis(plot, &PlotXy::second);
  return plot;
}

Plot ThroughputAgainstLatency(const SweepResult& sweep, const std::string& metric) {
  Plot plot;
  plot.title = "Throughput against " + Uppercase(metric);
  plot.note =
      "Each point is a request rate; up and to the left is better. Hollow: another rate gives more "
      "tokens at less latency.";
  plot.x.label = Uppercase(metric);
  plot.y.label = "Output, tokens/s";
  int color = 0;
  for (const double percent : {50.0, 99.0}) {
    PlotSeries line{"P" + PercentWord(percent), color, PlotForm::kLine, false, {}};
    std::vector<const SweepPoint*> from;
    for (const SweepPoint& point : sweep.points) {
      const PlotXy at{PercentileOf(point.run, metric, percent), point.run.OutputPerS()};
      if (!IsPlottable(at.first) || !IsPlottable(at.second)) continue;
      line.points.push_back(at);
      from.push_back(&point);
    }
    const std::vector<bool> pareto = ParetoPoints(line.points);
    for (std::size_t i = 0; i < from.size(); ++i) {
      const bool best = sweep.best_rate > 0 && from[i]->request_rate == sweep.best_rate;
      const auto look = best        ? PlotMark::Look::kRing
                        : pareto[i] ? PlotMark::Look::kSolid
                                    : PlotMark::Look::kHollow;
      // The slow tail is what bounds are about; the other curve has the same heights.
      const bool named = percent == 99 && (pareto[i] || best);
      plot.marks.push_back({line.points[i], named ? RateText(from[i]->request_rate) : "",
                            SweepHint(*from[i], metric), color, look});
    }
    plot.series.push_back(std::move(line));
    ++color;
  }
  FinishLatencyAxis(plot, &PlotXy::first);
  return plot;
}

}  // namespace

std::string MetricTitle(std::string_view metric) {
  if (metric == "ttft") return "Time to first token (TTFT)";
  if (metric == "tpot") return "Time per output token (TPOT)";
  if (metric == "itl") return "Inter-token latency (ITL)";
  return "End-to-end latency (E2EL)";
}

double PercentileOf(const RunSummary& run, const std::string& metric, double percent) {
  const auto value =
      percent == 50 && MetricOf(run, metric) != nullptr && MetricOf(run, metric)->count > 0
          ? std::optional<double>(MetricOf(run, metric)->median)
          : ObjectiveValue({metric, percent, 0}, run);
  return value.value_or(kUnknown);
}

std::string RateText(double rate) {
  if (std::isinf(rate)) return "all at once";
  return PlainNumber(rate) + "/s";
}

std::vector<bool> ParetoPoints(const std::vector<PlotXy>& points) {
  std::vector<std::size_t> order(points.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t k) {
    return std::pair(points[i].first, -points[i].second) <
           std::pair(points[k].first, -points[k].second);
  });
  std::vector<bool> pareto(points.size());
  double highest = -std::numeric_limits<double>::infinity();
  for (const std::size_t i : order) {
    pareto[i] = points[i].second > highest;
    highest = std::max(highest, points[i].second);
  }
  return pareto;
}

std::vector<PlotXy> BinnedMedians(const std::vector<PlotXy>& points, int bins,
                                  std::size_t min_count) {
  std::vector<PlotXy> sorted;
  for (const PlotXy& p : points)
    if (IsPlottable(p.first) && IsPlottable(p.second)) sorted.push_back(p);
  if (sorted.empty() || bins < 1) return {};
  std::sort(sorted.begin(), sorted.end());
  const double lo = sorted.front().first;
  const double width = std::max((sorted.back().first - lo) / bins, 1e-9);
  std::vector<PlotXy> medians;
  for (auto begin = sorted.begin(); begin != sorted.end();) {
    const double bin = std::floor((begin->first - lo) / width);
    const auto end = std::find_if(begin, sorted.end(), [&](const PlotXy& p) {
      return std::floor((p.first - lo) / width) > bin;
    });
    const auto count = static_cast<std::size_t>(end - begin);
    if (count >= min_count) {
      std::vector<double> values;
      for (auto it = begin; it != end; ++it) values.push_back(it->second);
      std::sort(values.begin(), values.end());
      medians.emplace_back((begin + static_cast<std::ptrdiff_t>(count / 2))->first,
                           Percentile(values, 50));
    }
    begin = end;
  }
  return medians;
}

std::vector<Plot> TimePlots(const NamedRuns& runs) {
  std::vector<Plot> plots;
  Plot output = OverTime("Output throughput", "Tokens/s");
  AddSeriesLines(output, runs, "", false, [](const SeriesPoint& p) { return p.output_tokens; });
  plots.push_back(std::move(output));

  const bool all_have_gauges =
      std::all_of(runs.runs.begin(), runs.runs.end(), [](const RunSummary& run) {
        return std::any_of(run.series.begin(), run.series.end(),
                           [](const SeriesPoint& p) { return p.running >= 0; });
      });
  if (!all_have_gauges) {
    Plot in_flight = OverTime("Requests in flight", "Requests");
    in_flight.note = "As the client counts them.";
    in_flight.y.integer = true;
    AddSeriesLines(in_flight, runs, "", false, [](const SeriesPoint& p) { return p.concurrent; });
    plots.push_back(std::move(in_flight));
  }
  for (Plot& plot : QueuePlots(runs)) plots.push_back(std::move(plot));

  Plot cache = OverTime("KV-cache use", "Blocks in use, %");
  cache.y.lo = 0;
  cache.y.hi = 100;
  AddSeriesLines(cache, runs, "", false, [](const SeriesPoint& p) {
    return p.kv_cache_usage >= 0 ? 100 * p.kv_cache_usage : -1;
  });
  plots.push_back(std::move(cache));
  Plot ttft = TtftOverTime(runs);
  FinishLatencyAxis(ttft, &PlotXy::second);
  plots.push_back(std::move(ttft));

  std::erase_if(plots, [](const Plot& plot) { return !HasData(plot); });
  FinishTimeAxes(plots);
  return plots;
}

std::vector<Plot> DistributionPlots(const NamedRuns& runs) {
  std::vector<Plot> plots;
  for (const char* metric : kLatencies) KeepIfAny(plots, CdfPlot(runs, metric));
  return plots;
}

std::vector<Plot> LoadPlots(const NamedRuns& runs) {
  Plot ttft, output;
  ttft.title = "TTFT against requests in flight";
  ttft.note =
      "Each dot is a request, at the number in flight when it was sent; the line is the median.";
  ttft.y.label = "TTFT";
  output.title = "Throughput against requests in flight";
  output.note = "Each dot is a second of the run; the line is the median.";
  output.y.label = "Output, tokens/s";
  const bool with_dots = runs.runs.size() <= kMaxClouds;
  for (std::size_t i = 0; i < runs.runs.size(); ++i) {
    const RunSummary& run = runs.runs[i];
    std::vector<PlotXy> latencies, seconds;
    for (const auto& [t_s, ms] : run.ttft_over_time)
      latencies.emplace_back(ConcurrentAt(run, t_s), ms);
    for (const SeriesPoint& second : run.series)
      seconds.emplace_back(second.concurrent, second.output_tokens);
    const int color = static_cast<int>(i);
    AddCloud(ttft, std::move(latencies), runs.names[i], color, kLoadBins, with_dots);
    AddCloud(output, std::move(seconds), runs.names[i], color, kLoadBins, with_dots);
  }
  FinishLatencyAxis(ttft, &PlotXy::second);
  std::vector<Plot> plots;
  for (Plot* plot : {&ttft, &output}) {
    plot->x.label = "Requests in flight";
    plot->x.integer = true;
    if (!with_dots) plot->note = "Medians.";
    KeepIfAny(plots, std::move(*plot));
  }
  return plots;
}

std::vector<Plot> TradeoffPlots(const NamedRuns& runs) {
  std::vector<Plot> plots;
  if (runs.runs.size() < 2) return plots;
  for (const char* metric : {"tpot", "ttft"}) {
    Plot plot;
    plot.title = "Throughput against " + Uppercase(metric);
    plot.note = "One point a run; up and to the left is better.";
    plot.x.label = "Median " + Uppercase(metric);
    plot.y.label = "Output, tokens/s";
    for (std::size_t i = 0; i < runs.runs.size(); ++i)
      plot.marks.push_back({{PercentileOf(runs.runs[i], metric, 50), runs.runs[i].OutputPerS()},
                            MarkName(runs.names[i]),
                            runs.names[i],
                            static_cast<int>(i),
                            i < kPlotColors ? PlotMark::Look::kSolid : PlotMark::Look::kHollow});
    FinishLatencyAxis(plot, &PlotXy::first);
    KeepIfAny(plots, std::move(plot));
  }
  return plots;
}

std::vector<Plot> SweepPlots(const SweepResult& sweep) {
  std::vector<Plot> plots;
  std::vector<std::string> metrics = {"ttft"};
  for (const SweepResult::Objective& objective : sweep.objectives)
    if (std::find(metrics.begin(), metrics.end(), objective.metric) == metrics.end() &&
        std::find(kLatencies.begin(), kLatencies.end(), objective.metric) != kLatencies.end())
      metrics.push_back(objective.metric);
  for (const char* metric : {"ttft", "tpot"})
    KeepIfAny(plots, ThroughputAgainstLatency(sweep, metric));
  for (const std::string& metric : metrics) KeepIfAny(plots, LatencyAgainstRate(sweep, metric));
  return plots;
}

}  // namespace quire
