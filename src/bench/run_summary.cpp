#include "bench/run_summary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/utf8.h"

namespace quire {
namespace {

constexpr std::size_t kMaxCdfPoints = 200;
constexpr std::size_t kMaxTtftPoints = 1000;
constexpr double kMaxSeriesSeconds = 100'000;  // a longer run has no series

// The places of at most `max` of `count` values, evenly apart, the first and the last among them.
std::vector<std::size_t> EvenPlaces(std::size_t count, std::size_t max) {
  std::vector<std::size_t> places(std::min(count, max));
  for (std::size_t i = 0; i < places.size(); ++i) {
    places[i] = count <= max ? i : (2 * i * (count - 1) + max - 1) / (2 * (max - 1));
  }
  return places;
}

// A request begins (+1) or ends (-1).
struct Change {
  double time = 0;
  int delta = 0;
  // An end comes before a start at the same time, as vLLM counts it.
  bool operator<(const Change& other) const {
    return time != other.time ? time < other.time : delta < other.delta;
  }
};

std::vector<Change> Changes(std::span<const RequestRecord* const> records) {
  std::vector<Change> changes;
  changes.reserve(2 * records.size());
  for (const RequestRecord* record : records) {
    if (record->latency_s <= 0) continue;  // never in flight
    changes.push_back({record->start_s, 1});
    changes.push_back({record->start_s + record->latency_s, -1});
  }
  std::sort(changes.begin(), changes.end());
  return changes;
}

double PeakConcurrent(std::span<const Change> changes) {
  int now = 0, peak = 0;
  for (const Change& change : changes) peak = std::max(peak, now += change.delta);
  return peak;
}

template <class Take>
void ForEachEvent(const RequestRecord& record, const Take& take) {
  double time = record.start_s + record.ttft_s;
  take(time);
  for (const float gap : record.itl) take(time += static_cast<double>(gap));
}

// The busiest second's events, seconds counted from the first start.
double PeakEvents(std::span<const RequestRecord* const> records) {
  double first = std::numeric_limits<double>::infinity();
  for (const RequestRecord* record : records) first = std::min(first, record->start_s);
  std::map<double, double> seconds;
  for (const RequestRecord* record : records) {
    ForEachEvent(*record, [&](double time) { ++seconds[std::floor(time - first)]; });
  }
  double peak = 0;
  for (const auto& [second, events] : seconds) peak = std::max(peak, events);
  return peak;
}

std::vector<SeriesPoint> Series(std::span<const RequestRecord* const> records,
                                std::span<const Change> changes, double duration_s) {
  double end = std::ceil(duration_s);
  for (const RequestRecord* record : records) {
    ForEachEvent(*record, [&](double time) { end = std::max(end, std::floor(time) + 1); });
  }
  if (!changes.empty()) end = std::max(end, std::ceil(changes.back().time));
  if (!(end >= 0 && end <= kMaxSeriesSeconds)) return {};
  std::vector<SeriesPoint> series(static_cast<std::size_t>(end));
  std::vector<std::vector<double>> first_tokens(series.size());
  const auto inside = [end](double time) { return time >= 0 && time < end; };
  for (const RequestRecord* record : records) {
    ForEachEvent(*record, [&](double time) {
      if (inside(time)) ++series[static_cast<std::size_t>(time)].output_tokens;
    });
    const double first = record->start_s + record->ttft_s;
    if (inside(first))
      first_tokens[static_cast<std::size_t>(first)].push_back(1000 * record->ttft_s);
  }
  std::size_t next = 0;
  int now = 0;
  for (std::size_t i = 0; i < series.size(); ++i) {
    SeriesPoint& point = series[i];
    point.t_s = static_cast<double>(i);
    int most = now;
    for (; next < changes.size() && changes[next].time < point.t_s + 1; ++next)
      most = std::max(most, now += changes[next].delta);
    point.concurrent = most;
    std::sort(first_tokens[i].begin(), first_tokens[i].end());
    point.ttft_ms = first_tokens[i].empty() ? -1 : Percentile(first_tokens[i], 50);
  }
  return series;
}

bool IsGood(const RequestRecord& record, const RunConfig& config) {
  for (const auto& [metric, bound_ms] : config.goodput_ms) {
    const double seconds = metric == "ttft"   ? record.ttft_s
                           : metric == "tpot" ? record.tpot_s()
                                              : record.latency_s;
    if (seconds > bound_ms / 1000) return false;
  }
  return !config.goodput_ms.empty();
}

std::vector<std::pair<double, double>> TtftOverTime(std::span<const RequestRecord* const> records) {
  std::vector<std::pair<double, double>> all;
  all.reserve(records.size());
  for (const RequestRecord* record : records)
    all.emplace_back(record->start_s, 1000 * record->ttft_s);
  std::sort(all.begin(), all.end());
  std::vector<std::pair<double, double>> some;
  for (const std::size_t i : EvenPlaces(all.size(), kMaxTtftPoints)) some.push_back(all[i]);
  return some;
}

// One value a request, in ms.
template <class Value>
Distribution OfRequests(std::span<const RequestRecord* const> records,
                        std::span<const double> percentiles, const Value& seconds) {
  std::vector<double> values;
  values.reserve(records.size());
  for (const RequestRecord* record : records) values.push_back(1000 * seconds(*record));
  return Distribute(std::move(values), percentiles);
}

void SummarizeLatencies(RunSummary& run, std::span<const RequestRecord* const> records) {
  const std::span<const double> percentiles = run.config.metric_percentiles;
  run.ttft = OfRequests(records, percentiles, [](const RequestRecord& r) { return r.ttft_s; });
  run.e2el = OfRequests(records, percentiles, [](const RequestRecord& r) { return r.latency_s; });
  run.send_lag =
      OfRequests(records, percentiles, [](const RequestRecord& r) { return r.sent_s - r.start_s; });
  run.slot_wait = OfRequests(records, percentiles,
                             [](const RequestRecord& r) { return r.start_s - r.planned_s; });
  std::vector<double> tpots, itls;
  for (const RequestRecord* record : records) {
    if (record->output_tokens > 1) tpots.push_back(1000 * record->tpot_s());
    for (const float gap : record->itl) itls.push_back(1000 * static_cast<double>(gap));
  }
  run.tpot = Distribute(std::move(tpots), percentiles);
  run.itl = Distribute(std::move(itls), percentiles);
}

}  // namespace

double RunSummary::P99EvalRate() const {
  const auto p99 = tpot.percentiles.find(99);
  return p99 != tpot.percentiles.end() && p99->second > 0 ? 1000 / p99->second : 0;
}

double RunSummary::CostPerMillionTokens() const {
  const double per_hour = TotalPerS() * 3600;
  return per_hour > 0 ? config.cost_per_hour / per_hour * 1e6 : 0;
}

double RunSummary::CostPerMillionOutputTokens() const {
  const double per_hour = OutputPerS() * 3600;
  return per_hour > 0 ? config.cost_per_hour / per_hour * 1e6 : 0;
}

double RunSummary::JoulesPerOutputToken() const {
  return energy && total_output_tokens > 0
             ? energy->joules / static_cast<double>(total_output_tokens)
             : 0;
}

double Percentile(std::span<const double> sorted, double percent) {
  if (sorted.empty()) return 0;
  const double place =
      static_cast<double>(sorted.size() - 1) * std::clamp(percent, 0.0, 100.0) / 100;
  const auto below = static_cast<std::size_t>(place);
  const double low = sorted[below];
  const double high = sorted[std::min(below + 1, sorted.size() - 1)];
  const double part = place - static_cast<double>(below);
  // From the nearer end, as numpy does it, so that the figures are the same to the last bit.
  return part < 0.5 ? low + (high - low) * part : high - (high - low) * (1 - part);
}

Distribution Distribute(std::vector<double> values, std::span<const double> percentiles) {
  Distribution result;
  result.count = values.size();
  std::sort(values.begin(), values.end());
  for (const double percent : percentiles)
    result.percentiles[percent] = Percentile(values, percent);
  result.percentiles[99] = Percentile(values, 99);
  if (values.empty()) return result;
  const auto count = static_cast<double>(values.size());
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  result.median = Percentile(values, 50);
  result.max = values.back();
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.std = std::sqrt(squares / count);
  for (const std::size_t i : EvenPlaces(values.size(), kMaxCdfPoints))
    result.cdf.emplace_back(values[i], static_cast<double>(i + 1) / count);
  return result;
}

RunSummary Summarize(std::span<const RequestRecord> records, RunConfig config, double duration_s) {
  RunSummary run;
  run.config = std::move(config);
  run.duration_s = duration_s;
  std::vector<const RequestRecord*> completed;
  for (const RequestRecord& record : records) {
    if (!record.ok()) {
      ++run.failed;
      ++run.errors[ToValidUtf8(record.error)];  // as files can hold it
      continue;
    }
    completed.push_back(&record);
    run.total_input_tokens += record.input_tokens;
    run.total_output_tokens += record.output_tokens;
    run.cached_input_tokens += record.cached_tokens;
    if (IsGood(record, run.config)) ++run.good;
  }
  run.completed = static_cast<int>(completed.size());
  SummarizeLatencies(run, completed);
  const std::vector<Change> changes = Changes(completed);
  run.peak_concurrent = PeakConcurrent(changes);
  run.peak_output_per_s = PeakEvents(completed);
  run.series = Series(completed, changes, duration_s);
  run.ttft_over_time = TtftOverTime(completed);
  return run;
}

}  // namespace quire
