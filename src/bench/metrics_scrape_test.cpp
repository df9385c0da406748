#include "bench/metrics_scrape.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "net/http_test_kit.h"

namespace quire {
namespace {

using std::chrono::milliseconds;

TEST(ParseGauges, AddsTheEnginesOfAServer) {
  const ServerGauges gauges = ParseGauges(
      "# HELP vllm:num_requests_running Number of requests.\n"
      "# TYPE vllm:num_requests_running gauge\n"
      "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n"
      "vllm:num_requests_running{engine=\"1\",model_name=\"m\"} 4.0\n"
      "vllm:num_requests_waiting{engine=\"0\"} 5\r\n"
      "vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 99\n"
      "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25 1700000000\n"
      "vllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n");
  EXPECT_EQ(gauges.running, 7);
  EXPECT_EQ(gauges.waiting, 5);
  EXPECT_EQ(gauges.kv_cache_usage, 0.5);
}

TEST(ParseGauges, KnowsOtherServers) {
  const ServerGauges sglang = ParseGauges(
      "sglang:num_running_reqs{model_name=\"m\"} 2\nsglang:num_queue_reqs 1\nsglang:token_usage "
      "0.1");
  EXPECT_EQ(sglang.running, 2);
  EXPECT_EQ(sglang.waiting, 1);
  EXPECT_EQ(sglang.kv_cache_usage, 0.1);
  EXPECT_EQ(ParseGauges("llamacpp:requests_processing 1").running, 1);
  EXPECT_FALSE(ParseGauges("llamacpp:requests_processing 1").waiting >= 0);
}

TEST(ParseGauges, LabelsMayHoldAnything) {
  EXPECT_EQ(
      ParseGauges("vllm:num_requests_running{model_name=\"a} 9 \\\" }\",x=\"\\\\\"} 3").running, 3);
  EXPECT_EQ(ParseGauges("  vllm:num_requests_running \t 3").running, 3);
}

TEST(ParseGauges, SkipsWhatItDoesNotUnderstand) {
  const std::string name = "vllm:num_requests_running";
  for (const std::string& text : {std::string(),
                                  std::string("\n\n\n"),
                                  name,
                                  name + " ",
                                  name + "{",
                                  name + "{a=\"",
                                  name + "{a=\"\\",
                                  name + "{} ",
                                  name + " NaN",
                                  name + " +Inf",
                                  name + " inf",
                                  name + " -1",
                                  name + " 1e300",
                                  name + " 3x",
                                  name + "x 3",
                                  "x" + name + " 3",
                                  name + "} 3",
                                  name + " 0x10",
                                  std::string("\0\xff\xfe", 3),
                                  std::string(1 << 20, '{'),
                                  "# " + name + " 3",
                                  name + "{" + std::string(1 << 20, '"') + "\\"}) {
    EXPECT_FALSE(ParseGauges(text).any()) << text.substr(0, 60);
  }
  EXPECT_EQ(ParseGauges("vllm:kv_cache_usage_perc 7").kv_cache_usage, 1);
}

TEST(FillGauges, MeansOfEachSecond) {
  const TimePoint start = Now();
  const auto at = [start](int ms) { return start + milliseconds(ms); };
  const std::vector<GaugeSample> samples = {{at(-10), {100, 100, 1}},
                                            {at(100), {2, -1, 0.5}},
                                            {at(900), {4, -1, 0.7}},
                                            {at(2500), {8, 1, -1}},
                                            {at(99000), {9, 9, 0.9}}};
  std::vector<SeriesPoint> series(4);
  FillGauges(samples, start, series);
  EXPECT_EQ(series[0].running, 3);
  EXPECT_EQ(series[0].waiting, -1);
  EXPECT_DOUBLE_EQ(series[0].kv_cache_usage, 0.6);
  EXPECT_EQ(series[1].running, -1);
  EXPECT_EQ(series[2].running, 8);
  EXPECT_EQ(series[2].waiting, 1);
  EXPECT_EQ(series[3].running, -1);
  FillGauges({}, start, series);
  EXPECT_EQ(series[0].running, -1);
}

TEST(MetricsScraper, PollsUntilItIsStopped) {
  std::atomic<int> asked = 0;
  ScriptedServer server([&](const ScriptedServer::Call& call) {
    EXPECT_EQ(call.message.rfind("GET /metrics ", 0), 0u);
    call.Write(PlainAnswer("200 OK", "vllm:num_requests_running " + std::to_string(++asked)));
    return true;
  });
  MetricsScraper scraper(HttpClient(server.url(), {}, milliseconds(1000)), milliseconds(10));
  while (asked < 5) std::this_thread::sleep_for(milliseconds(1));
  const auto samples = scraper.Stop();
  ASSERT_GE(samples.size(), 4u);
  EXPECT_EQ(samples[2].gauges.running, 3);
  EXPECT_LT(samples[0].time, samples[3].time);
}

TEST(MetricsScraper, LeavesAServerWithoutMetricsAlone) {
  std::atomic<int> asked = 0;
  ScriptedServer server([&](const ScriptedServer::Call& call) {
    ++asked;
    call.Write(PlainAnswer("404 Not Found", "vllm:num_requests_running 1"));
    return true;
  });
  MetricsScraper scraper(HttpClient(server.url(), {}, milliseconds(1000)), milliseconds(5));
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_TRUE(scraper.Stop().empty());
  EXPECT_EQ(asked, 3);
}

}  // namespace
}  // namespace quire
