#include "bench/run_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <sstream>

#include "bench/printable.h"
#include "bench/run_json.h"

namespace quire {
namespace {

RunSummary SampleRun() {
  RunSummary run;
  run.subject.model = "org/model";
  run.config.request_rate = std::numeric_limits<double>::infinity();
  run.duration_s = 100;
  run.completed = 300;
  run.total_input_tokens = 30'000;
  run.total_output_tokens = 180'000;
  run.peak_output_per_s = 2345;
  run.peak_concurrent = 300;
  run.ttft = Distribute({100, 200, 600}, {});
  run.tpot = Distribute({20, 25, 40}, {});
  run.itl = Distribute({20, 20, 30}, {});
  run.e2el = Distribute({12'000, 13'000}, {});
  return run;
}

// Trailing blanks included, as Python's "{:<40} {:<10.2f}" leaves them.
TEST(ServingLinesTest, AreVllms) {
  EXPECT_EQ(ServingLines(SampleRun()),
            "============ Serving Benchmark Result ============\n"
            "Successful requests:                     300       \n"
            "Failed requests:                         0         \n"
            "Benchmark duration (s):                  100.00    \n"
            "Total input tokens:                      30000     \n"
            "Total generated tokens:                  180000    \n"
            "Request throughput (req/s):              3.00      \n"
            "Output token throughput (tok/s):         1800.00   \n"
            "Peak output token throughput (tok/s):    2345.00   \n"
            "Peak concurrent requests:                300.00    \n"
            "Total token throughput (tok/s):          2100.00   \n"
            "---------------Time to First Token----------------\n"
            "Mean TTFT (ms):                          300.00    \n"
            "Median TTFT (ms):                        200.00    \n"
            "P99 TTFT (ms):                           592.00    \n"
            "-----Time per Output Token (excl. 1st token)------\n"
            "Mean TPOT (ms):                          28.33     \n"
            "Median TPOT (ms):                        25.00     \n"
            "P99 TPOT (ms):                           39.70     \n"
            "---------------Inter-token Latency----------------\n"
            "Mean ITL (ms):                           23.33     \n"
            "Median ITL (ms):                         20.00     \n"
            "P99 ITL (ms):                            29.80     \n"
            "==================================================\n");
}

TEST(ServingLinesTest, OptionalLines) {
  RunSummary run = SampleRun();
  run.config.request_rate = 2.5;
  run.config.max_concurrency = 64;
  run.config.percentile_metrics = {"e2el"};
  run.config.metric_percentiles = {25, 99.9};
  const double percents[] = {25, 99.9};
  run.e2el = Distribute({1000, 2000}, percents);
  run.config.goodput_ms = {{"ttft", 500}};
  run.good = 250;
  run.failed = 3;
  run.errors = {{"HTTP 503\x1b[31m", 1}, {"refused", 2}};
  run.send_lag = Distribute({2, 4}, percents);
  run.slot_wait = Distribute({0.5, 0.25}, percents);  // too little for a line
  EXPECT_EQ(ServingLines(run),
            "============ Serving Benchmark Result ============\n"
            "Successful requests:                     300       \n"
            "Failed requests:                         3         \n"
            "Maximum request concurrency:             64        \n"
            "Request rate configured (RPS):           2.50      \n"
            "Benchmark duration (s):                  100.00    \n"
            "Total input tokens:                      30000     \n"
            "Total generated tokens:                  180000    \n"
            "Request throughput (req/s):              3.00      \n"
            "Request goodput (req/s):                 2.50      \n"
            "Output token throughput (tok/s):         1800.00   \n"
            "Peak output token throughput (tok/s):    2345.00   \n"
            "Peak concurrent requests:                300.00    \n"
            "Total token throughput (tok/s):          2100.00   \n"
            "----------------End-to-end Latency----------------\n"
            "Mean E2EL (ms):                          1500.00   \n"
            "Median E2EL (ms):                        1500.00   \n"
            "P25 E2EL (ms):                           1250.00   \n"
            "P99.9 E2EL (ms):                         1999.00   \n"
            "------------------Generator Lag-------------------\n"
            "Mean Send Lag (ms):                      3.00      \n"
            "Median Send Lag (ms):                    3.00      \n"
            "P25 Send Lag (ms):                       2.50      \n"
            "P99.9 Send Lag (ms):                     4.00      \n"
            "----------------------Errors----------------------\n"
            "refused:                                 2         \n"
            "HTTP 503\xEF\xBF\xBD[31m:                           1         \n"
            "==================================================\n");
}

std::string Cell(const std::vector<TableRow>& rows, const std::string& name, std::size_t run = 0) {
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const TableRow& candidate) { return candidate.name == name; });
  return row == rows.end() ? "no such row" : row->values.at(run);
}

// The published table: what it derives follows from its raw columns. Its duration is rounded, so
// its derived columns hold within 0.1 %.
TEST(PublishedTableTest, DerivedColumns) {
  const auto file = ReadRunFile(std::string(QUIRE_SOURCE_DIR) + "/tests/data/bench/published.json");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const RunSummary& run = file->run;
  EXPECT_NEAR(run.RequestsPerS(), 6.21, 6.21e-3);
  EXPECT_NEAR(run.InputPerS(), 620.5, 0.6205);
  EXPECT_NEAR(run.OutputPerS(), 3344.9, 3.3449);
  EXPECT_NEAR(run.TotalPerS(), 3965.4, 3.9654);
  const std::vector<TableRow> rows = ComparisonRows({&run, 1});
  EXPECT_EQ(Cell(rows, "P99 Eval Rate (tokens/s)"), "10.97");
  EXPECT_EQ(Cell(rows, "P99 TPOT (ms)"), "91.12");
  EXPECT_EQ(Cell(rows, "Requests"), "300");
  EXPECT_EQ(Cell(rows, "Benchmark Duration (s)"), "48.35");
  EXPECT_EQ(Cell(rows, "Total Input Tokens"), "30,000");
  EXPECT_EQ(Cell(rows, "Total Generated Tokens"), "161,719");
  EXPECT_EQ(Cell(rows, "Input (tokens/s)"), "620.5");
  EXPECT_EQ(Cell(rows, "Median TPOT (ms)"), "no such row");
}

TEST(ComparisonRowsTest, NamesInOrder) {
  RunSummary run = SampleRun();
  run.subject.dtype = "bfloat16";
  run.subject.weights_gb = 16.06;
  run.subject.backend_name = "Quire 0.1.0";
  run.subject.gpu = "NVIDIA H200";
  run.subject.num_gpus = 2;
  run.subject.tensor_parallel = 2;
  run.failed = 1;
  run.config.goodput_ms = {{"ttft", 500}};
  run.config.cost_per_hour = 7.56;
  run.energy = EnergyUse{90'000, 150};
  std::vector<std::string> names;
  const std::vector<TableRow> rows = ComparisonRows({&run, 1});
  for (const TableRow& row : rows) names.push_back(row.name);
  EXPECT_EQ(names, (std::vector<std::string>{"Model",
                                             "Dtype / Quantization",
                                             "Weights (GB)",
                                             "Back end",
                                             "GPU × count",
                                             "Tensor parallel",
                                             "Requests",
                                             "Benchmark Duration (s)",
                                             "Total Input Tokens",
                                             "Total Generated Tokens",
                                             "Request (req/s)",
                                             "Input (tokens/s)",
                                             "Output (tokens/s)",
                                             "Total Throughput (tokens/s)",
                                             "Median TTFT (ms)",
                                             "P99 TTFT (ms)",
                                             "Median TPOT (ms)",
                                             "P99 TPOT (ms)",
                                             "Median ITL (ms)",
                                             "P99 ITL (ms)",
                                             "Median Eval Rate (tokens/s)",
                                             "P99 Eval Rate (tokens/s)",
                                             "Failed Requests",
                                             "Goodput (req/s)",
                                             "Cost / Million Tokens",
                                             "Cost / Million Output Tokens",
                                             "Joules per Output Token",
                                             "Idle Power (W)"}));
  EXPECT_EQ(Cell(rows, "GPU × count"), "NVIDIA H200 × 2");
  EXPECT_EQ(Cell(rows, "Requests"), "301");
  EXPECT_EQ(Cell(rows, "Median Eval Rate (tokens/s)"), "40.00");
  EXPECT_EQ(Cell(rows, "Cost / Million Tokens"), "1.0000");
  EXPECT_EQ(Cell(rows, "Joules per Output Token"), "0.500");
  EXPECT_EQ(rows.front().ratio, "");
}

TEST(ComparisonTableTest, TwoRuns) {
  RunSummary runs[] = {SampleRun(), SampleRun()};
  runs[0].subject.label = "before";
  runs[0].failed = 2;
  runs[0].subject.dtype = "fp8";
  runs[1].subject.label = "after";
  runs[1].duration_s = 80;
  runs[1].itl = {};
  EXPECT_EQ(ComparisonTable(runs),
            "                                before      after  Ratio\n"
            "────────────────────────────────────────────────────────\n"
            "Model                        org/model  org/model\n"
            "Dtype / Quantization               fp8          –\n"
            "Requests                           302        300\n"
            "Benchmark Duration (s)          100.00      80.00   0.80\n"
            "Total Input Tokens              30,000     30,000   1.00\n"
            "Total Generated Tokens         180,000    180,000   1.00\n"
            "Request (req/s)                   3.00       3.75   1.25\n"
            "Input (tokens/s)                 300.0      375.0   1.25\n"
            "Output (tokens/s)              1,800.0    2,250.0   1.25\n"
            "Total Throughput (tokens/s)    2,100.0    2,625.0   1.25\n"
            "Median TTFT (ms)                200.00     200.00   1.00\n"
            "P99 TTFT (ms)                   592.00     592.00   1.00\n"
            "Median TPOT (ms)                 25.00      25.00   1.00\n"
            "P99 TPOT (ms)                    39.70      39.70   1.00\n"
            "Median ITL (ms)                  20.00          –\n"
            "P99 ITL (ms)                     29.80          –\n"
            "Median Eval Rate (tokens/s)      40.00      40.00   1.00\n"
            "P99 Eval Rate (tokens/s)         25.19      25.19   1.00\n"
            "Failed Requests                      2          0\n");
}

TEST(ComparisonTableTest, FourRunsWithLongNamesFitAHundredColumns) {
  std::vector<RunSummary> runs(4, SampleRun());
  for (RunSummary& run : runs) {
    run.subject.model = "meta-llama/Llama-3.1-8B-Instruct-quantized.w8a8";
    run.subject.backend_name = "vLLM 0.23.0";
    run.subject.gpu = "NVIDIA H200";
    run.subject.num_gpus = 8;
    run.total_output_tokens = 123'456'789;
    run.config.cost_per_hour = 20;
    run.energy = EnergyUse{1e6, 800};
  }
  runs[1].subject.label = "a label\nwith \x1b[31mcolours";
  const std::string table = ComparisonTable(runs);
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(DisplayWidth(line), 100u) << line;
  EXPECT_EQ(table.find('\x1b'), std::string::npos);
  EXPECT_NE(table.find("123,456,789"), std::string::npos);
}

TEST(RunNamesTest, AreDifferent) {
  std::vector<RunSummary> runs(4, SampleRun());
  runs[1].subject.label = "x";
  runs[3].subject.model = "";
  EXPECT_EQ(RunNames(runs), (std::vector<std::string>{"org/model", "x", "org/model (2)", "run 4"}));
  EXPECT_EQ(ComparisonTable({}), "");
}

TEST(SweepTableTest, PointsAndVerdict) {
  SweepResult sweep;
  sweep.objectives = {{"ttft", 99, 500}, {"tpot", 99, 50}};
  sweep.points = {{2, true, SampleRun()}, {4, false, SampleRun()}};
  sweep.points[1].run.failed = 7;
  sweep.points[1].run.tpot = {};
  sweep.best_rate = 2;
  EXPECT_EQ(
      SweepTable(sweep),
      "Offered (req/s)  Request (req/s)  Output (tokens/s)  TTFT P99 (ms)  TPOT P99 (ms)  "
      "Failed  Met\n"
      "──────────────────────────────────────────────────────────────────────────────────────"
      "────────\n"
      "2.00                        3.00            1,800.0         592.00          39.70       "
      "0  yes\n"
      "4.00                        3.00            1,800.0         592.00              –       "
      "7   no\n"
      "Highest rate with TTFT P99 < 500 ms, TPOT P99 < 50 ms: 2.00 req/s\n");
  sweep.best_rate = 0;
  EXPECT_NE(SweepTable(sweep).find("No rate that was tried had TTFT P99 < 500 ms, TPOT"),
            std::string::npos);
}

TEST(PrintableTest, Text) {
  EXPECT_EQ(PrintableText("a\nb\x1b[0m\xff"), "a b\xEF\xBF\xBD[0m\xEF\xBF\xBD");
  EXPECT_EQ(PrintableText("abcdef", 4), "abc…");
  EXPECT_EQ(PrintableText("\xE2\x80\xAEx"), "\xEF\xBF\xBDx");  // right-to-left override
  EXPECT_EQ(DisplayWidth("a×日"), 4u);
}

TEST(PrintableTest, Wrap) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(WrapText("", 5), Lines{});
  EXPECT_EQ(WrapText("meta-llama/Llama-3.1-8B", 12), (Lines{"meta-llama/", "Llama-3.1-8B"}));
  EXPECT_EQ(WrapText("abcdefgh", 3), (Lines{"abc", "def", "gh"}));
  EXPECT_EQ(WrapText("NVIDIA H200 x 2", 11), (Lines{"NVIDIA H200", "x 2"}));
  EXPECT_EQ(WrapText("日本語", 1), (Lines{"日", "本", "語"}));
}

}  // namespace
}  // namespace quire
