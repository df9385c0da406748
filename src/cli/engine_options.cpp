#include "cli/engine_options.h"

#include <fmt/core.h>

#include <cmath>
#include <cstdio>
#include <limits>

#include "base/exit_code.h"
#include "base/log.h"

namespace quire {
namespace {

constexpr std::int32_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();

struct Unit {
  char letter;
  double factor;
};
constexpr Unit kUnits[] = {{'k', 1e3},       {'K', 1024.0}, {'m', 1e6},
                           {'M', 1048576.0}, {'g', 1e9},    {'G', 1073741824.0}};

std::string ExpandHuman(std::string& text) {
  if (text.empty()) return "a number is missing";
  for (const Unit& unit : kUnits) {
    if (text.back() != unit.letter) continue;
    double value = 0;
    char rest = 0;
    const std::string digits = text.substr(0, text.size() - 1);
    if (std::sscanf(digits.c_str(), "%lf%c", &value, &rest) != 1 || !(value >= 0) || value > 1e12)
      return "'" + text + "' is no number";
    text = fmt::format("{}", std::llround(value * unit.factor));
    return "";
  }
  return "";
}

void AddModelFlags(CLI::App& app, EngineFlags& flags) {
  const char* group = "Model";
  app.add_option("model,--model", flags.model,
                 "Hugging Face folder, or org/name in the Hugging Face cache; without it the "
                 "built-in model")
      ->group(group)
      ->type_name("MODEL");
  app.add_option("--dtype", flags.config.dtype, "Dtype of weights and cache; auto: as stored")
      ->check(CLI::IsMember({"auto", "float32", "float", "bfloat16", "float16", "half"}))
      ->group(group)
      ->capture_default_str();
  app.add_option("--load-format", flags.load_format, "dummy: seeded random weights for config.json")
      ->check(CLI::IsMember({"auto", "safetensors", "dummy"}))
      ->group(group)
      ->capture_default_str();
  app.add_option("--max-model-len", flags.config.max_model_len,
                 "Context in tokens (default: the model's)")
      ->transform(HumanNumber())
      ->check(Between(2, kMaxInt32 / 2))
      ->group(group);
  app.add_option("--seed", flags.config.seed, "Of dummy weights")
      ->group(group)
      ->capture_default_str();
}

void AddDeviceFlags(CLI::App& app, EngineFlags& flags) {
  const char* group = "Device";
  app.add_option("--device", flags.config.device, "auto, cuda, cpu; null computes nothing (tests)")
      ->group(group)
      ->capture_default_str();
  app.add_option("--threads", flags.config.num_threads, "CPU threads (default: all cores)")
      ->check(Between(1, 1024))
      ->group(group);
  app.add_option("--cpu-isa", flags.config.instruction_set,
                 "portable, avx2, avx512, avx512bf16 or amx (default: the best this CPU has)")
      ->group(group);
  for (auto& [name, value, what] :
       {std::tuple<const char*, std::int32_t*, const char*>{"--tensor-parallel-size,--tp",
                                                            &flags.tensor_parallel_size,
                                                            "GPUs that share each layer"},
        {"--pipeline-parallel-size,--pp", &flags.pipeline_parallel_size, "Stages of layers"},
        {"--data-parallel-size,--dp", &flags.data_parallel_size, "Replicas"}}) {
    app.add_option(name, *value, what)
        ->check(Between(1, 4096))
        ->group(group)
        ->capture_default_str();
  }
}

void AddCacheFlags(CLI::App& app, EngineFlags& flags) {
  const char* group = "Cache and batching";
  app.add_option("--max-num-seqs", flags.config.max_num_seqs,
                 "Sequences running at once (default: 64)")
      ->transform(HumanNumber())
      ->check(Between(1, 65536))
      ->group(group);
  app.add_option("--max-num-batched-tokens", flags.config.max_num_batched_tokens,
                 "Token budget of a step (default: 2048)")
      ->transform(HumanNumber())
      ->check(Between(1, 1 << 20))
      ->group(group);
  app.add_option("--block-size", flags.config.block_size, "Tokens of a KV-cache block")
      ->check(CLI::IsMember({16, 32, 64, 128}))
      ->group(group)
      ->capture_default_str();
  app.add_option("--num-gpu-blocks-override", flags.config.num_blocks_override,
                 "Blocks of the KV cache, whatever memory there is")
      ->transform(HumanNumber())
      ->check(Between(std::int64_t{1}, std::int64_t{1} << 26))
      ->group(group);
  app.add_option("--kv-cache-memory-bytes", flags.config.kv_cache_memory_bytes,
                 "Bytes of the KV cache")
      ->transform(HumanNumber())
      ->check(Between(std::int64_t{1} << 12, std::int64_t{1} << 46))
      ->group(group);
  app.add_option("--gpu-memory-utilization", flags.config.memory_utilization,
                 "Share of the free memory for the KV cache (on a CPU at most 2 GiB unless asked)")
      ->check(Between(0.01, 1.0))
      ->group(group)
      ->capture_default_str();
  app.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching",
               flags.config.enable_prefix_caching,
               "Share blocks of equal prompt beginnings (on by default)")
      ->group(group);
}

void AddProfileFlags(CLI::App& app, ProfileOptions& options) {
  const char* group = "Profile";
  app.add_option("--profile-steps", options.num_steps,
                 "Write a trace of so many steps of host and GPU for ui.perfetto.dev, and a "
                 "summary (also QUIRE_PROFILE_STEPS)")
      ->check(Between(1, ProfileOptions::kMaxSteps))
      ->group(group);
  app.add_option("--profile-first", options.first_step,
                 "Steps that run before (also QUIRE_PROFILE_FIRST)")
      ->check(Between(0, ProfileOptions::kLastFirstStep))
      ->group(group)
      ->capture_default_str();
  app.add_option("--profile-file", options.file,
                 "The trace (default: quire-profile-PID.json; also QUIRE_PROFILE_FILE)")
      ->group(group)
      ->type_name("FILE");
}

}  // namespace

CLI::Validator HumanNumber() {
  return CLI::Validator([](std::string& text) { return ExpandHuman(text); }, "");
}

void AddEngineFlags(CLI::App& app, EngineFlags& flags) {
  AddModelFlags(app, flags);
  AddDeviceFlags(app, flags);
  AddCacheFlags(app, flags);
  app.add_option("--log-level", flags.log_level, "debug, info, warning, error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->group("Log")
      ->capture_default_str();
  AddProfileFlags(app, flags.config.profile);
}

Status FinishEngineFlags(EngineFlags& flags) {
  const std::pair<const char*, std::int32_t> sizes[] = {
      {"--tensor-parallel-size", flags.tensor_parallel_size},
      {"--pipeline-parallel-size", flags.pipeline_parallel_size},
      {"--data-parallel-size", flags.data_parallel_size}};
  for (const auto& [name, size] : sizes) {
    if (size != 1)
      return ConfigFault(fmt::format("{} {} is not supported yet: only 1 is", name, size));
  }
  if (flags.config.max_num_seqs > 0 && flags.config.max_num_batched_tokens > 0 &&
      flags.config.max_num_batched_tokens < flags.config.max_num_seqs) {
    return ConfigFault(
        fmt::format("--max-num-batched-tokens {} is less than --max-num-seqs {}: each "
                    "running sequence needs one token a step",
                    flags.config.max_num_batched_tokens, flags.config.max_num_seqs));
  }
  if (flags.load_format == "dummy") flags.config.load_format = LoadFormat::kDummy;
  auto folder = FindModel(flags.model);
  if (!folder) return folder.error();
  flags.config.model_folder = *folder;
  return {};
}

std::vector<std::string> EngineArguments(const EngineFlags& flags) {
  const EngineConfig& config = flags.config;
  std::vector<std::string> words = {
      config.model_folder.string(),
      "--dtype=" + config.dtype,
      "--load-format=" + flags.load_format,
      fmt::format("--seed={}", config.seed),
      "--device=" + config.device,
      fmt::format("--block-size={}", config.block_size),
      fmt::format("--gpu-memory-utilization={}", config.memory_utilization),
      "--log-level=" + flags.log_level};
  auto add = [&](const char* name, std::int64_t value) {
    if (value > 0) words.push_back(fmt::format("{}={}", name, value));
  };
  add("--max-model-len", config.max_model_len);
  add("--threads", config.num_threads);
  add("--max-num-seqs", config.max_num_seqs);
  add("--max-num-batched-tokens", config.max_num_batched_tokens);
  add("--num-gpu-blocks-override", config.num_blocks_override);
  add("--kv-cache-memory-bytes", config.kv_cache_memory_bytes);
  add("--profile-steps", config.profile.num_steps);
  if (!config.instruction_set.empty()) words.push_back("--cpu-isa=" + config.instruction_set);
  if (!config.enable_prefix_caching) words.emplace_back("--no-enable-prefix-caching");
  if (config.profile.first_step != ProfileOptions{}.first_step)
    words.push_back(fmt::format("--profile-first={}", config.profile.first_step));
  if (!config.profile.file.empty())
    words.push_back("--profile-file=" + config.profile.file.string());
  return words;
}

int Fail(const Error& error) {
  std::fprintf(stderr, "quire: %s\n", error.message.c_str());
  return ExitCodeOf(error.kind);
}

void ApplyLogLevel(const std::string& level, const std::string& prefix) {
  LogLevel chosen = LogLevel::kInfo;
  if (level == "debug") chosen = LogLevel::kDebug;
  if (level == "warning") chosen = LogLevel::kWarning;
  if (level == "error") chosen = LogLevel::kError;
  ConfigureLog(chosen, prefix);
}

}  // namespace quire
