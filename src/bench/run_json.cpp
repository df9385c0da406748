#include "bench/run_json.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "bench/objective.h"
#include "bench/run_json_fields.h"

namespace quire {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using FileHandle = std::unique_ptr<std::FILE, CloseFile>;

// JSON has no infinity; vLLM writes that of the request rate as this word.
Json RateJson(double rate) { return std::isinf(rate) ? Json("inf") : Json(rate); }

template <class First, class Second>
Json PairsJson(const std::vector<std::pair<First, Second>>& pairs) {
  Json result = Json::array();
  for (const auto& [first, second] : pairs) result.push_back(Json::array({first, second}));
  return result;
}

// What vLLM has of a metric, under its names.
void AddVllmMetric(Json& json, const std::string& name, const Distribution& of) {
  json["mean_" + name + "_ms"] = of.mean;
  json["median_" + name + "_ms"] = of.median;
  json["std_" + name + "_ms"] = of.std;
  for (const auto& [percent, value] : of.percentiles)
    json["p" + PercentWord(percent) + "_" + name + "_ms"] = value;
}

// And what it lacks.
Json MetricJson(const Distribution& of) {
  return {{"count", of.count}, {"max", of.max}, {"cdf", PairsJson(of.cdf)}};
}

Json OwnMetricJson(const Distribution& of) {
  Json json = MetricJson(of);
  json["mean"] = of.mean;
  json["median"] = of.median;
  json["std"] = of.std;
  json["percentiles"] = PairsJson(
      std::vector<std::pair<double, double>>(of.percentiles.begin(), of.percentiles.end()));
  return json;
}

Json SubjectJson(const RunSubject& subject) {
  return {{"backend_name", subject.backend_name}, {"dtype", subject.dtype},
          {"weights_gb", subject.weights_gb},     {"gpu", subject.gpu},
          {"num_gpus", subject.num_gpus},         {"tensor_parallel", subject.tensor_parallel}};
}

Json ConfigJson(const RunConfig& config) {
  return {{"command", config.command},
          {"base_url", config.base_url},
          {"dataset", config.dataset},
          {"seed", config.seed},
          {"ignore_eos", config.ignore_eos},
          {"cost_per_hour", config.cost_per_hour},
          {"percentile_metrics", config.percentile_metrics},
          {"metric_percentiles", config.metric_percentiles},
          {"goodput_ms", PairsJson(config.goodput_ms)}};
}

// By columns, which plotting libraries take as they are.
Json SeriesJson(const std::vector<SeriesPoint>& series) {
  Json json;
  for (const SeriesColumn& column : SeriesColumns()) {
    Json values = Json::array();
    for (const SeriesPoint& point : series) values.push_back(point.*column.field);
    json[column.name] = std::move(values);
  }
  return json;
}

Json QuireJson(const RunSummary& run) {
  Json json;
  json["version"] = 1;
  json["subject"] = SubjectJson(run.subject);
  json["config"] = ConfigJson(run.config);
  json["good"] = run.good;
  json["cached_input_tokens"] = run.cached_input_tokens;
  for (const char* name : kLatencyMetricNames) json[name] = MetricJson(*MetricOf(run, name));
  json["send_lag"] = OwnMetricJson(run.send_lag);
  json["slot_wait"] = OwnMetricJson(run.slot_wait);
  json["errors"] =
      PairsJson(std::vector<std::pair<std::string, int>>(run.errors.begin(), run.errors.end()));
  json["series"] = SeriesJson(run.series);
  json["ttft_over_time"] = PairsJson(run.ttft_over_time);
  if (run.energy) {
    json["energy"] = {{"joules", run.energy->joules}, {"idle_watts", run.energy->idle_watts}};
  }
  json["host"] = PairsJson(run.host);
  return json;
}

void AddRequests(Json& json, std::span<const RequestRecord> records) {
  const char* names[] = {"input_lens", "output_lens", "ttfts",           "itls",
                         "latencies",  "start_times", "generated_texts", "errors"};
  for (const char* name : names) json[name] = Json::array();
  for (const RequestRecord& record : records) {
    json["input_lens"].push_back(record.input_tokens);
    json["output_lens"].push_back(record.ok() ? record.output_tokens : 0);
    json["ttfts"].push_back(record.ttft_s);
    json["itls"].push_back(record.itl);
    json["latencies"].push_back(record.latency_s);
    json["start_times"].push_back(record.start_s);
    json["generated_texts"].push_back(record.text);
    json["errors"].push_back(record.error);
  }
}

Error FileFault(const std::string& file, const std::string& what) {
  return ConfigFault(file + ": " + what);
}

}  // namespace

std::span<const SeriesColumn> SeriesColumns() {
  static constexpr SeriesColumn kColumns[] = {
      {"t_s", &SeriesPoint::t_s},
      {"output_tokens", &SeriesPoint::output_tokens},
      {"concurrent", &SeriesPoint::concurrent},
      {"ttft_ms", &SeriesPoint::ttft_ms},
      {"running", &SeriesPoint::running},
      {"waiting", &SeriesPoint::waiting},
      {"kv_cache_usage", &SeriesPoint::kv_cache_usage},
  };
  return kColumns;
}

Json ToJson(const RunSummary& run, std::span<const RequestRecord> detailed) {
  const RunConfig& config = run.config;
  Json json;
  json["date"] = config.date;
  json["endpoint_type"] = config.endpoint_type;
  json["backend"] = config.endpoint_type;
  json["label"] = run.subject.label.empty() ? Json() : Json(run.subject.label);
  json["model_id"] = run.subject.model;
  json["tokenizer_id"] = run.subject.tokenizer.empty() ? Json() : Json(run.subject.tokenizer);
  json["num_prompts"] = config.num_prompts;
  json["request_rate"] = RateJson(config.request_rate);
  json["burstiness"] = config.burstiness;
  json["max_concurrency"] = config.max_concurrency ? Json(*config.max_concurrency) : Json();
  json["duration"] = run.duration_s;
  json["completed"] = run.completed;
  json["failed"] = run.failed;
  json["total_input_tokens"] = run.total_input_tokens;
  json["total_output_tokens"] = run.total_output_tokens;
  json["request_throughput"] = run.RequestsPerS();
  json["request_goodput"] = config.goodput_ms.empty() ? Json() : Json(run.GoodPerS());
  json["output_throughput"] = run.OutputPerS();
  json["total_token_throughput"] = run.TotalPerS();
  if (!detailed.empty()) AddRequests(json, detailed);
  json["max_output_tokens_per_s"] = run.peak_output_per_s;
  json["max_concurrent_requests"] = run.peak_concurrent;
  for (const char* name : kLatencyMetricNames) AddVllmMetric(json, name, *MetricOf(run, name));
  json["quire"] = QuireJson(run);
  return json;
}

Json ToJson(const SweepResult& sweep) {
  Json json;
  json["quire_sweep"] = 1;
  Json objectives = Json::array();
  for (const SweepResult::Objective& objective : sweep.objectives) {
    objectives.push_back({{"metric", objective.metric},
                          {"percentile", objective.percentile},
                          {"bound_ms", objective.bound_ms}});
  }
  json["objectives"] = std::move(objectives);
  json["best_rate"] = sweep.best_rate;
  Json points = Json::array();
  for (const SweepPoint& point : sweep.points) {
    points.push_back({{"request_rate", RateJson(point.request_rate)},
                      {"met", point.met},
                      {"run", ToJson(point.run)}});
  }
  json["points"] = std::move(points);
  return json;
}

Result<Json> ReadJsonFile(const std::string& file) {
  const FileHandle handle(std::fopen(file.c_str(), "rb"));
  if (handle == nullptr) return FileFault(file, std::strerror(errno));
  std::string text;
  char buffer[1 << 16];
  while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, handle.get())) {
    text.append(buffer, count);
    if (text.size() > kMaxFileBytes) return FileFault(file, "larger than 1 GiB");
  }
  if (std::ferror(handle.get()) != 0) return FileFault(file, std::strerror(errno));
  auto json = ParseJson(text);
  if (!json) return FileFault(file, json.error().message);
  return json;
}

Status WriteTextFile(std::string_view text, const std::string& file) {
  FileHandle handle(std::fopen(file.c_str(), "wb"));
  if (handle == nullptr) return FileFault(file, std::strerror(errno));
  const bool written = std::fwrite(text.data(), 1, text.size(), handle.get()) == text.size();
  if (std::fclose(handle.release()) != 0 || !written) return FileFault(file, std::strerror(errno));
  return {};
}

Status WriteJsonFile(const Json& json, const std::string& file) {
  return WriteTextFile(WriteJson(json) + "\n", file);
}

}  // namespace quire
