// RenderReport: runs and a sweep as one HTML page that needs nothing else.
#pragma once

#include <span>
#include <string>

#include "bench/run_summary.h"
#include "bench/sweep_result.h"

namespace quire {

struct ReportInput {
  std::string title = "Quire benchmark";
  std::span<const RunSummary> runs;
  const SweepResult* sweep = nullptr;
};

// Valid HTML5 without scripts from elsewhere, fonts or images of the network; nothing that a server
// or a file said gets into it unescaped.
std::string RenderReport(const ReportInput& input);

}  // namespace quire
