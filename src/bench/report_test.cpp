#include "bench/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "bench/report_plots.h"
#include "bench/report_tables.h"

namespace quire {
namespace {

const double kNan = std::nan("");
const double kInf = std::numeric_limits<double>::infinity();

// Every tag is closed by its own, in order, and no '<', '&' or '"' stands where it may not.
// Returns what is wrong, or nothing.
std::string MarkupFault(const std::string& html) {
  std::vector<std::string> open;
  for (std::size_t at = 0; at < html.size();) {
    if (html[at] == '&') {
      const std::size_t end = html.find(';', at);
      const std::string entity = html.substr(at, end - at + 1);
      if (entity != "&lt;" && entity != "&gt;" && entity != "&amp;" && entity != "&quot;" &&
          entity != "&#39;")
        return "entity " + html.substr(at, 20);
    }
    if (html[at] != '<') {
      ++at;
      continue;
    }
    const std::size_t end = html.find('>', at);
    if (end == std::string::npos) return "unclosed " + html.substr(at, 20);
    const std::string tag = html.substr(at + 1, end - at - 1);
    at = end + 1;
    if (tag.find('<') != std::string::npos) return "tag in " + tag;
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return "quotes in " + tag;
    if (tag[0] == '!' || tag.back() == '/') continue;
    if (tag[0] != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    } else if (open.empty() || open.back() != tag.substr(1)) {
      return "stray <" + tag + ">";
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : "open <" + open.back() + ">";
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Distribution SomeLatency(double scale) {
  std::vector<double> values;
  for (int i = 1; i <= 500; ++i) values.push_back(scale * (1 + i * 0.002));
  return Distribute(values, std::vector<double>{99});
}

RunSummary SomeRun(const std::string& label) {
  RunSummary run;
  run.subject.label = label;
  run.subject.model = "org/model";
  run.config.date = "20261121-031500";
  run.config.command = "quire bench serve --model org/model";
  run.config.num_prompts = 500;
  run.config.request_rate = kInf;
  run.duration_s = 50;
  run.completed = 500;
  run.total_input_tokens = 50000;
  run.total_output_tokens = 100000;
  run.ttft = SomeLatency(40);
  run.tpot = SomeLatency(10);
  run.itl = SomeLatency(9);
  run.e2el = SomeLatency(25000);
  for (int t = 0; t < 50; ++t)
    run.series.push_back({double(t), 2000.0 + t, 20.0 + t, 50, 20.0, 3.0, 0.4});
  for (int i = 0; i < 500; ++i) run.ttft_over_time.emplace_back(i * 0.1, 40 + i % 9);
  run.host = {{"GPU", "H200"}, {"GPU", "H200 too"}};
  return run;
}

SweepResult SomeSweep() {
  SweepResult sweep;
  sweep.objectives = {{"ttft", 99, 500}};
  for (const double rate : {1.0, 2.0, 4.0, 8.0}) {
    SweepPoint point{rate, rate < 8, SomeRun("model")};
    point.run.duration_s = 500 / rate;
    point.run.ttft = SomeLatency(20 * rate * rate);
    sweep.points.push_back(point);
  }
  sweep.best_rate = 4;
  return sweep;
}

std::string RenderRuns(std::span<const RunSummary> runs) { return RenderReport({"Title", runs}); }

TEST(Report, OneRun) {
  const std::vector<RunSummary> runs = {SomeRun("Quire")};
  const std::string html = RenderRuns(runs);
  EXPECT_EQ(MarkupFault(html), "");
  EXPECT_TRUE(html.starts_with("<!DOCTYPE html>"));
  for (const char* part : {"500 of 500 requests succeeded in 50.0 s.", "Output throughput",
                           "2026-11-21 03:15", "Over time", "KV-cache use", "Running and waiting",
                           "TTFT over time", "Distributions", "Time to first token (TTFT)",
                           "End-to-end latency (E2EL)", "TTFT against requests in flight",
                           "H200\nH200 too", "quire bench serve --model org/model", "all at once"})
    EXPECT_TRUE(Has(html, part)) << part;
  for (const char* part : {"Errors", "Rate sweep", "Throughput against latency", "nan", "<script"})
    EXPECT_FALSE(Has(html, part)) << part;
}

TEST(Report, SeveralRuns) {
  std::vector<RunSummary> runs = {SomeRun("A"), SomeRun("B"), SomeRun("C")};
  runs[1].duration_s = 40;
  runs[2].errors = {{"refused", 7}};
  runs[2].failed = 7;
  runs[0].send_lag.count = 10;
  runs[0].send_lag.percentiles[99] = 30;
  const std::string html = RenderRuns(runs);
  EXPECT_EQ(MarkupFault(html), "");
  EXPECT_TRUE(Has(html, "B gives the most output, 2,500 tokens/s: 1.25 times that of A."));
  EXPECT_TRUE(Has(html, "7 of 507 requests failed"));
  EXPECT_TRUE(Has(html, "refused"));
  EXPECT_TRUE(Has(html, "30.0 ms late"));
  EXPECT_TRUE(Has(html, "Throughput against latency"));
}

TEST(Report, Sweep) {
  const SweepResult sweep = SomeSweep();
  const std::string html = RenderReport({"Title", {}, &sweep});
  EXPECT_EQ(MarkupFault(html), "");
  EXPECT_TRUE(Has(html, "4 requests/s is the highest rate that met TTFT P99 &lt; 500 ms"));
  EXPECT_TRUE(Has(html, "Of the run at 4/s."));
  EXPECT_TRUE(Has(html, "TTFT against request rate"));
  EXPECT_TRUE(Has(html, "class=\"ring c1\""));
  SweepResult none = sweep;
  none.best_rate = 0;
  EXPECT_TRUE(Has(RenderReport({"Title", {}, &none}), "None of the 4 rates that were tried met"));
}

TEST(Report, EmptyInput) {
  EXPECT_EQ(MarkupFault(RenderReport({})), "");
  const SweepResult no_points;
  EXPECT_EQ(MarkupFault(RenderReport({"Title", {}, &no_points})), "");
  const std::vector<RunSummary> runs(2);
  const std::string html = RenderRuns(runs);
  EXPECT_EQ(MarkupFault(html), "");
  EXPECT_FALSE(Has(html, "<svg"));
}

TEST(Report, EscapesEverything) {
  const std::string bad =
      "</title></style><script>x()</script>\"'><img src=x onerror=x()>&\x01\xff";
  std::vector<RunSummary> runs = {SomeRun(bad), SomeRun(bad + "2")};
  for (RunSummary& run : runs) {
    run.subject.model = run.subject.tokenizer = run.subject.backend_name = bad;
    run.subject.dtype = run.subject.gpu = bad;
    run.config.date = run.config.command = run.config.base_url = run.config.dataset = bad;
    run.config.endpoint_type = bad;
    run.config.goodput_ms = {{bad, 5}};
    run.errors = {{bad, 1}};
    run.failed = 1;
    run.host = {{bad, bad}};
  }
  SweepResult sweep = SomeSweep();
  sweep.objectives = {{bad, 99, 1}};
  const std::string html = RenderReport({bad, runs, &sweep});
  EXPECT_EQ(MarkupFault(html), "");
  EXPECT_FALSE(Has(html, "<script"));
  EXPECT_FALSE(Has(html, "<img"));
  EXPECT_FALSE(Has(html, "\x01"));
}

TEST(Report, SurvivesAbsurdNumbers) {
  for (const double absurd : {kNan, kInf, -kInf, -1.0, 0.0, 1e308, -1e308, 5e-324}) {
    RunSummary run = SomeRun("run");
    run.duration_s = run.config.request_rate = run.config.burstiness = absurd;
    run.config.cost_per_hour = run.peak_concurrent = absurd;
    run.config.goodput_ms = {{"ttft", absurd}};
    run.energy = EnergyUse{absurd, absurd};
    for (Distribution* d : {&run.ttft, &run.tpot, &run.itl, &run.e2el}) {
      d->median = d->max = d->percentiles[99] = absurd;
      d->cdf = {{absurd, absurd}, {1, 0.5}, {absurd, 1}};
    }
    for (SeriesPoint& point : run.series)
      point = {absurd, absurd, absurd, absurd, absurd, absurd, absurd};
    run.ttft_over_time = {{absurd, 1}, {1, absurd}, {absurd, absurd}};
    run.send_lag = run.slot_wait = run.ttft;
    SweepResult sweep;
    sweep.objectives = {{"ttft", absurd, absurd}};
    sweep.best_rate = absurd;
    sweep.points = {{absurd, true, run}, {1, false, run}};
    const std::vector<RunSummary> runs = {run, SomeRun("sane")};
    EXPECT_EQ(MarkupFault(RenderReport({"Title", runs, &sweep})), "") << absurd;
    EXPECT_EQ(MarkupFault(RenderReport({"Title", {}, &sweep})), "") << absurd;
  }
}

TEST(Report, HugeSeriesStaySmall) {
  RunSummary run = SomeRun("run");
  run.series.clear();
  for (int t = 0; t < 100000; ++t)
    run.series.push_back({double(t), 2000.0 + t % 97, 20.0 + t % 13, 50, 20.0, 3.0, 0.4});
  EXPECT_LT(RenderRuns(std::vector<RunSummary>{run}).size(), 200000u);
}

TEST(Report, ParetoPoints) {
  // (latency, throughput): the third is slower and gives less than the second.
  EXPECT_EQ(ParetoPoints({{10, 100}, {20, 200}, {30, 150}, {40, 300}, {20, 190}}),
            (std::vector<bool>{true, true, false, true, false}));
  EXPECT_TRUE(ParetoPoints({}).empty());
}

TEST(Report, BinnedMedians) {
  std::vector<PlotXy> points;
  for (int i = 0; i < 100; ++i) points.emplace_back(i, i < 50 ? 10 + i % 3 : 20);
  const std::vector<PlotXy> medians = BinnedMedians(points, 2, 3);
  ASSERT_GE(medians.size(), 2u);
  EXPECT_EQ(medians[0].second, 11);
  EXPECT_EQ(medians[1].second, 20);
  EXPECT_TRUE(BinnedMedians({{1, 1}, {kNan, 2}}, 4, 3).empty());
  EXPECT_EQ(BinnedMedians({{5, 1}, {5, 2}, {5, 3}}, 4, 3), (std::vector<PlotXy>{{5, 2}}));
}

TEST(Report, LatenciesFarApartGetALogAxis) {
  RunSummary run = SomeRun("run");
  EXPECT_FALSE(DistributionPlots({std::span(&run, 1), {"run"}})[0].x.log);
  std::vector<double> values;
  for (int i = 0; i < 500; ++i) values.push_back(10 * std::pow(1.02, i));
  run.ttft = Distribute(values, std::vector<double>{99});
  const Plot wide = DistributionPlots({std::span(&run, 1), {"run"}})[0];
  EXPECT_TRUE(wide.x.log);
  EXPECT_TRUE(Has(wide.x.label, "log"));
}

TEST(Report, Dates) {
  EXPECT_EQ(ReadableDate("20261121-031500"), "2026-11-21 03:15");
  EXPECT_EQ(ReadableDate("2026-11-21T03:15"), "2026-11-21T03:15");
  EXPECT_EQ(ReadableDate("2026112x-031500"), "2026112x-031500");
}

}  // namespace
}  // namespace quire
