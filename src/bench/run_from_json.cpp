// The reading half of run_json.h.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bench/json_fields.h"
#include "bench/objective.h"
#include "bench/run_json.h"
#include "bench/run_json_fields.h"

namespace quire {
namespace {

constexpr double kMaxSeconds = 1e10;  // of a request's times, whatever its clock began with

void ReadSubject(JsonFields& file, JsonFields* quire, RunSubject& subject) {
  file.Text("label", subject.label);
  file.Text("model_id", subject.model);
  file.Text("tokenizer_id", subject.tokenizer);
  auto fields = quire == nullptr ? std::nullopt : quire->Child("subject");
  if (!fields) return;
  fields->Text("backend_name", subject.backend_name);
  fields->Text("dtype", subject.dtype);
  fields->Number("weights_gb", subject.weights_gb);
  fields->Text("gpu", subject.gpu);
  fields->Count("num_gpus", subject.num_gpus);
  fields->Count("tensor_parallel", subject.tensor_parallel);
  file.Take(*fields);
}

// NN of a field named pNN_METRIC_ms.
std::optional<double> PercentOfName(std::string_view name, std::string_view metric) {
  const std::string end = "_" + std::string(metric) + "_ms";
  if (name.size() <= end.size() + 1 || name[0] != 'p') return {};
  if (name.substr(name.size() - end.size()) != end) return {};
  const std::string_view digits = name.substr(1, name.size() - end.size() - 1);
  double percent = 0;
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), percent);
  if (error != std::errc{} || stop != digits.data() + digits.size()) return {};
  if (!(percent >= 0 && percent <= 100)) return {};
  return percent;
}

void ReadMetric(JsonFields& file, const std::vector<std::string>& names, const std::string& metric,
                Distribution& out) {
  file.Number("mean_" + metric + "_ms", out.mean);
  file.Number("median_" + metric + "_ms", out.median);
  file.Number("std_" + metric + "_ms", out.std);
  for (const std::string& name : names) {
    const auto percent = PercentOfName(name, metric);
    if (percent) file.Number(name, out.percentiles[*percent]);
  }
}

// What the names of a vLLM file say of its flags.
void DeriveMetricFlags(const JsonFields& file, const RunSummary& run, RunConfig& config) {
  std::set<double> percents;
  for (const char* metric : kLatencyMetricNames) {
    if (!file.Has("median_" + std::string(metric) + "_ms")) continue;
    config.percentile_metrics.emplace_back(metric);
    for (const auto& [percent, value] : MetricOf(run, metric)->percentiles)
      percents.insert(percent);
  }
  if (!percents.empty()) config.metric_percentiles.assign(percents.begin(), percents.end());
}

// How many values the figures of a vLLM file are of.
void DeriveCounts(RunSummary& run) {
  const auto derive = [](Distribution& metric, std::int64_t count) {
    const bool known = metric.median > 0 || !metric.percentiles.empty();
    if (metric.count == 0 && known) metric.count = static_cast<std::size_t>(count);
  };
  derive(run.ttft, run.completed);
  derive(run.tpot, run.completed);
  derive(run.itl, std::max(std::int64_t{0}, run.total_output_tokens - run.completed));
  derive(run.e2el, run.completed);
}

void ReadConfig(JsonFields& file, JsonFields* quire, RunConfig& config) {
  file.Text("date", config.date);
  file.Text("endpoint_type", config.endpoint_type);
  file.Count("num_prompts", config.num_prompts);
  file.Rate("request_rate", config.request_rate);
  file.Number("burstiness", config.burstiness);
  if (file.Has("max_concurrency")) file.Count("max_concurrency", config.max_concurrency.emplace(0));
  auto fields = quire == nullptr ? std::nullopt : quire->Child("config");
  if (!fields) return;
  fields->Text("command", config.command);
  fields->Text("base_url", config.base_url);
  fields->Text("dataset", config.dataset);
  fields->Count("seed", config.seed);
  fields->Flag("ignore_eos", config.ignore_eos);
  fields->Number("cost_per_hour", config.cost_per_hour);
  fields->Texts("percentile_metrics", config.percentile_metrics);
  fields->Numbers("metric_percentiles", config.metric_percentiles);
  fields->TextNumberPairs("goodput_ms", config.goodput_ms);
  file.Take(*fields);
}

// The requests of a --save-detailed file; none where it has none.
std::vector<RequestRecord> ReadRequests(JsonFields& file) {
  std::vector<int> inputs, outputs;
  std::vector<double> ttfts, latencies, starts;
  std::vector<std::vector<float>> itls;
  std::vector<std::string> errors;
  for (const char* name : {"input_lens", "output_lens", "ttfts", "itls", "start_times", "errors"}) {
    if (!file.Has(name)) return {};
  }
  file.Counts("input_lens", inputs);
  file.Counts("output_lens", outputs);
  file.Numbers("ttfts", ttfts, 0, kMaxSeconds);
  file.NumberLists("itls", itls, kMaxSeconds);
  file.Numbers("start_times", starts, 0, kMaxSeconds);
  file.Texts("errors", errors);
  file.Numbers("latencies", latencies, 0, kMaxSeconds);
  if (!file.status().ok() || ttfts.empty()) return {};
  const std::size_t count = ttfts.size();
  if (inputs.size() != count || outputs.size() != count || itls.size() != count ||
      starts.size() != count || errors.size() != count ||
      (!latencies.empty() && latencies.size() != count)) {
    file.Fail("ttfts", "has another length than the other lists of requests");
    return {};
  }
  const double first = *std::min_element(starts.begin(), starts.end());  // vLLM's clock has no zero
  std::vector<RequestRecord> records(count);
  for (std::size_t i = 0; i < count; ++i) {
    RequestRecord& record = records[i];
    record.start_s = record.planned_s = record.sent_s = starts[i] - first;
    record.ttft_s = ttfts[i];
    record.latency_s = ttfts[i];
    for (const float gap : itls[i]) record.latency_s += static_cast<double>(gap);
    if (!latencies.empty()) record.latency_s = latencies[i];
    record.itl = std::move(itls[i]);
    record.input_tokens = inputs[i];
    record.output_tokens = outputs[i];
    record.error = std::move(errors[i]);
    if (record.error.empty() && ttfts[i] == 0 && outputs[i] == 0) record.error = "unknown";
  }
  return records;
}

void ReadTotals(JsonFields& file, RunSummary& run) {
  for (const char* name : {"duration", "completed", "total_input_tokens", "total_output_tokens"})
    file.Require(name);
  file.Number("duration", run.duration_s);
  file.Count("completed", run.completed);
  file.Count("total_input_tokens", run.total_input_tokens);
  file.Count("total_output_tokens", run.total_output_tokens);
  file.Number("max_output_tokens_per_s", run.peak_output_per_s);
  file.Number("max_concurrent_requests", run.peak_concurrent);
  if (file.Has("failed")) {
    file.Count("failed", run.failed);
  } else {  // as older vLLM's files
    run.failed = std::max(run.failed, run.config.num_prompts - run.completed);
  }
  if (!file.Has("num_prompts")) run.config.num_prompts = run.completed + run.failed;
  double goodput = 0;
  file.Number("request_goodput", goodput);
  const double good = std::round(goodput * run.duration_s);
  run.good = static_cast<int>(std::min(good, static_cast<double>(run.completed)));
}

void ReadOwnMetric(JsonFields& quire, const std::string& name, Distribution& out) {
  auto fields = quire.Child(name);
  if (!fields) return;
  std::uint64_t count = out.count;
  std::vector<std::pair<double, double>> percentiles;
  fields->Count("count", count);
  fields->Number("max", out.max, -1e15);
  fields->NumberPairs("cdf", out.cdf);
  // These are vLLM's for vLLM's metrics, and at the top.
  fields->Number("mean", out.mean, -1e15);
  fields->Number("median", out.median, -1e15);
  fields->Number("std", out.std);
  fields->NumberPairs("percentiles", percentiles);
  out.count = count;
  for (const auto& [percent, value] : percentiles) out.percentiles[percent] = value;
  quire.Take(*fields);
}

void ReadSeries(JsonFields& quire, std::vector<SeriesPoint>& series) {
  auto fields = quire.Child("series");
  if (!fields) return;
  for (const SeriesColumn& column : SeriesColumns()) {
    std::vector<double> values;
    fields->Numbers(column.name, values, -1);
    if (&column == &SeriesColumns().front()) series.resize(values.size());
    if (values.empty()) continue;  // one that this file does not have
    if (values.size() != series.size()) {
      fields->Fail(column.name, "has another length than t_s");
      break;
    }
    for (std::size_t i = 0; i < values.size(); ++i) series[i].*column.field = values[i];
  }
  quire.Take(*fields);
}

void ReadQuire(JsonFields& quire, RunSummary& run) {
  quire.Count("good", run.good);
  quire.Count("cached_input_tokens", run.cached_input_tokens);
  ReadOwnMetric(quire, "ttft", run.ttft);
  ReadOwnMetric(quire, "tpot", run.tpot);
  ReadOwnMetric(quire, "itl", run.itl);
  ReadOwnMetric(quire, "e2el", run.e2el);
  ReadOwnMetric(quire, "send_lag", run.send_lag);
  ReadOwnMetric(quire, "slot_wait", run.slot_wait);
  std::vector<std::pair<std::string, double>> errors;
  quire.TextNumberPairs("errors", errors);
  if (quire.Has("errors")) run.errors.clear();
  for (const auto& [message, count] : errors)
    run.errors[message] = static_cast<int>(std::min(count, 2e9));
  ReadSeries(quire, run.series);
  quire.NumberPairs("ttft_over_time", run.ttft_over_time);
  if (auto energy = quire.Child("energy")) {
    run.energy.emplace();
    energy->Number("joules", run.energy->joules);
    energy->Number("idle_watts", run.energy->idle_watts);
    quire.Take(*energy);
  }
  quire.TextPairs("host", run.host);
}

RunSummary ReadRun(JsonFields& file) {
  RunSummary run;
  run.config.request_rate = std::numeric_limits<double>::infinity();
  auto quire = file.Child("quire");
  JsonFields* own = quire ? &*quire : nullptr;
  if (own == nullptr) {
    const std::vector<RequestRecord> records = ReadRequests(file);
    double duration = 0;
    file.Number("duration", duration);
    if (!records.empty()) run = Summarize(records, run.config, duration);
  }
  ReadConfig(file, own, run.config);
  ReadSubject(file, own, run.subject);
  ReadTotals(file, run);
  const std::vector<std::string> names = file.Names();
  ReadMetric(file, names, "ttft", run.ttft);
  ReadMetric(file, names, "tpot", run.tpot);
  ReadMetric(file, names, "itl", run.itl);
  ReadMetric(file, names, "e2el", run.e2el);
  if (own == nullptr) {
    DeriveCounts(run);
    DeriveMetricFlags(file, run, run.config);
    return run;
  }
  ReadQuire(*quire, run);
  file.Take(*quire);
  return run;
}

}  // namespace

Result<RunSummary> RunFromJson(const Json& json, const std::string& file) {
  JsonFields fields(json, file);
  RunSummary run = ReadRun(fields);
  QUIRE_RETURN_IF_ERROR(fields.status());
  return run;
}

Result<SweepResult> SweepFromJson(const Json& json, const std::string& file) {
  JsonFields fields(json, file);
  SweepResult sweep;
  fields.Require("points");
  fields.Number("best_rate", sweep.best_rate);
  for (JsonFields& entry : fields.Children("objectives")) {
    SweepResult::Objective objective;
    entry.Text("metric", objective.metric);
    entry.Number("percentile", objective.percentile, 0, 100);
    entry.Number("bound_ms", objective.bound_ms);
    if (MetricOf(RunSummary{}, objective.metric) == nullptr)
      entry.Fail("metric", "must be one of ttft, tpot, itl, e2el");
    fields.Take(entry);
    sweep.objectives.push_back(std::move(objective));
  }
  for (JsonFields& entry : fields.Children("points")) {
    SweepPoint point;
    entry.Rate("request_rate", point.request_rate);
    entry.Flag("met", point.met);
    entry.Require("run");
    if (auto run = entry.Child("run")) {
      point.run = ReadRun(*run);
      entry.Take(*run);
    }
    fields.Take(entry);
    sweep.points.push_back(std::move(point));
  }
  QUIRE_RETURN_IF_ERROR(fields.status());
  return sweep;
}

Result<RunFile> ReadRunFile(const std::string& file) {
  auto json = ReadJsonFile(file);
  if (!json) return json.error();
  RunFile result;
  if (!json->is_object() || !json->contains("quire_sweep")) {
    auto run = RunFromJson(*json, file);
    if (!run) return run.error();
    result.run = std::move(*run);
    return result;
  }
  auto sweep = SweepFromJson(*json, file);
  if (!sweep) return sweep.error();
  if (sweep->points.empty()) return ConfigFault(file + ": field points is empty");
  const auto best =
      std::find_if(sweep->points.begin(), sweep->points.end(),
                   [&](const SweepPoint& point) { return point.request_rate == sweep->best_rate; });
  result.run = best == sweep->points.end() ? sweep->points.front().run : best->run;
  result.sweep = std::move(*sweep);
  return result;
}

}  // namespace quire
