#include "server/metrics.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>
#include <string>

#include "server/stats_log.h"

namespace quire {
namespace {

// {sample name with labels: value}; fails on lines that are no text format.
std::map<std::string, double> Parse(const std::string& text) {
  std::map<std::string, double> samples;
  std::set<std::string> typed;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# TYPE ", 0) == 0) {
      const std::string name = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(typed.insert(name).second) << "twice " << name;
      EXPECT_TRUE(name.rfind("vllm:", 0) == 0 || name.rfind("quire:", 0) == 0) << name;
      continue;
    }
    if (line.empty() || line[0] == '#') continue;
    const std::size_t space = line.rfind(' ');
    const std::string value = line.substr(space + 1);
    EXPECT_NE(value.find_first_of(".e"), std::string::npos) << line;  // as Python's client
    EXPECT_TRUE(samples.emplace(line.substr(0, space), std::stod(value)).second) << line;
    EXPECT_NE(line.find("engine=\"0\""), std::string::npos) << line;
  }
  EXPECT_EQ(text.back(), '\n');
  return samples;
}

constexpr const char* kLabels = "{engine=\"0\",model_name=\"m\"}";

TEST(Metrics, AllFamiliesStandFromTheStart) {
  Metrics metrics("m");
  EngineInfo info;
  info.block_size = 16;
  metrics.SetModel(info);
  metrics.SetModel(info);  // a restarted engine
  const auto samples = Parse(metrics.Scrape({}));
  for (const char* name : {"vllm:num_requests_running",
                           "vllm:num_requests_waiting",
                           "vllm:kv_cache_usage_perc",
                           "vllm:prompt_tokens_total",
                           "vllm:generation_tokens_total",
                           "vllm:num_preemptions_total",
                           "vllm:prefix_cache_queries_total",
                           "vllm:prefix_cache_hits_total",
                           "vllm:time_to_first_token_seconds_count",
                           "vllm:inter_token_latency_seconds_sum",
                           "vllm:e2e_request_latency_seconds_count",
                           "vllm:request_queue_time_seconds_count",
                           "vllm:request_inference_time_seconds_count",
                           "vllm:request_prefill_time_seconds_count",
                           "vllm:request_decode_time_seconds_count",
                           "vllm:request_prompt_tokens_count",
                           "vllm:request_generation_tokens_count",
                           "vllm:request_params_n_count",
                           "vllm:request_params_max_tokens_count",
                           "vllm:iteration_tokens_total_count",
                           "quire:requests_accepted_total",
                           "quire:engine_restarts_total"})
    EXPECT_TRUE(samples.count(std::string(name) + kLabels)) << name;
  for (const char* reason : {"stop", "length", "abort", "error"})
    EXPECT_TRUE(samples.count("vllm:request_success_total{engine=\"0\",finished_reason=\"" +
                              std::string(reason) + "\",model_name=\"m\"}"));
  EXPECT_TRUE(samples.count(
      "vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"m\",le=\"0.001\"}"));
}

TEST(Metrics, EngineCountersGoOnAfterARestart) {
  Metrics metrics("m");
  EngineStats stats;
  stats.num_steps = 10;
  stats.prefix_cache_queries = 100;
  stats.prefix_cache_hits = 40;
  stats.step_tokens = 7;
  metrics.OnStats(stats);
  metrics.OnStats(stats);  // nothing new
  EngineStats again;
  again.num_steps = 1;
  again.prefix_cache_queries = 5;
  metrics.OnStats(again);
  const auto samples = Parse(metrics.Scrape({}));
  EXPECT_EQ(samples.at(std::string("vllm:prefix_cache_queries_total") + kLabels), 105);
  EXPECT_EQ(samples.at(std::string("vllm:prefix_cache_hits_total") + kLabels), 40);
  EXPECT_EQ(samples.at(std::string("quire:engine_restarts_total") + kLabels), 1);
  EXPECT_EQ(samples.at(std::string("vllm:iteration_tokens_total_sum") + kLabels), 14);
}

TEST(Metrics, WhatIsOnItsWayToTheEngineWaits) {
  Gauges gauges;
  gauges.engine.num_running = 2;
  gauges.engine.num_waiting = 1;
  gauges.num_sequences = 10;
  EXPECT_EQ(NumWaiting(gauges), 8);
  gauges.num_sequences = 0;  // all cancelled; the engine does not know yet
  EXPECT_EQ(NumWaiting(gauges), 1);
  gauges.engine.num_blocks = 8;
  gauges.engine.num_used_blocks = 2;
  EXPECT_EQ(KvCacheUsage(gauges.engine), 0.25);
}

TEST(Metrics, TheLogsLineTellsRates) {
  Gauges gauges;
  gauges.engine.num_running = 3;
  Totals before;
  Totals now;
  now.prompt_tokens = 1000;
  now.generation_tokens = 50;
  now.cache_queries = 10;
  now.cache_hits = 5;
  const std::string line = StatsLine(gauges, before, now, 10);
  EXPECT_NE(line.find("prompt 100.0 tokens/s, generation 5.0 tokens/s, running 3, waiting 0"),
            std::string::npos)
      << line;
  EXPECT_NE(line.find("hit rate 50.0%"), std::string::npos) << line;
}

}  // namespace
}  // namespace quire
