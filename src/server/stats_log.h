// StatsLog: a line about the load every few seconds while there is any. Owns its timer, which ends
// with the pool.
#pragma once

#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "server/metrics.h"

namespace quire {

// The line for the time since `before`.
std::string StatsLine(const Gauges& gauges, const Totals& before, const Totals& now,
                      double seconds);

class StatsLog : public std::enable_shared_from_this<StatsLog> {
 public:
  StatsLog(asio::thread_pool& pool, std::chrono::milliseconds interval,
           std::function<Gauges()> gauges, std::function<Totals()> totals);
  void Start();

 private:
  void Tick();

  asio::steady_timer timer_;
  std::chrono::milliseconds interval_;
  std::function<Gauges()> gauges_;
  std::function<Totals()> totals_;
  Totals last_;
  bool was_busy_ = false;
};

}  // namespace quire
