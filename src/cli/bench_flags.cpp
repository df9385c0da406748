#include "cli/bench_flags.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "bench/flag_texts.h"
#include "bench/objective.h"
#include "bench/report.h"
#include "bench/run_json.h"
#include "cli/engine_options.h"
#include "net/url.h"

namespace quire {
namespace {

constexpr int kMostTokens = 1 << 22;
constexpr int kMostRequests = 10'000'000;

// Numbers and words with a range and a group, as most flags are.
class FlagGroup {
 public:
  FlagGroup(CLI::App& app, const char* name) : app_(app), name_(name) {}

  template <class T>
  CLI::Option* Number(const char* flag, T& value, T low, T high, const char* what) {
    return app_.add_option(flag, value, what)
        ->check(Between(low, high))
        ->group(name_)
        ->capture_default_str();
  }
  CLI::Option* Optional(const char* flag, int& value, int low, int high, const char* what) {
    return app_.add_option(flag, value, what)->check(Between(low, high))->group(name_);
  }
  CLI::Option* Optional(const char* flag, double& value, double low, double high,
                        const char* what) {
    return app_.add_option(flag, value, what)->check(Between(low, high))->group(name_);
  }
  CLI::Option* Text(const char* flag, std::string& value, const char* what) {
    CLI::Option* option = app_.add_option(flag, value, what)->group(name_);
    if (!value.empty()) option->capture_default_str();
    return option;
  }
  CLI::Option* List(const char* flag, std::vector<std::string>& values, const char* what) {
    return app_.add_option(flag, values, what)->group(name_);
  }
  CLI::Option* Flag(const char* flag, bool& value, const char* what) {
    return app_.add_flag(flag, value, what)->group(name_);
  }

 private:
  CLI::App& app_;
  const char* name_;
};

void AddSubjectFlags(CLI::App& app, BenchFlags& flags) {
  FlagGroup group(app, "Words for the table, where the server does not say them");
  RunSubject& subject = flags.bench.subject;
  group.Text("--label", subject.label, "The column's head (default: the model)");
  group.Text("--server-name", subject.backend_name, "e.g. 'vLLM 0.23.0' (default: as it says)");
  group.Text("--dtype", subject.dtype, "e.g. bfloat16 or fp8");
  group.Optional("--weights-gb", subject.weights_gb, 0, 1e6, "Size of the weights");
  group.Text("--gpu", subject.gpu, "e.g. 'NVIDIA H200'");
  group.Optional("--num-gpus", subject.num_gpus, 0, 1 << 20, "How many the server uses");
  group.Optional("--tensor-parallel-size", subject.tensor_parallel, 0, 1 << 16,
                 "The server's, also -tp");
  group.Optional("--cost-per-hour", flags.bench.config.cost_per_hour, 0, 1e9,
                 "Of the whole server: the table has the price of a million tokens");
  group.Flag("--no-host-facts", flags.no_host_facts,
             "A server on this host's loop is elsewhere (a tunnel): keep this host's GPUs and "
             "energy out");
}

// The fields of requests that only some servers know.
Status FinishExtraBody(BenchFlags& flags) {
  Json body = Json::object();
  if (!flags.extra_body.empty()) {
    auto given = ParseJson(flags.extra_body);
    if (!given || !given->is_object()) return ConfigFault("--extra-body must be a JSON object");
    body = std::move(*given);
  }
  if (flags.top_p >= 0) body["top_p"] = flags.top_p;
  if (flags.min_p >= 0) body["min_p"] = flags.min_p;
  if (flags.top_k >= -1) body["top_k"] = flags.top_k;
  if (flags.logprobs >= 0) {
    if (flags.bench.target.chat) body["logprobs"] = true;
    body[flags.bench.target.chat ? "top_logprobs" : "logprobs"] = flags.logprobs;
  }
  if (!body.empty()) flags.bench.target.extra_body = WriteJson(body);
  return {};
}

Status FinishTarget(BenchFlags& flags) {
  LoadTarget& target = flags.bench.target;
  const bool bare_v6 = flags.host.find(':') != std::string::npos && flags.host.front() != '[';
  const std::string host = bare_v6 ? "[" + flags.host + "]" : flags.host;
  auto url = ParseUrl(flags.base_url.empty() ? fmt::format("http://{}:{}", host, flags.port)
                                             : flags.base_url);
  if (!url) {
    return ConfigFault((flags.base_url.empty() ? "--host: " : "--base-url: ") +
                       url.error().message);
  }
  target.base = std::move(*url);
  target.chat = flags.backend == "openai-chat";
  target.endpoint = !flags.endpoint.empty() ? flags.endpoint
                    : target.chat           ? "/v1/chat/completions"
                                            : "/v1/completions";
  if (target.endpoint.front() != '/') return ConfigFault("--endpoint must begin with /");
  for (const char c : target.endpoint) {
    if (c <= ' ' || c > '~') return ConfigFault("--endpoint has a character that no path has");
  }
  if (!flags.backend.empty() && !target.chat &&
      target.endpoint.find("/chat/completions") != std::string::npos)
    return ConfigFault("--endpoint takes messages: --backend openai-chat sends them");
  // OpenAI's own clients want the /v1 that --endpoint has already.
  std::string& path = target.base.path;
  if (path.size() >= 3 && path.compare(path.size() - 3, 3, "/v1") == 0 &&
      target.endpoint.rfind("/v1/", 0) == 0)
    path.resize(path.size() - 3);
  if (target.chat && flags.bench.dataset.token_ids)
    return ConfigFault("--prompt-token-ids needs an endpoint that takes prompts, not messages");
  for (const std::string& text : flags.headers) {
    auto header = ParseHeaderFlag(text);
    if (!header) return header.error();
    target.headers.push_back(std::move(*header));
  }
  const bool authorized = std::any_of(
      target.headers.begin(), target.headers.end(),
      [](const HttpHeader& header) { return EqualsIgnoringCase(header.name, "Authorization"); });
  if (!authorized) {
    for (HttpHeader& header : KeyHeaders(flags.api_key)) target.headers.push_back(header);
  }
  flags.bench.config.endpoint_type = flags.backend;
  flags.bench.config.base_url = UrlText(target.base);
  return FinishExtraBody(flags);
}

Status FinishDataset(BenchFlags& flags) {
  DatasetOptions& dataset = flags.bench.dataset;
  dataset.seed = static_cast<std::uint64_t>(flags.seed);
  if (flags.input_len > 0) {
    dataset.random_input_len = flags.input_len;
    dataset.sonnet_input_len = flags.input_len;
  }
  if (flags.output_len > 0) {
    dataset.random_output_len = flags.output_len;
    dataset.sonnet_output_len = flags.output_len;
    dataset.prefix_output_len = flags.output_len;
    dataset.output_len = flags.output_len;
  }
  if (dataset.name == "sharegpt" && flags.sharegpt_output_len > 0)
    dataset.output_len = flags.sharegpt_output_len;
  if (dataset.name == "custom" && flags.custom_output_len > 0)
    dataset.output_len = flags.custom_output_len;
  std::error_code ignored;
  const std::string& tokenizer = flags.bench.tokenizer;
  if (!tokenizer.empty() && !std::filesystem::is_regular_file(
                                std::filesystem::path(tokenizer) / "tokenizer.json", ignored))
    return ConfigFault("--tokenizer: there is no tokenizer.json in " + tokenizer);
  if (dataset.num_prompts == 0 && dataset.path.empty())
    return ConfigFault("--num-prompts 0 is all of a file, but --dataset-path names none");
  if (!dataset.path.empty()) {
    if (!std::filesystem::is_regular_file(dataset.path, ignored) ||
        ::access(dataset.path.c_str(), R_OK) != 0)
      return ConfigFault("--dataset-path: no file to read at " + dataset.path);
  }
  return {};
}

Status FinishMetrics(BenchFlags& flags) {
  RunConfig& config = flags.bench.config;
  config.percentile_metrics = SplitList(flags.percentile_metrics);
  for (const std::string& metric : config.percentile_metrics) {
    if (metric != "ttft" && metric != "tpot" && metric != "itl" && metric != "e2el") {
      return ConfigFault(
          fmt::format("--percentile-metrics: '{}' is none of ttft, tpot, itl, e2el", metric));
    }
  }
  auto percentiles = ParsePercentiles(flags.metric_percentiles, "--metric-percentiles");
  if (!percentiles) return percentiles.error();
  config.metric_percentiles = std::move(*percentiles);
  for (const std::string& text : flags.goodput) {
    auto bound = ParseGoodput(text, "--goodput");
    if (!bound) return bound.error();
    config.goodput_ms.push_back(std::move(*bound));
  }
  return {};
}

Status FinishLoad(BenchFlags& flags) {
  LoadProfile& profile = flags.bench.profile;
  auto rate = ParseRate(flags.request_rate, "--request-rate");
  if (!rate) return rate.error();
  profile.request_rate = *rate;
  profile.seed = flags.bench.dataset.seed;
  if (flags.max_concurrency > 0) profile.max_concurrency = flags.max_concurrency;
  const bool finite = flags.request_rate != "inf";
  if (!profile.ramp.empty()) {
    if (finite) return ConfigFault("--ramp-up-strategy and --request-rate exclude each other");
    if (profile.ramp_start_rate <= 0 || profile.ramp_end_rate <= 0)
      return ConfigFault("--ramp-up-strategy needs --ramp-up-start-rps and --ramp-up-end-rps");
  } else if (profile.ramp_start_rate > 0 || profile.ramp_end_rate > 0) {
    return ConfigFault("--ramp-up-start-rps and --ramp-up-end-rps need --ramp-up-strategy");
  }
  if (profile.closed_loop_users > 0 && (finite || !profile.ramp.empty()))
    return ConfigFault("--closed-loop-users and a request rate exclude each other");
  return {};
}

Status FinishOutput(BenchFlags& flags) {
  BenchOutputFlags& output = flags.output;
  if (!output.result_filename.empty()) output.save_result = true;
  if (output.save_detailed) {
    output.save_result = true;
    flags.bench.target.keep_text = true;
  }
  for (const std::string& text : output.metadata) {
    const auto pair = ParsePair(text, "--metadata");
    if (!pair) return pair.error();
  }
  if (output.save_result) {
    const std::filesystem::path folder(output.result_dir);
    const std::string name =
        output.result_filename.empty() ? ".quire-bench-check" : output.result_filename;
    QUIRE_RETURN_IF_ERROR(CheckWritable((folder / name).string(), output.result_filename.empty()
                                                                      ? "--result-dir"
                                                                      : "--result-filename"));
  }
  if (!output.report.empty()) QUIRE_RETURN_IF_ERROR(CheckWritable(output.report, "--report"));
  return {};
}

}  // namespace

void AddApiKeyFlag(CLI::App& app, std::string& key, const char* group) {
  app.add_option("--api-key", key, "Sent as a bearer token; never printed or stored")
      ->envname("OPENAI_API_KEY")
      ->group(group);
}

std::vector<HttpHeader> KeyHeaders(const std::string& key) {
  if (key.empty()) return {};
  return {{"Authorization", "Bearer " + key}};
}

void AddBenchTargetFlags(CLI::App& app, BenchFlags& flags) {
  const char* name = "Server";
  FlagGroup group(app, name);
  ServeBenchOptions& bench = flags.bench;
  group
      .Text("--backend,--endpoint-type", flags.backend,
            "openai or vllm: completions; openai-chat: messages")
      ->check(CLI::IsMember({"openai", "openai-chat", "vllm"}).description(""));
  group.Text("--base-url", flags.base_url, "http://host:port, instead of --host and --port");
  group.Text("--host", flags.host, "Where the server is");
  group.Number("--port", flags.port, 1, 65535, "Its port");
  group.Text("--endpoint", flags.endpoint, "Path of the API (default: that of --backend)");
  group.Text("-m,--model", bench.target.model, "As the server calls it (default: its first)");
  group.Text("--tokenizer", bench.tokenizer,
             "Folder with tokenizer.json (default: the server's /tokenize)");
  AddApiKeyFlag(app, flags.api_key, name);
  group.List("--header", flags.headers, "NAME=VALUE, sent with every request");
  group.Number("--ready-check-timeout-sec", bench.ready_timeout_s, 0.0, 86400.0,
               "Wait so long for the server");
  group.Flag("--ignore-eos", bench.target.ignore_eos, "Answers of exactly the length asked for");
  group.Optional("--temperature", bench.target.temperature, 0, 2,
                 "Sent with requests (default: the server's)");
  group.Optional("--top-p", flags.top_p, 0, 1, "Likewise");
  group.Optional("--top-k", flags.top_k, -1, 1 << 30, "Likewise");
  group.Optional("--min-p", flags.min_p, 0, 1, "Likewise");
  group.Optional("--logprobs", flags.logprobs, 0, 1000, "Ask for so many log-probabilities");
  group.Text("--extra-body", flags.extra_body, "JSON object merged into every request");
  group.Number("--request-timeout-sec", bench.target.timeout_s, 0.001, 1e6,
               "A request without an end by then has failed");
  AddSubjectFlags(app, flags);
}

void AddBenchDatasetFlags(CLI::App& app, BenchFlags& flags) {
  FlagGroup group(app, "Dataset");
  DatasetOptions& dataset = flags.bench.dataset;
  group
      .Text("--dataset-name", dataset.name,
            "random, prefix_repetition, sharegpt, custom, sonnet, azure, mooncake or multi_turn")
      ->check(CLI::IsMember({"random", "prefix_repetition", "sharegpt", "custom", "sonnet", "azure",
                             "mooncake", "multi_turn"})
                  .description(""));
  group.Text("--dataset-path", dataset.path, "Its file");
  group.Number("--num-prompts", dataset.num_prompts, 0, kMostRequests,
               "Requests (multi_turn: conversations); 0: all of the file");
  group.Number("--seed", flags.seed, std::int64_t{0}, std::numeric_limits<std::int64_t>::max(),
               "Of prompts and arrivals");
  group.Flag("--prompt-token-ids", dataset.token_ids, "Send token ids instead of text");
  group.Optional("--input-len", flags.input_len, 1, kMostTokens, "For random and sonnet");
  group.Optional("--output-len", flags.output_len, 1, kMostTokens, "For every dataset");
  const auto tokens = [&group](const char* flag, int& value, int low, const char* what) {
    group.Number(flag, value, low, kMostTokens, what);
  };
  tokens("--random-input-len", dataset.random_input_len, 0, "Tokens of a prompt");
  tokens("--random-output-len", dataset.random_output_len, 1, "Tokens of an answer");
  tokens("--random-prefix-len", dataset.random_prefix_len, 0, "Tokens that all begin with");
  group.Number("--random-range-ratio", dataset.random_range_ratio, 0.0, 0.999999,
               "Lengths are uniform in [len (1 - r), len (1 + r)]");
  tokens("--prefix-repetition-prefix-len", dataset.prefix_len, 0, "Tokens of a shared prefix");
  tokens("--prefix-repetition-suffix-len", dataset.suffix_len, 0, "Tokens behind it");
  group.Number("--prefix-repetition-num-prefixes", dataset.num_prefixes, 1, kMostRequests,
               "Prefixes");
  tokens("--prefix-repetition-output-len", dataset.prefix_output_len, 1, "Tokens of an answer");
  tokens("--sonnet-input-len", dataset.sonnet_input_len, 1, "Tokens of a prompt");
  tokens("--sonnet-output-len", dataset.sonnet_output_len, 1, "Tokens of an answer");
  tokens("--sonnet-prefix-len", dataset.sonnet_prefix_len, 0, "Tokens that all begin with");
  group.Optional("--sharegpt-output-len", flags.sharegpt_output_len, 1, kMostTokens,
                 "Instead of the file's own");
  group.Optional("--custom-output-len", flags.custom_output_len, -1, kMostTokens,
                 "Instead of the file's own (-1)");
  group.Number("--trace-speed", dataset.trace_speed, 1e-6, 1e6, "azure, mooncake: times as fast");
  group.Optional("--max-input-len", dataset.max_input_len, 0, kMostTokens,
                 "azure, mooncake: leave longer ones out");
  group.Number("--turns", dataset.turns, 1, 10000, "multi_turn without a file: of a conversation");
  group.Number("--think-time", dataset.think_s, 0.0, 86400.0,
               "multi_turn: seconds between an answer and the next turn");
}

void AddBenchLoadFlags(CLI::App& app, BenchFlags& flags, bool sweep) {
  FlagGroup group(app, "Load");
  ServeBenchOptions& bench = flags.bench;
  LoadProfile& profile = bench.profile;
  if (!sweep) {
    group.Text("--request-rate", flags.request_rate, "Requests/s; inf: all at once");
    group.Text("--ramp-up-strategy", profile.ramp, "linear or exponential, instead of one rate")
        ->check(CLI::IsMember({"linear", "exponential"}).description(""));
    group.Optional("--ramp-up-start-rps", profile.ramp_start_rate, 1e-6, 1e6, "Its first rate");
    group.Optional("--ramp-up-end-rps", profile.ramp_end_rate, 1e-6, 1e6, "Its last rate");
    group.Optional("--closed-loop-users", profile.closed_loop_users, 1, 1 << 20,
                   "Users of whom each sends its next request when its last is answered");
  }
  group.Number("--burstiness", profile.burstiness, 1e-3, 1e6,
               "1: Poisson arrivals; less: in bursts; more: even");
  group.Optional("--max-concurrency", flags.max_concurrency, 1, 1 << 20,
                 "Requests in flight at most; others wait their turn");
  group.Number("--num-warmups", bench.num_warmups, 0, kMostRequests,
               "Requests before the run, not counted");
  group.Optional("--client-threads", bench.num_threads, 1, 1024,
                 "Threads that send (default: one for two cores, at most 8)");
}

void AddBenchOutputFlags(CLI::App& app, BenchFlags& flags) {
  FlagGroup group(app, "Results");
  BenchOutputFlags& output = flags.output;
  group.Text("--percentile-metrics", flags.percentile_metrics, "Of ttft,tpot,itl,e2el");
  group.Text("--metric-percentiles", flags.metric_percentiles, "Percentiles of them");
  group.List("--goodput", flags.goodput,
             "Bounds in ms, e.g. ttft:500 tpot:50: counts the requests within all of them");
  group.Flag("--save-result", output.save_result, "Write a JSON file, named after the run");
  group.Flag("--save-detailed", output.save_detailed, "With every request in it");
  group.Text("--result-dir", output.result_dir, "Its folder");
  group.Text("--result-filename", output.result_filename, "Its name");
  group.List("--metadata", output.metadata, "KEY=VALUE, kept in it");
  group.Text("--report", output.report, "Write a page with table and plots to this file");
  group.Flag("--disable-tqdm", output.disable_bar, "No progress bar");
}

Status FinishBenchFlags(BenchFlags& flags) {
  QUIRE_RETURN_IF_ERROR(FinishTarget(flags));
  QUIRE_RETURN_IF_ERROR(FinishDataset(flags));
  QUIRE_RETURN_IF_ERROR(FinishLoad(flags));
  QUIRE_RETURN_IF_ERROR(FinishMetrics(flags));
  QUIRE_RETURN_IF_ERROR(FinishOutput(flags));
  RunConfig& config = flags.bench.config;
  config.command = OwnCommand();
  flags.bench.host_facts = !flags.no_host_facts;
  config.dataset = flags.bench.dataset.name;
  config.ignore_eos = flags.bench.target.ignore_eos;
  return {};
}

std::string OwnCommand() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\0', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return CommandText(words);
}

Status CheckWritable(const std::string& file, const char* flag) {
  std::error_code error;
  const std::filesystem::path path(file);
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (error) {
    return ConfigFault(fmt::format("{}: cannot make the folder {}: {}", flag,
                                   path.parent_path().string(), error.message()));
  }
  const bool was_there = std::filesystem::exists(path, error);
  std::FILE* const opened = std::fopen(file.c_str(), "ab");
  if (opened == nullptr)
    return ConfigFault(fmt::format("{}: cannot write {}: {}", flag, file, std::strerror(errno)));
  std::fclose(opened);
  if (!was_there) std::filesystem::remove(path, error);
  return {};
}

Status SaveBenchJson(const BenchOutputFlags& flags, Json json, const std::string& default_name) {
  if (!flags.save_result) return {};
  for (const std::string& text : flags.metadata) {
    auto pair = ParsePair(text, "--metadata");
    if (pair && !json.contains(pair->first)) json[pair->first] = pair->second;
  }
  const std::string name = flags.result_filename.empty() ? default_name : flags.result_filename;
  const std::string file = (std::filesystem::path(flags.result_dir) / name).string();
  QUIRE_RETURN_IF_ERROR(WriteJsonFile(json, file));
  std::fprintf(stderr, "saved     %s\n", file.c_str());
  return {};
}

Status SaveBenchReport(const BenchOutputFlags& flags, std::span<const RunSummary> runs,
                       const SweepResult* sweep) {
  if (flags.report.empty()) return {};
  ReportInput input;
  input.runs = runs;
  input.sweep = sweep;
  QUIRE_RETURN_IF_ERROR(WriteTextFile(RenderReport(input), flags.report));
  std::fprintf(stderr, "report    %s\n", flags.report.c_str());
  return {};
}

}  // namespace quire
