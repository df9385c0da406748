// RunSummary: everything that is kept of one run, and what tables, JSON files and reports are made
// from.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bench/request_record.h"

namespace quire {

// Of one latency metric, in milliseconds. Percentiles interpolate linearly between the two nearest
// ranks, as numpy.percentile does.
struct Distribution {
  std::size_t count = 0;
  double mean = 0;
  double median = 0;
  double std = 0;
  double max = 0;
  std::map<double, double> percentiles;  // e.g. 99 -> ms; those asked for, and always 99
  // The empirical CDF at no more than 200 points: (ms, fraction).
  std::vector<std::pair<double, double>> cdf;
};

// What was measured, in words and numbers that a table's head can show. Empty or 0: unknown.
struct RunSubject {
  std::string label;         // the column's head; by default the model's name
  std::string model;         // as served
  std::string tokenizer;     // folder, or empty where the server's was used
  std::string backend_name;  // "Quire 0.1.0", "vLLM 0.23.0": the server, as it says of itself
  std::string dtype;         // "bfloat16", or the quantization: "fp8", "gptq-int4"
  double weights_gb = 0;
  std::string gpu;  // "NVIDIA H200", or the CPU's name
  int num_gpus = 0;
  int tensor_parallel = 0;
};

// How the load was made; what repeating it takes.
struct RunConfig {
  std::string date;     // local time, 20261121-031500
  std::string command;  // as typed, with the API key left out
  std::string endpoint_type = "openai";
  std::string base_url;
  std::string dataset = "random";
  int num_prompts = 0;
  double request_rate = 0;  // requests/s; infinity: all at once
  double burstiness = 1;    // shape of the gamma distribution of gaps; 1: Poisson
  std::optional<int> max_concurrency;
  std::uint64_t seed = 0;
  bool ignore_eos = false;
  double cost_per_hour = 0;                                // of the whole server; 0: not asked
  std::vector<std::string> percentile_metrics;             // of ttft tpot itl e2el
  std::vector<double> metric_percentiles = {99};           // percent
  std::vector<std::pair<std::string, double>> goodput_ms;  // ttft|tpot|e2el -> bound
};

// One second of a run.
struct SeriesPoint {
  double t_s = 0;              // the second's start, from the run's
  double output_tokens = 0;    // events with choices that arrived in it (1 each, as vLLM counts)
  double concurrent = 0;       // most requests that were in flight in it
  double ttft_ms = 0;          // median of the first tokens that came in it; < 0: none came
  double running = -1;         // the server's own gauges (/metrics), < 0: it has none
  double waiting = -1;         //
  double kv_cache_usage = -1;  // 0..1
};

// Energy of all GPUs of this host over the run (NVML), only where the server runs on it.
struct EnergyUse {
  double joules = 0;
  double idle_watts = 0;  // before the run
};

// What the machine is, as lines for people: (name, value); from `quire topo` and the server.
using HostFacts = std::vector<std::pair<std::string, std::string>>;

struct RunSummary {
  RunSubject subject;
  RunConfig config;

  double duration_s = 0;
  int completed = 0;
  int failed = 0;
  int good = 0;  // completed within all of goodput_ms; 0 where there are none
  std::int64_t total_input_tokens = 0;
  std::int64_t total_output_tokens = 0;
  std::int64_t cached_input_tokens = 0;
  double peak_output_per_s = 0;  // the busiest second's events
  double peak_concurrent = 0;
  Distribution ttft, tpot, itl, e2el;
  Distribution send_lag;              // sent_s - start_s: what the generator itself was late by
  Distribution slot_wait;             // start_s - planned_s: what --max-concurrency held back
  std::map<std::string, int> errors;  // message -> how often
  std::vector<SeriesPoint> series;
  // (when it started, ms) of at most 1,000 requests, in order: TTFT against time and load.
  std::vector<std::pair<double, double>> ttft_over_time;
  std::optional<EnergyUse> energy;
  HostFacts host;

  double RequestsPerS() const { return Per(completed); }
  double GoodPerS() const { return Per(good); }
  double InputPerS() const { return Per(static_cast<double>(total_input_tokens)); }
  double OutputPerS() const { return Per(static_cast<double>(total_output_tokens)); }
  double TotalPerS() const { return InputPerS() + OutputPerS(); }
  // Tokens/s of one stream: 1000 / median TPOT, and of the slow tail 1000 / P99 TPOT. 0: unknown.
  double MedianEvalRate() const { return tpot.median > 0 ? 1000 / tpot.median : 0; }
  double P99EvalRate() const;
  // Price of a million tokens (input and output together, and output alone); 0: unknown.
  double CostPerMillionTokens() const;
  double CostPerMillionOutputTokens() const;
  double JoulesPerOutputToken() const;  // 0: unknown

 private:
  double Per(double amount) const { return duration_s > 0 ? amount / duration_s : 0; }
};

// Percentiles of `values` (ms), which it may reorder.
Distribution Distribute(std::vector<double> values, std::span<const double> percentiles);

// The linear-interpolation percentile (0..100) of sorted values; 0 for none.
double Percentile(std::span<const double> sorted, double percent);

// What the records say under `config`; subject, series, energy and host are the caller's to fill
// in, as they need more than records. duration_s: from the first planned start to the last event.
RunSummary Summarize(std::span<const RequestRecord> records, RunConfig config, double duration_s);

}  // namespace quire
