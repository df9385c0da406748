// ServingLines: the block that `vllm bench serve` prints, so that what reads it reads ours.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>
#include <vector>

#include "bench/objective.h"
#include "bench/printable.h"
#include "bench/run_table.h"

namespace quire {
namespace {

constexpr double kNoticeableMs = 1;  // less of our own delays is not worth a line
constexpr std::size_t kMaxErrorLines = 10;

// Appends lines in vLLM's columns.
class LineBlock {
 public:
  void Head(std::string_view head, char fill) {
    out_ += fill == '=' ? fmt::format("{:=^50}\n", head) : fmt::format("{:-^50}\n", head);
  }
  void Count(std::string_view name, std::int64_t value) {
    fmt::format_to(std::back_inserter(out_), "{:<40} {:<10}\n", name, value);
  }
  void Value(std::string_view name, double value) {
    fmt::format_to(std::back_inserter(out_), "{:<40} {:<10.2f}\n", name, value);
  }
  void Latency(std::string_view head, std::string_view name, const Distribution& of,
               const std::vector<double>& percentiles) {
    Head(head, '-');
    Value(fmt::format("Mean {} (ms):", name), of.mean);
    Value(fmt::format("Median {} (ms):", name), of.median);
    for (const double percent : percentiles) {
      const auto value = of.percentiles.find(percent);
      if (value != of.percentiles.end())
        Value(fmt::format("P{} {} (ms):", PercentWord(percent), name), value->second);
    }
  }
  std::string Take() && { return std::move(out_); }

 private:
  std::string out_;
};

bool IsSelected(const RunConfig& config, std::string_view metric) {
  if (config.percentile_metrics.empty()) return metric != "e2el";
  return std::find(config.percentile_metrics.begin(), config.percentile_metrics.end(), metric) !=
         config.percentile_metrics.end();
}

void AddTotals(LineBlock& block, const RunSummary& run) {
  const RunConfig& config = run.config;
  block.Count("Successful requests:", run.completed);
  block.Count("Failed requests:", run.failed);
  if (config.max_concurrency) block.Count("Maximum request concurrency:", *config.max_concurrency);
  if (std::isfinite(config.request_rate) && config.request_rate > 0)
    block.Value("Request rate configured (RPS):", config.request_rate);
  block.Value("Benchmark duration (s):", run.duration_s);
  block.Count("Total input tokens:", run.total_input_tokens);
  block.Count("Total generated tokens:", run.total_output_tokens);
  block.Value("Request throughput (req/s):", run.RequestsPerS());
  if (!config.goodput_ms.empty()) block.Value("Request goodput (req/s):", run.GoodPerS());
  block.Value("Output token throughput (tok/s):", run.OutputPerS());
  block.Value("Peak output token throughput (tok/s):", run.peak_output_per_s);
  block.Value("Peak concurrent requests:", run.peak_concurrent);
  block.Value("Total token throughput (tok/s):", run.TotalPerS());
}

// What vLLM's block lacks: what of the latencies is the client's, and why requests failed.
void AddClientSide(LineBlock& block, const RunSummary& run) {
  const std::vector<double>& percentiles = run.config.metric_percentiles;
  if (run.slot_wait.max >= kNoticeableMs)
    block.Latency("Client-side Queueing", "Client Queue Time", run.slot_wait, percentiles);
  const auto lag = run.send_lag.percentiles.find(99);
  if (lag != run.send_lag.percentiles.end() && lag->second >= kNoticeableMs)
    block.Latency("Generator Lag", "Send Lag", run.send_lag, percentiles);
  if (run.errors.empty()) return;
  std::vector<std::pair<int, std::string>> errors;
  for (const auto& [message, count] : run.errors) errors.emplace_back(-count, message);
  std::sort(errors.begin(), errors.end());
  block.Head("Errors", '-');
  std::int64_t others = 0;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    if (i < kMaxErrorLines) {
      block.Count(PrintableText(errors[i].second, 120) + ":", -errors[i].first);
    } else {
      others -= errors[i].first;
    }
  }
  if (others > 0) block.Count("Others:", others);
}

}  // namespace

std::string ServingLines(const RunSummary& run) {
  struct MetricHead {
    const char* metric;
    const char* head;
    const char* name;
    const Distribution& values;
  };
  const MetricHead metrics[] = {
      {"ttft", "Time to First Token", "TTFT", run.ttft},
      {"tpot", "Time per Output Token (excl. 1st token)", "TPOT", run.tpot},
      {"itl", "Inter-token Latency", "ITL", run.itl},
      {"e2el", "End-to-end Latency", "E2EL", run.e2el},
  };
  LineBlock block;
  block.Head(" Serving Benchmark Result ", '=');
  AddTotals(block, run);
  for (const MetricHead& metric : metrics) {
    if (IsSelected(run.config, metric.metric))
      block.Latency(metric.head, metric.name, metric.values, run.config.metric_percentiles);
  }
  AddClientSide(block, run);
  block.Head("", '=');
  return std::move(block).Take();
}

}  // namespace quire
