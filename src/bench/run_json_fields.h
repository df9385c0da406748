// What the writer and the reader of run files share.
#pragma once

#include <span>

#include "bench/run_summary.h"

namespace quire {

inline constexpr const char* kLatencyMetricNames[] = {"ttft", "tpot", "itl", "e2el"};

struct SeriesColumn {
  const char* name;
  double SeriesPoint::*field;
};
std::span<const SeriesColumn> SeriesColumns();

}  // namespace quire
