#include "bench/run_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <set>

#include "bench/html_text.h"
#include "bench/objective.h"
#include "bench/printable.h"

namespace quire {
namespace {

constexpr std::size_t kTableWidth = 100;
constexpr std::size_t kMinColumn = 11;  // a run's, when there are too many for the width

using TextOf = std::function<std::string(const RunSummary&)>;
using FigureOf = std::function<double(const RunSummary&)>;  // 0: unknown

double P99(const Distribution& of) {
  const auto value = of.percentiles.find(99);
  return value == of.percentiles.end() ? 0 : value->second;
}

std::string RatioText(double ratio) {
  if (ratio < 0.1) return fmt::format("{:.2g}", ratio);
  return GroupedNumber(ratio, ratio < 100 ? 2 : 0);
}

// Collects rows; those that no run knows are dropped.
class RowList {
 public:
  explicit RowList(std::span<const RunSummary> runs) : runs_(runs) {}

  void Text(std::string name, const TextOf& of) {
    TableRow row{std::move(name), {}, {}};
    for (const RunSummary& run : runs_) row.values.push_back(of(run));
    Keep(std::move(row));
  }

  void Figure(std::string name, int decimals, const FigureOf& of, bool compare = true) {
    TableRow row{std::move(name), {}, {}};
    for (const RunSummary& run : runs_) {
      const double value = of(run);
      row.values.push_back(value > 0 && std::isfinite(value) ? GroupedNumber(value, decimals) : "");
    }
    if (compare && runs_.size() > 1 && !row.values.front().empty() && !row.values.back().empty())
      row.ratio = RatioText(of(runs_.back()) / of(runs_.front()));
    Keep(std::move(row));
  }

  std::vector<TableRow> Take() && { return std::move(rows_); }

 private:
  void Keep(TableRow row) {
    const auto known = [](const std::string& value) { return !value.empty(); };
    if (std::any_of(row.values.begin(), row.values.end(), known)) rows_.push_back(std::move(row));
  }

  std::span<const RunSummary> runs_;
  std::vector<TableRow> rows_;
};

std::string GpuText(const RunSummary& run) {
  const RunSubject& subject = run.subject;
  if (subject.gpu.empty()) return subject.num_gpus > 0 ? fmt::format("{}", subject.num_gpus) : "";
  return subject.num_gpus > 0 ? fmt::format("{} × {}", subject.gpu, subject.num_gpus) : subject.gpu;
}

void AddSubjectRows(RowList& rows) {
  rows.Text("Model", [](const RunSummary& run) { return run.subject.model; });
  rows.Text("Dtype / Quantization", [](const RunSummary& run) { return run.subject.dtype; });
  rows.Figure(
      "Weights (GB)", 2, [](const RunSummary& run) { return run.subject.weights_gb; }, false);
  rows.Text("Back end", [](const RunSummary& run) { return run.subject.backend_name; });
  rows.Text("GPU × count", GpuText);
  rows.Text("Tensor parallel", [](const RunSummary& run) {
    const int size = run.subject.tensor_parallel;
    return size > 0 ? fmt::format("{}", size) : "";
  });
}

void AddThroughputRows(RowList& rows) {
  rows.Figure(
      "Requests", 0, [](const RunSummary& r) { return r.completed + r.failed; }, false);
  rows.Figure("Benchmark Duration (s)", 2, [](const RunSummary& r) { return r.duration_s; });
  rows.Figure("Total Input Tokens", 0,
              [](const RunSummary& r) { return static_cast<double>(r.total_input_tokens); });
  rows.Figure("Total Generated Tokens", 0,
              [](const RunSummary& r) { return static_cast<double>(r.total_output_tokens); });
  rows.Figure("Request (req/s)", 2, &RunSummary::RequestsPerS);
  rows.Figure("Input (tokens/s)", 1, &RunSummary::InputPerS);
  rows.Figure("Output (tokens/s)", 1, &RunSummary::OutputPerS);
  rows.Figure("Total Throughput (tokens/s)", 1, &RunSummary::TotalPerS);
}

void AddLatencyRows(RowList& rows) {
  const std::pair<const char*, Distribution RunSummary::*> metrics[] = {
      {"TTFT", &RunSummary::ttft}, {"TPOT", &RunSummary::tpot}, {"ITL", &RunSummary::itl}};
  for (const auto& [name, metric] : metrics) {
    rows.Figure(fmt::format("Median {} (ms)", name), 2,
                [metric = metric](const RunSummary& run) { return (run.*metric).median; });
    rows.Figure(fmt::format("P99 {} (ms)", name), 2,
                [metric = metric](const RunSummary& run) { return P99(run.*metric); });
  }
  rows.Figure("Median Eval Rate (tokens/s)", 2, &RunSummary::MedianEvalRate);
  rows.Figure("P99 Eval Rate (tokens/s)", 2, &RunSummary::P99EvalRate);
}

void AddFailureRows(RowList& rows, std::span<const RunSummary> runs) {
  const auto failed = [](const RunSummary& run) { return run.failed > 0; };
  if (std::any_of(runs.begin(), runs.end(), failed)) {
    rows.Text("Failed Requests",
              [](const RunSummary& run) { return GroupedNumber(run.failed, 0); });
  }
  rows.Text("Goodput (req/s)", [](const RunSummary& run) {
    const bool asked = !run.config.goodput_ms.empty() || run.good > 0;
    return asked ? GroupedNumber(run.GoodPerS(), 2) : "";
  });
}

void AddCostRows(RowList& rows) {
  rows.Figure("Cost / Million Tokens", 4, &RunSummary::CostPerMillionTokens);
  rows.Figure("Cost / Million Output Tokens", 4, &RunSummary::CostPerMillionOutputTokens);
  rows.Figure("Joules per Output Token", 3, &RunSummary::JoulesPerOutputToken);
  rows.Figure("Idle Power (W)", 1,
              [](const RunSummary& run) { return run.energy ? run.energy->idle_watts : 0; });
}

// A table whose first column is at the left and whose others are at the right. Cells that are wider
// than their column go on in the lines below.
class TextTable {
 public:
  explicit TextTable(std::vector<std::size_t> widths) : widths_(std::move(widths)) {}

  void Row(const std::vector<std::string>& cells) {
    std::vector<std::vector<std::string>> wrapped;
    std::size_t height = 1;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      wrapped.push_back(WrapText(PrintableText(cells[i]), widths_[i]));
      height = std::max(height, wrapped.back().size());
    }
    for (std::size_t line = 0; line < height; ++line) {
      std::string text;
      for (std::size_t i = 0; i < wrapped.size(); ++i) {
        const std::string cell = line < wrapped[i].size() ? wrapped[i][line] : "";
        const std::size_t width = DisplayWidth(cell);
        const std::string padding(widths_[i] > width ? widths_[i] - width : 0, ' ');
        text += i == 0 ? cell + padding : "  " + padding + cell;
      }
      out_ += text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
    }
  }

  void Rule() {
    std::size_t width = 2 * (widths_.size() - 1);
    for (const std::size_t column : widths_) width += column;
    for (std::size_t i = 0; i < width; ++i) out_ += "─";
    out_ += "\n";
  }

  std::string Take() && { return std::move(out_); }

 private:
  std::vector<std::size_t> widths_;
  std::string out_;
};

using TextGrid = std::vector<std::vector<std::string>>;  // rows of cells, all of one length

// As wide as their cells; runs' columns (all but the first, and the last where it is `narrow`)
// give way until the table fits.
std::vector<std::size_t> FitColumns(const TextGrid& grid, bool narrow_last) {
  std::vector<std::size_t> widths(grid.front().size());
  for (const auto& row : grid) {
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], DisplayWidth(PrintableText(row[i])));
  }
  const std::size_t end = widths.size() - (narrow_last ? 1 : 0);
  std::size_t fixed = widths[0] + (narrow_last ? widths.back() + 2 : 0);
  std::size_t cap = kTableWidth;
  for (; cap > kMinColumn; --cap) {
    std::size_t total = fixed;
    for (std::size_t i = 1; i < end; ++i) total += 2 + std::min(widths[i], cap);
    if (total <= kTableWidth) break;
  }
  for (std::size_t i = 1; i < end; ++i) widths[i] = std::min(widths[i], cap);
  return widths;
}

std::string RenderGrid(const TextGrid& grid, bool narrow_last) {
  TextTable table(FitColumns(grid, narrow_last));
  table.Row(grid.front());
  table.Rule();
  for (std::size_t i = 1; i < grid.size(); ++i) table.Row(grid[i]);
  return std::move(table).Take();
}

}  // namespace

std::vector<std::string> RunNames(std::span<const RunSummary> runs) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const RunSummary& run : runs) {
    std::string name = !run.subject.label.empty()   ? run.subject.label
                       : !run.subject.model.empty() ? run.subject.model
                                                    : fmt::format("run {}", names.size() + 1);
    const std::string base = name;
    for (int n = 2; !taken.insert(name).second; ++n) name = fmt::format("{} ({})", base, n);
    names.push_back(std::move(name));
  }
  return names;
}

std::vector<TableRow> ComparisonRows(std::span<const RunSummary> runs) {
  RowList rows(runs);
  AddSubjectRows(rows);
  AddThroughputRows(rows);
  AddLatencyRows(rows);
  AddFailureRows(rows, runs);
  AddCostRows(rows);
  return std::move(rows).Take();
}

std::string ComparisonTable(std::span<const RunSummary> runs) {
  if (runs.empty()) return "";
  const bool ratios = runs.size() > 1;
  TextGrid grid{{""}};
  for (std::string& name : RunNames(runs)) grid[0].push_back(std::move(name));
  if (ratios) grid[0].push_back("Ratio");
  for (TableRow& row : ComparisonRows(runs)) {
    std::vector<std::string> cells{std::move(row.name)};
    for (std::string& value : row.values) cells.push_back(value.empty() ? "–" : std::move(value));
    if (ratios) cells.push_back(std::move(row.ratio));
    grid.push_back(std::move(cells));
  }
  return RenderGrid(grid, ratios);
}

std::string SweepTable(const SweepResult& sweep) {
  TextGrid grid{{"Offered (req/s)", "Request (req/s)", "Output (tokens/s)"}};
  for (const SweepResult::Objective& objective : sweep.objectives)
    grid[0].push_back(ObjectiveMetricName(objective) + " (ms)");
  grid[0].insert(grid[0].end(), {"Failed", "Met"});
  for (const SweepPoint& point : sweep.points) {
    std::vector<std::string> cells{GroupedNumber(point.request_rate, 2),
                                   GroupedNumber(point.run.RequestsPerS(), 2),
                                   GroupedNumber(point.run.OutputPerS(), 1)};
    for (const SweepResult::Objective& objective : sweep.objectives) {
      const auto value = ObjectiveValue(objective, point.run);
      cells.push_back(value ? GroupedNumber(*value, 2) : "–");
    }
    cells.push_back(GroupedNumber(point.run.failed, 0));
    cells.push_back(point.met ? "yes" : "no");
    grid.push_back(std::move(cells));
  }
  std::string goals;
  for (const SweepResult::Objective& objective : sweep.objectives)
    goals += (goals.empty() ? "" : ", ") + ObjectiveName(objective);
  const std::string verdict = sweep.best_rate > 0
                                  ? fmt::format("Highest rate with {}: {} req/s\n", goals,
                                                GroupedNumber(sweep.best_rate, 2))
                                  : fmt::format("No rate that was tried had {}\n", goals);
  return RenderGrid(grid, false) + verdict;
}

}  // namespace quire
