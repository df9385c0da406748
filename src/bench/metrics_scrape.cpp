#include "bench/metrics_scrape.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

namespace quire {
namespace {

constexpr double kMostRequests = 1e9;  // beyond it a gauge is no count of requests
constexpr int kFailuresUntilGivenUp = 3;

enum class Gauge : unsigned char { kRunning, kWaiting, kUsage };

struct GaugeName {
  std::string_view name;
  Gauge gauge;
};
constexpr GaugeName kGaugeNames[] = {
    {"vllm:num_requests_running", Gauge::kRunning},
    {"vllm:num_requests_waiting", Gauge::kWaiting},
    {"vllm:kv_cache_usage_perc", Gauge::kUsage},
    {"vllm:gpu_cache_usage_perc", Gauge::kUsage},  // vLLM before 0.10
    {"sglang:num_running_reqs", Gauge::kRunning},
    {"sglang:num_queue_reqs", Gauge::kWaiting},
    {"sglang:token_usage", Gauge::kUsage},
    {"llamacpp:requests_processing", Gauge::kRunning},
    {"llamacpp:requests_deferred", Gauge::kWaiting},
    {"llamacpp:kv_cache_usage_ratio", Gauge::kUsage},
};

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

void SkipBlanks(std::string_view& text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
}

// Past the '}' of labels that begin with '{'; false where they do not end.
bool SkipLabels(std::string_view& text) {
  bool quoted = false;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (quoted && text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (!quoted && text[i] == '}') {
      text.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

std::optional<double> ReadValue(std::string_view text) {
  SkipBlanks(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !std::isfinite(value) || value < 0) return std::nullopt;
  if (end != text.data() + text.size() && !IsBlank(*end)) return std::nullopt;
  return value;
}

// The gauges of one text, before they are a server's.
struct GaugeSums {
  double sum[3] = {0, 0, 0};
  int count[3] = {0, 0, 0};

  void ReadLine(std::string_view line) {
    SkipBlanks(line);
    const std::size_t length = std::min(line.find_first_of("{ \t"), line.size());
    const std::string_view name = line.substr(0, length);
    for (const GaugeName& known : kGaugeNames) {
      if (known.name != name) continue;
      line.remove_prefix(length);
      SkipBlanks(line);
      if (!line.empty() && line.front() == '{' && !SkipLabels(line)) return;
      const auto value = ReadValue(line);
      const auto index = static_cast<std::size_t>(known.gauge);
      if (!value || *value > kMostRequests) return;
      sum[index] += *value;
      ++count[index];
      return;
    }
  }
};

}  // namespace

ServerGauges ParseGauges(std::string_view text) {
  GaugeSums sums;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    sums.ReadLine(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  ServerGauges gauges;
  if (sums.count[0] > 0) gauges.running = sums.sum[0];
  if (sums.count[1] > 0) gauges.waiting = sums.sum[1];
  if (sums.count[2] > 0) gauges.kv_cache_usage = std::min(1.0, sums.sum[2] / sums.count[2]);
  return gauges;
}

MetricsScraper::MetricsScraper(HttpClient client, std::chrono::milliseconds interval)
    : client_(std::move(client)), thread_([this, interval] { Loop(interval); }) {}

MetricsScraper::~MetricsScraper() { Stop(); }

std::vector<GaugeSample> MetricsScraper::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  return std::move(samples_);
}

void MetricsScraper::Loop(std::chrono::milliseconds interval) {
  int failures = 0;
  TimePoint next = Now();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    const TimePoint asked = Now();
    const auto reply = client_.Get("/metrics");
    const ServerGauges gauges =
        reply && reply->status == 200 ? ParseGauges(reply->body) : ServerGauges();
    if (gauges.any()) samples_.push_back({asked + (Now() - asked) / 2, gauges});
    failures = gauges.any() ? 0 : failures + 1;
    lock.lock();
    // A busy server may miss some; one that never had any is left alone.
    if (samples_.empty() && failures >= kFailuresUntilGivenUp) return;
    next = std::max(next + interval, Now());
    changed_.wait_until(lock, next, [this] { return stopping_; });
  }
}

void FillGauges(std::span<const GaugeSample> samples, TimePoint start,
                std::span<SeriesPoint> series) {
  struct Mean {
    double sum = 0;
    int count = 0;
    void Add(double value) {
      if (value < 0) return;
      sum += value;
      ++count;
    }
    double Value() const { return count > 0 ? sum / count : -1; }
  };
  for (std::size_t i = 0; i < series.size(); ++i) {
    Mean running;
    Mean waiting;
    Mean usage;
    while (!samples.empty() && Seconds(samples.front().time - start) < static_cast<double>(i + 1)) {
      const ServerGauges& gauges = samples.front().gauges;
      if (samples.front().time >= start) {
        running.Add(gauges.running);
        waiting.Add(gauges.waiting);
        usage.Add(gauges.kv_cache_usage);
      }
      samples = samples.subspan(1);
    }
    series[i].running = running.Value();
    series[i].waiting = waiting.Value();
    series[i].kv_cache_usage = usage.Value();
  }
}

}  // namespace quire
