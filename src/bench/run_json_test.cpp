#include "bench/run_json.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

namespace quire {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string DataFile(const char* name) {
  return std::string(QUIRE_SOURCE_DIR) + "/tests/data/bench/" + name;
}

std::vector<RequestRecord> SomeRequests() {
  std::vector<RequestRecord> records(20);
  for (int i = 0; i < 20; ++i) {
    RequestRecord& record = records[static_cast<std::size_t>(i)];
    record.planned_s = 0.1 * i;
    record.start_s = record.planned_s + 0.01;
    record.sent_s = record.start_s + 0.003;
    record.ttft_s = 0.2 + 0.013 * i;
    record.itl = {0.05F, 0.07F};
    record.latency_s = record.ttft_s + 0.12;
    record.input_tokens = 11;
    record.output_tokens = 3 + i % 2;
    record.text = "text \"" + std::to_string(i);
    if (i == 7) record.error = "HTTP 503 \xff";
    if (i == 8) record.error = "HTTP 503 \xfe";
  }
  return records;
}

RunSummary FullRun() {
  RunConfig config;
  config.date = "20261121-031500";
  config.command = "quire bench serve --num-prompts 20";
  config.base_url = "http://127.0.0.1:1";
  config.dataset = "custom";
  config.num_prompts = 20;
  config.request_rate = 10;
  config.burstiness = 0.5;
  config.max_concurrency = 7;
  config.seed = 18'446'744'073'709'551'615U;
  config.ignore_eos = true;
  config.cost_per_hour = 2.5;
  config.percentile_metrics = {"ttft", "e2el"};
  config.metric_percentiles = {50, 99.9};
  config.goodput_ms = {{"ttft", 400}, {"tpot", 50.5}};
  RunSummary run = Summarize(SomeRequests(), config, 2.5);
  run.subject = {"label", "model", "folder", "Quire 0.1.0", "fp8", 8.03, "NVIDIA H200", 2, 2};
  run.cached_input_tokens = 44;
  run.series.at(1).running = 3;
  run.energy = EnergyUse{1234.5, 70.25};
  run.host = {{"GPU 0", "NVIDIA H200"}, {"GPU 0", "again"}};
  return run;
}

TEST(RunJsonTest, RoundTripLosesNothing) {
  const RunSummary run = FullRun();
  const Json json = ToJson(run);
  const auto parsed = ParseJson(WriteJson(json));
  ASSERT_TRUE(parsed.ok());
  const auto back = RunFromJson(*parsed, "f");
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_TRUE(WriteJson(ToJson(*back)) == WriteJson(json));
  // ToJson cannot tell what both directions forget.
  EXPECT_EQ(back->subject.label, "label");
  EXPECT_EQ(back->subject.tokenizer, "folder");
  EXPECT_EQ(back->subject.weights_gb, 8.03);
  EXPECT_EQ(back->subject.tensor_parallel, 2);
  EXPECT_EQ(back->config.command, run.config.command);
  EXPECT_EQ(back->config.seed, run.config.seed);
  EXPECT_EQ(back->config.max_concurrency, 7);
  EXPECT_EQ(back->config.metric_percentiles, run.config.metric_percentiles);
  EXPECT_EQ(back->config.goodput_ms, run.config.goodput_ms);
  EXPECT_EQ(back->duration_s, 2.5);
  EXPECT_EQ(back->completed, 18);
  EXPECT_EQ(back->failed, 2);
  EXPECT_EQ(back->good, run.good);
  EXPECT_GT(back->good, 0);
  EXPECT_EQ(back->cached_input_tokens, 44);
  EXPECT_EQ(back->peak_output_per_s, run.peak_output_per_s);
  EXPECT_EQ(back->peak_concurrent, run.peak_concurrent);
  for (const auto& [a, b] :
       {std::pair(&run.ttft, &back->ttft), std::pair(&run.itl, &back->itl),
        std::pair(&run.send_lag, &back->send_lag), std::pair(&run.slot_wait, &back->slot_wait)}) {
    EXPECT_EQ(a->count, b->count);
    EXPECT_EQ(a->mean, b->mean);
    EXPECT_EQ(a->std, b->std);
    EXPECT_EQ(a->max, b->max);
    EXPECT_EQ(a->percentiles, b->percentiles);
    EXPECT_EQ(a->cdf, b->cdf);
    EXPECT_GT(a->max, 0);
  }
  ASSERT_EQ(back->series.size(), run.series.size());
  EXPECT_EQ(back->series[1].running, 3);
  EXPECT_EQ(back->series[0].running, -1);
  EXPECT_EQ(back->series[1].ttft_ms, run.series[1].ttft_ms);
  EXPECT_EQ(back->ttft_over_time, run.ttft_over_time);
  EXPECT_EQ(back->host, run.host);
  // Two messages that are one in valid UTF-8.
  EXPECT_EQ(back->errors, (std::map<std::string, int>{{"HTTP 503 \xEF\xBF\xBD", 2}}));
  EXPECT_EQ(back->energy->idle_watts, 70.25);
}

TEST(RunJsonTest, VllmsNamesAtTheTop) {
  RunSummary run = FullRun();
  run.config.request_rate = kInfinity;
  const Json json = ToJson(run, SomeRequests());
  for (const char* name : {"date",
                           "endpoint_type",
                           "backend",
                           "label",
                           "model_id",
                           "tokenizer_id",
                           "num_prompts",
                           "request_rate",
                           "burstiness",
                           "max_concurrency",
                           "duration",
                           "completed",
                           "failed",
                           "total_input_tokens",
                           "total_output_tokens",
                           "request_throughput",
                           "request_goodput",
                           "output_throughput",
                           "total_token_throughput",
                           "max_output_tokens_per_s",
                           "max_concurrent_requests",
                           "mean_ttft_ms",
                           "median_tpot_ms",
                           "std_itl_ms",
                           "p99_e2el_ms",
                           "p99.9_ttft_ms",
                           "p50_ttft_ms"})
    EXPECT_TRUE(json.contains(name)) << name;
  EXPECT_EQ(json["request_rate"], "inf");
  for (const char* name : {"input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times",
                           "generated_texts", "errors"})
    EXPECT_EQ(json[name].size(), 20u) << name;
  EXPECT_EQ(json["output_lens"][7], 0);  // it failed
  EXPECT_EQ(json["itls"][0].size(), 2u);
  EXPECT_FALSE(ToJson(run).contains("ttfts"));
  const auto back = RunFromJson(json, "f");
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->config.request_rate, kInfinity);
}

TEST(RunJsonTest, ReadsVllmsDetailedFile) {
  const auto file = ReadRunFile(DataFile("vllm_detailed.json"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  const RunSummary& run = file->run;
  EXPECT_EQ(run.subject.model, "org/model-8b");
  EXPECT_EQ(run.subject.label, "");
  EXPECT_EQ(run.config.request_rate, kInfinity);
  EXPECT_FALSE(run.config.max_concurrency.has_value());
  EXPECT_EQ(run.config.percentile_metrics, (std::vector<std::string>{"ttft", "tpot"}));
  EXPECT_EQ(run.config.metric_percentiles, (std::vector<double>{90, 99, 99.9}));
  EXPECT_EQ(run.completed, 3);
  EXPECT_EQ(run.failed, 1);
  EXPECT_EQ(run.good, 2);
  EXPECT_EQ(run.ttft.percentiles.at(90), 900);
  // Derived from the requests.
  EXPECT_DOUBLE_EQ(run.ttft.percentiles.at(99), 990);
  EXPECT_EQ(run.ttft.cdf.size(), 3u);
  EXPECT_EQ(run.itl.median, 500);
  EXPECT_EQ(run.e2el.max, 2500);
  EXPECT_EQ(run.peak_output_per_s, 4);
  EXPECT_EQ(run.errors, (std::map<std::string, int>{{"Service Unavailable", 1}}));
  ASSERT_EQ(run.series.size(), 4u);
  EXPECT_EQ(run.series[1].output_tokens, 4);
  EXPECT_EQ(run.ttft_over_time.back(), std::pair(1.0, 250.0));
}

TEST(RunJsonTest, ReadsVllmsOlderFileWithoutRequests) {
  const auto json = ParseJson(
      R"({"num_prompts": 10, "request_rate": 4.0, "duration": 2.0, "completed": 8,
          "total_input_tokens": 80, "total_output_tokens": 88, "median_ttft_ms": 12.5,
          "p99_ttft_ms": 20.5, "median_itl_ms": 5})");
  const auto run = RunFromJson(*json, "f");
  ASSERT_TRUE(run.ok()) << run.error().message;
  EXPECT_EQ(run->failed, 2);
  EXPECT_EQ(run->ttft.median, 12.5);
  EXPECT_EQ(run->ttft.percentiles.at(99), 20.5);
  EXPECT_EQ(run->ttft.count, 8u);
  EXPECT_EQ(run->itl.count, 80u);
  EXPECT_EQ(run->tpot.count, 0u);
  EXPECT_EQ(run->OutputPerS(), 44);
}

// Changes one field of a good file and expects one line that names file and field.
void ExpectFault(const Json& json, const std::string& field) {
  const auto run = RunFromJson(json, "a.json");
  ASSERT_FALSE(run.ok()) << field;
  EXPECT_EQ(run.error().kind, ErrorKind::kConfig);
  EXPECT_EQ(run.error().message.rfind("a.json: ", 0), 0u);
  EXPECT_NE(run.error().message.find(field), std::string::npos) << run.error().message;
  EXPECT_EQ(run.error().message.find('\n'), std::string::npos);
}

TEST(RunJsonTest, HostileFiles) {
  const Json good = ToJson(FullRun(), SomeRequests());
  for (const auto& [field, value] : std::vector<std::pair<std::string, Json>>{
           {"duration", -1},
           {"duration", 1e300},
           {"duration", "1"},
           {"duration", nullptr},
           {"completed", 1.5},
           {"completed", 3'000'000'000LL},
           {"completed", -5},
           {"total_output_tokens", 18'446'744'073'709'551'615U},
           {"total_input_tokens", Json::array()},
           {"request_rate", "fast"},
           {"max_concurrency", true},
           {"model_id", 7},
           {"p99_ttft_ms", "x"},
           {"mean_itl_ms", Json::object()},
           {"quire", 3}}) {
    Json bad = good;
    bad[field] = value;
    ExpectFault(bad, "field " + field);
  }
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, Json>>{{"subject", 1},
                                                 {"config", Json::array()},
                                                 {"good", "all"},
                                                 {"errors", {{1, 2}}},
                                                 {"errors", {{"a", 1, 2}}},
                                                 {"series", {{"t_s", {0, 1}}, {"running", {1}}}},
                                                 {"series", {{"t_s", {"0"}}}},
                                                 {"ttft_over_time", {{1}}},
                                                 {"ttft", {{"cdf", 5}}},
                                                 {"ttft", {{"count", -1}}},
                                                 {"host", {{"a", 1}}},
                                                 {"energy", 100}}) {
    Json bad = good;
    bad["quire"][field] = value;
    ExpectFault(bad, "field quire." + field);
  }
  for (const char* field : {"duration", "completed", "total_input_tokens", "total_output_tokens"}) {
    Json bad = good;
    bad.erase(field);
    ExpectFault(bad, std::string("field ") + field + " is missing");
  }
  ExpectFault(Json::array(), "the file must be a JSON object");
  Json vllm = good;
  vllm.erase("quire");
  EXPECT_TRUE(RunFromJson(vllm, "a.json").ok());
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, Json>>{{"ttfts", {1, 2}},
                                                 {"itls", Json::array({1})},
                                                 {"itls", Json::array({Json::array({"x"})})},
                                                 {"start_times", "now"},
                                                 {"output_lens", Json::array({-1})},
                                                 {"errors", Json::array({1})}}) {
    Json bad = vllm;
    bad[field] = value;
    ExpectFault(bad, "field ");
  }
}

SweepResult SomeSweep() {
  SweepResult sweep;
  sweep.objectives = {{"ttft", 99, 500}, {"tpot", 99.9, 50}};
  sweep.points = {{1, true, FullRun()}, {2, false, FullRun()}};
  sweep.points[1].run.completed = 5;
  sweep.best_rate = 1;
  return sweep;
}

TEST(SweepJsonTest, RoundTrip) {
  const Json json = ToJson(SomeSweep());
  const auto back = SweepFromJson(json, "s.json");
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_TRUE(WriteJson(ToJson(*back)) == WriteJson(json));
  EXPECT_EQ(back->objectives.at(1).percentile, 99.9);
  EXPECT_EQ(back->points.at(1).run.completed, 5);
  EXPECT_TRUE(back->points[0].met);
  EXPECT_EQ(back->best_rate, 1);
}

TEST(SweepJsonTest, HostileFiles) {
  const Json good = ToJson(SomeSweep());
  Json bad = good;
  bad["points"][1]["run"]["quire"]["series"]["t_s"] = 5;
  auto sweep = SweepFromJson(bad, "s.json");
  ASSERT_FALSE(sweep.ok());
  EXPECT_EQ(sweep.error().message, "s.json: field points[1].run.quire.series.t_s must be an array");
  bad = good;
  bad["objectives"][0]["metric"] = "speed";
  EXPECT_FALSE(SweepFromJson(bad, "s.json").ok());
  bad = good;
  bad["points"][0].erase("run");
  EXPECT_FALSE(SweepFromJson(bad, "s.json").ok());
  bad = good;
  bad["points"] = Json::array({1});
  EXPECT_FALSE(SweepFromJson(bad, "s.json").ok());
  EXPECT_FALSE(SweepFromJson(Json(3), "s.json").ok());
}

TEST(RunFileTest, FilesOfBothKinds) {
  const auto folder = std::filesystem::temp_directory_path() /
                      ("quire_run_json_test_" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const std::string file = (folder / "sweep.json").string();
  ASSERT_TRUE(WriteJsonFile(ToJson(SomeSweep()), file).ok());
  auto read = ReadRunFile(file);
  ASSERT_TRUE(read.ok()) << read.error().message;
  ASSERT_TRUE(read->sweep.has_value());
  EXPECT_EQ(read->run.completed, 18);
  ASSERT_TRUE(WriteJsonFile(ToJson(FullRun()), file).ok());
  read = ReadRunFile(file);
  ASSERT_TRUE(read.ok());
  EXPECT_FALSE(read->sweep.has_value());
  for (const char* text : {"", "{", "[]", "null", "{\"quire_sweep\":1}", "{\"duration\":1e999}"}) {
    ASSERT_TRUE(WriteTextFile(text, file).ok());
    read = ReadRunFile(file);
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_EQ(read.error().message.rfind(file + ": ", 0), 0u);
  }
  EXPECT_FALSE(ReadRunFile(folder.string()).ok());
  EXPECT_FALSE(ReadRunFile((folder / "none").string()).ok());
  EXPECT_FALSE(WriteTextFile("x", (folder / "none" / "x").string()).ok());
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace quire
