// The flags that `quire bench serve` and `quire bench sweep` share, under vLLM's names.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "bench/run_summary.h"
#include "bench/serve_bench.h"
#include "bench/sweep_result.h"

namespace quire {

struct BenchOutputFlags {
  bool save_result = false;
  bool save_detailed = false;
  std::string result_dir;
  std::string result_filename;  // empty: made of the run
  std::vector<std::string> metadata;
  std::string report;
  bool disable_bar = false;
};

struct BenchFlags {
  ServeBenchOptions bench;  // flags that need no second look are here already
  std::string backend = "openai";
  std::string base_url;
  std::string host = "127.0.0.1";
  int port = 8000;
  std::string endpoint;
  std::string api_key;
  std::vector<std::string> headers;
  std::string extra_body;
  double top_p = -1, min_p = -1;  // < 0: not sent
  int top_k = -2;                 // -2: not sent
  int logprobs = -1;              // < 0: not sent
  std::int64_t seed = 0;
  int input_len = 0, output_len = 0;
  int sharegpt_output_len = 0, custom_output_len = 0;
  bool no_host_facts = false;
  int max_concurrency = 0;  // 0: no limit
  std::string request_rate = "inf";
  std::string percentile_metrics = "ttft,tpot,itl";
  std::string metric_percentiles = "99";
  std::vector<std::string> goodput;
  BenchOutputFlags output;
};

void AddBenchTargetFlags(CLI::App& app, BenchFlags& flags);
void AddBenchDatasetFlags(CLI::App& app, BenchFlags& flags);
// Load of one run; a sweep has its own rates.
void AddBenchLoadFlags(CLI::App& app, BenchFlags& flags, bool sweep);
void AddBenchOutputFlags(CLI::App& app, BenchFlags& flags);

// What CLI11 cannot check: kConfig errors name the flag.
Status FinishBenchFlags(BenchFlags& flags);

// How this program was called, without secrets.
std::string OwnCommand();

// OPENAI_API_KEY or --api-key.
void AddApiKeyFlag(CLI::App& app, std::string& key, const char* group);
std::vector<HttpHeader> KeyHeaders(const std::string& key);

// Whether a file can be written there, before it is worth hours. Makes its folder.
Status CheckWritable(const std::string& file, const char* flag);

// Writes what --save-result asks for and says where it is.
Status SaveBenchJson(const BenchOutputFlags& flags, Json json, const std::string& default_name);
Status SaveBenchReport(const BenchOutputFlags& flags, std::span<const RunSummary> runs,
                       const SweepResult* sweep);

}  // namespace quire
