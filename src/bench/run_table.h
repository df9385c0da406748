// Runs as text: vLLM's lines, and the table that hosts are compared with, one column a run.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bench/run_summary.h"
#include "bench/sweep_result.h"

namespace quire {

// The lines of `vllm bench serve`, byte for byte where it has them.
std::string ServingLines(const RunSummary& run);

struct TableRow {
  std::string name;
  std::vector<std::string> values;  // one a run; empty: that run does not know it
  std::string ratio;  // of the last run's figure to the first's, "1.25"; empty: there is none
};

// A short name for each run, all different: its label, its model, or "run 1".
std::vector<std::string> RunNames(std::span<const RunSummary> runs);

// The rows of the table; those that no run knows are left out.
std::vector<TableRow> ComparisonRows(std::span<const RunSummary> runs);
// Those rows as text in columns, at most 100 wide for up to 4 runs; with two runs and more a last
// column gives the last as a ratio of the first.
std::string ComparisonTable(std::span<const RunSummary> runs);
std::string SweepTable(const SweepResult& sweep);

}  // namespace quire
