#include "bench/run_summary.h"

#include <gtest/gtest.h>

#include <cmath>

namespace quire {
namespace {

RequestRecord Request(double start, double ttft, std::vector<float> itl, int output_tokens) {
  RequestRecord record;
  record.planned_s = record.start_s = record.sent_s = start;
  record.ttft_s = record.latency_s = ttft;
  for (const float gap : itl) record.latency_s += static_cast<double>(gap);
  record.itl = std::move(itl);
  record.input_tokens = 10;
  record.output_tokens = output_tokens;
  record.status = 200;
  return record;
}

RequestRecord FailedRequest(double start, const std::string& error) {
  RequestRecord record;
  record.planned_s = record.start_s = record.sent_s = start;
  record.input_tokens = 10;
  record.error = error;
  return record;
}

// The values are numpy's: np.percentile(v, p) of v[i] = 0.1 * ((i * 7919) % 101) ** 1.5.
TEST(PercentileTest, IsNumpys) {
  std::vector<double> values;
  for (int i = 0; i < 37; ++i) values.push_back(0.1 * std::pow(i * 7919 % 101, 1.5));
  const double percents[] = {0, 1, 25, 50, 90, 99.9, 100};
  const Distribution of = Distribute(values, percents);
  EXPECT_EQ(of.count, 37u);
  EXPECT_DOUBLE_EQ(of.percentiles.at(0), 0);
  EXPECT_DOUBLE_EQ(of.percentiles.at(1), 0.18706148721743876);
  EXPECT_DOUBLE_EQ(of.percentiles.at(25), 12.5);
  EXPECT_DOUBLE_EQ(of.percentiles.at(50), 35.35533905932738);
  EXPECT_DOUBLE_EQ(of.percentiles.at(90), 84.25417735531224);
  EXPECT_DOUBLE_EQ(of.percentiles.at(99), 98.392211443872);
  EXPECT_DOUBLE_EQ(of.percentiles.at(99.9), 99.83922114438722);
  EXPECT_DOUBLE_EQ(of.percentiles.at(100), 100);
  EXPECT_DOUBLE_EQ(of.median, 35.35533905932738);
  EXPECT_DOUBLE_EQ(of.max, 100);
  EXPECT_NEAR(of.mean, 40.25698952729832, 1e-12);
  EXPECT_NEAR(of.std, 30.397887277831508, 1e-12);
}

TEST(PercentileTest, SmallSets) {
  EXPECT_EQ(Percentile({}, 99), 0);
  const double one[] = {7.5};
  EXPECT_EQ(Percentile(one, 99), 7.5);
  const double four[] = {1, 2, 3, 10};
  EXPECT_DOUBLE_EQ(Percentile(four, 99), 9.79);
  EXPECT_DOUBLE_EQ(Percentile(four, 90), 7.9);
  EXPECT_DOUBLE_EQ(Percentile(four, 50), 2.5);
  const Distribution none = Distribute({}, {});
  EXPECT_EQ(none.count, 0u);
  EXPECT_EQ(none.percentiles.at(99), 0);
  EXPECT_TRUE(none.cdf.empty());
}

TEST(DistributeTest, CdfHasBothEndsAndIsThin) {
  std::vector<double> values;
  for (int i = 10000; i > 0; --i) values.push_back(i);
  const Distribution of = Distribute(values, {});
  ASSERT_EQ(of.cdf.size(), 200u);
  EXPECT_EQ(of.cdf.front(), std::pair(1.0, 1e-4));
  EXPECT_EQ(of.cdf.back(), std::pair(10000.0, 1.0));
  for (std::size_t i = 1; i < of.cdf.size(); ++i) {
    EXPECT_LT(of.cdf[i - 1].first, of.cdf[i].first);
    EXPECT_NEAR(of.cdf[i].second, of.cdf[i].first / 10000, 1e-12);
  }
  EXPECT_EQ(Distribute({3, 1, 2}, {}).cdf.size(), 3u);
}

std::vector<RequestRecord> HandMade() {
  return {
      Request(0, 0.5, {0.25F, 0.75F}, 3),      // [0, 1.5): tokens at 0.5, 0.75, 1.5
      Request(0, 1.0, {0.5F, 0.5F, 0.5F}, 7),  // [0, 2.5): tokens at 1, 1.5, 2, 2.5, in chunks
      Request(1, 0.25, {}, 1),                 // [1, 1.25)
      FailedRequest(1.5, "HTTP 503"),          //
      Request(2.5, 0.125, {0.5F}, 2),          // [2.5, 3.125): starts when another ends
      FailedRequest(3, "HTTP 503"),            //
      FailedRequest(3, "connection refused"),
  };
}

TEST(SummarizeTest, TotalsAndLatencies) {
  RunConfig config;
  config.metric_percentiles = {50, 90};
  const RunSummary run = Summarize(HandMade(), config, 4);
  EXPECT_EQ(run.completed, 4);
  EXPECT_EQ(run.failed, 3);
  EXPECT_EQ(run.total_input_tokens, 40);
  EXPECT_EQ(run.total_output_tokens, 13);
  EXPECT_DOUBLE_EQ(run.RequestsPerS(), 1);
  EXPECT_DOUBLE_EQ(run.TotalPerS(), 53.0 / 4);
  EXPECT_EQ(run.errors, (std::map<std::string, int>{{"HTTP 503", 2}, {"connection refused", 1}}));

  EXPECT_EQ(run.ttft.count, 4u);
  EXPECT_DOUBLE_EQ(run.ttft.median, 375);
  EXPECT_DOUBLE_EQ(run.ttft.max, 1000);
  // Of requests with more than one token, each by its own count: 1 s / 2, 1.5 s / 6, 0.5 s / 1.
  EXPECT_EQ(run.tpot.count, 3u);
  EXPECT_DOUBLE_EQ(run.tpot.mean, 1250.0 / 3);
  EXPECT_DOUBLE_EQ(run.tpot.median, 500);
  EXPECT_DOUBLE_EQ(run.MedianEvalRate(), 2);
  EXPECT_DOUBLE_EQ(run.P99EvalRate(), 2);
  // Pooled over requests.
  EXPECT_EQ(run.itl.count, 6u);
  EXPECT_DOUBLE_EQ(run.itl.mean, 500);
  EXPECT_EQ(run.e2el.count, 4u);
  EXPECT_DOUBLE_EQ(run.e2el.max, 2500);
  EXPECT_EQ(run.ttft.percentiles.size(), 3u);  // and 99
}

TEST(SummarizeTest, PeaksAndSeries) {
  const RunSummary run = Summarize(HandMade(), {}, 3.2);
  EXPECT_EQ(run.peak_concurrent, 3);
  EXPECT_EQ(run.peak_output_per_s, 4);  // 1, 1.25, 1.5 and 1.5
  ASSERT_EQ(run.series.size(), 4u);
  const double tokens[] = {2, 4, 3, 1}, concurrent[] = {2, 3, 1, 1}, ttft[] = {500, 625, 125, -1};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(run.series[i].t_s, static_cast<double>(i));
    EXPECT_EQ(run.series[i].output_tokens, tokens[i]) << i;
    EXPECT_EQ(run.series[i].concurrent, concurrent[i]) << i;
    EXPECT_DOUBLE_EQ(run.series[i].ttft_ms, ttft[i]) << i;
    EXPECT_LT(run.series[i].running, 0);
  }
  ASSERT_EQ(run.ttft_over_time.size(), 4u);
  EXPECT_EQ(run.ttft_over_time.back(), std::pair(2.5, 125.0));
}

// vLLM's seconds begin with the first request that succeeded.
TEST(SummarizeTest, PeakSecondsBeginWithTheFirstStart) {
  const std::vector<RequestRecord> records = {Request(0.75, 0.125, {0.25F, 0.25F}, 3)};
  const RunSummary run = Summarize(records, {}, 2);
  EXPECT_EQ(run.peak_output_per_s, 3);
  EXPECT_EQ(run.series.at(0).output_tokens, 1);
  EXPECT_EQ(run.series.at(1).output_tokens, 2);
}

TEST(SummarizeTest, GoodputNeedsAllBoundsAndCountsOneTokenAsFast) {
  RunConfig config;
  config.goodput_ms = {{"ttft", 500}, {"tpot", 499}};
  // The first and the last are too slow by TPOT, the second by TTFT; the third has no TPOT.
  EXPECT_EQ(Summarize(HandMade(), config, 4).good, 1);
  config.goodput_ms = {{"ttft", 500}, {"tpot", 500}};
  EXPECT_EQ(Summarize(HandMade(), config, 4).good, 3);
  config.goodput_ms = {{"e2el", 1500}};
  EXPECT_EQ(Summarize(HandMade(), config, 4).good, 3);
  EXPECT_EQ(Summarize(HandMade(), {}, 4).good, 0);
}

TEST(SummarizeTest, WhatTheClientItselfAdded) {
  RequestRecord record = Request(2, 0.5, {}, 1);
  record.planned_s = 0.5;
  record.sent_s = 2.001;
  const RunSummary run = Summarize({&record, 1}, {}, 3);
  EXPECT_DOUBLE_EQ(run.slot_wait.median, 1500);
  EXPECT_NEAR(run.send_lag.median, 1, 1e-9);
}

TEST(SummarizeTest, NothingAndFailuresOnly) {
  const RunSummary empty = Summarize({}, {}, 0);
  EXPECT_EQ(empty.RequestsPerS(), 0);
  EXPECT_EQ(empty.P99EvalRate(), 0);
  EXPECT_TRUE(empty.series.empty());
  const std::vector<RequestRecord> failed = {FailedRequest(0, "x")};
  const RunSummary run = Summarize(failed, {}, 2);
  EXPECT_EQ(run.completed, 0);
  EXPECT_EQ(run.peak_concurrent, 0);
  EXPECT_EQ(run.series.size(), 2u);
}

TEST(SummarizeTest, ThinsTtftOverTimeAndSkipsAbsurdSeries) {
  std::vector<RequestRecord> records;
  for (int i = 0; i < 5000; ++i) records.push_back(Request(i / 1024.0, 0.0625, {}, 1));
  const RunSummary run = Summarize(records, {}, 6);
  ASSERT_EQ(run.ttft_over_time.size(), 1000u);
  EXPECT_EQ(run.ttft_over_time.front().first, 0);
  EXPECT_DOUBLE_EQ(run.ttft_over_time.back().first, 4999 / 1024.0);
  EXPECT_EQ(run.peak_concurrent, 64);
  records.push_back(Request(1e12, 0.1, {}, 1));
  EXPECT_TRUE(Summarize(records, {}, 6).series.empty());
}

TEST(RunSummaryTest, CostAndEnergy) {
  RunSummary run;
  EXPECT_EQ(run.CostPerMillionTokens(), 0);
  run.duration_s = 100;
  run.total_input_tokens = 30'000;
  run.total_output_tokens = 70'000;
  run.config.cost_per_hour = 3.6;  // 0.1 for the run, in which there are 0.1 million tokens
  EXPECT_DOUBLE_EQ(run.CostPerMillionTokens(), 1);
  EXPECT_DOUBLE_EQ(run.CostPerMillionOutputTokens(), 10.0 / 7);
  EXPECT_EQ(run.JoulesPerOutputToken(), 0);
  run.energy = EnergyUse{35'000, 70};
  EXPECT_DOUBLE_EQ(run.JoulesPerOutputToken(), 0.5);
}

}  // namespace
}  // namespace quire
