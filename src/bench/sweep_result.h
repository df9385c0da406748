// SweepResult: runs of one load at several rates, and which of them met the objective.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bench/run_summary.h"

namespace quire {

struct SweepPoint {
  double request_rate = 0;  // offered, requests/s
  bool met = false;
  RunSummary run;
};

struct SweepResult {
  // (metric, percentile, bound in ms), e.g. ttft p99 < 500.
  struct Objective {
    std::string metric;  // ttft|tpot|itl|e2el
    double percentile = 99;
    double bound_ms = 500;
  };
  std::vector<Objective> objectives;
  std::vector<SweepPoint> points;  // by rate
  double best_rate = 0;            // the highest that met them all; 0: none did
};

}  // namespace quire
