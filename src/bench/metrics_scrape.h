// What a server says at /metrics while it is measured: requests running and waiting, cache use.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "bench/run_summary.h"
#include "net/http_client.h"

namespace quire {

// < 0: the server does not say.
struct ServerGauges {
  double running = -1;
  double waiting = -1;
  double kv_cache_usage = -1;  // 0..1
  bool any() const { return running >= 0 || waiting >= 0 || kv_cache_usage >= 0; }
};

// From Prometheus' text under the names of vLLM and Quire, SGLang or llama.cpp. Requests are summed
// over the engines that a server has, cache use is their mean. Lines that are not understood are
// skipped.
ServerGauges ParseGauges(std::string_view text);

struct GaugeSample {
  TimePoint time;
  ServerGauges gauges;
};

// Owns a thread that asks for /metrics twice a second, until it is stopped or the server turns out
// to have none.
class MetricsScraper {
 public:
  explicit MetricsScraper(HttpClient client,
                          std::chrono::milliseconds interval = std::chrono::milliseconds(500));
  ~MetricsScraper();
  MetricsScraper(const MetricsScraper&) = delete;
  MetricsScraper& operator=(const MetricsScraper&) = delete;

  std::vector<GaugeSample> Stop();

 private:
  void Loop(std::chrono::milliseconds interval);

  HttpClient client_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::vector<GaugeSample> samples_;  // the thread's until it is joined
  std::thread thread_;
};

// Puts the mean of each second's samples into its point; `start` is the run's.
void FillGauges(std::span<const GaugeSample> samples, TimePoint start,
                std::span<SeriesPoint> series);

}  // namespace quire
