#include "cli/text_flags.h"

#include <unistd.h>

#include <cstdio>
#include <limits>

#include "base/exit_code.h"

namespace quire {

void AddSamplingFlags(CLI::App& app, GenerateOptions& options) {
  const char* group = "Sampling";
  app.add_option("-n,--max-tokens", options.max_tokens, "At most so many new tokens")
      ->transform(HumanNumber())
      ->check(Between(1, std::numeric_limits<std::int32_t>::max()))
      ->group(group)
      ->capture_default_str();
  app.add_option("--temperature", options.temperature, "0: greedy")
      ->check(Between(0.0, 2.0))
      ->group(group)
      ->capture_default_str();
  app.add_option("--top-p", options.top_p, "Keep the most probable tokens up to this share")
      ->check(Between(1e-6, 1.0))
      ->group(group)
      ->capture_default_str();
  app.add_option("--top-k", options.top_k, "Keep so many tokens; 0: all")
      ->check(Between(0, std::numeric_limits<std::int32_t>::max()))
      ->group(group)
      ->capture_default_str();
  app.add_option("--min-p", options.min_p,
                 "Keep tokens above this share of the best one's probability")
      ->check(Between(0.0, 1.0))
      ->group(group)
      ->capture_default_str();
  app.add_option("--repetition-penalty", options.repetition_penalty)
      ->check(Between(0.01, 100.0))
      ->group(group)
      ->capture_default_str();
  app.add_option("--sampling-seed", options.seed, "Same seed and prompt: same text")->group(group);
  app.add_option("--stop", options.stop, "Texts that end the answer")->group(group);
}

LlmResult LoadLlm(EngineFlags& flags) {
  ApplyLogLevel(flags.log_level, "");
  if (const Status status = FinishEngineFlags(flags); !status.ok())
    return {nullptr, status.error().message, ExitCodeOf(status.error().kind)};
  const EngineConfig& config = flags.config;
  LlmOptions options;
  options.model = config.model_folder.string();
  options.device = config.device;
  options.cpu_isa = config.instruction_set;
  options.num_threads = config.num_threads;
  options.dtype = config.dtype;
  options.load_dummy_weights = config.load_format == LoadFormat::kDummy;
  options.seed = config.seed;
  options.max_model_len = config.max_model_len;
  options.max_num_seqs = config.max_num_seqs;
  options.max_num_batched_tokens = config.max_num_batched_tokens;
  options.block_size = config.block_size;
  options.num_gpu_blocks_override = config.num_blocks_override;
  options.kv_cache_memory_bytes = config.kv_cache_memory_bytes;
  options.gpu_memory_utilization = config.memory_utilization;
  options.enable_prefix_caching = config.enable_prefix_caching;
  options.profile_steps = config.profile.num_steps;
  options.profile_first = config.profile.first_step;
  options.profile_file = config.profile.file.string();
  LlmResult llm = Llm::Load(options);
  if (llm && ::isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "%s\n", llm->Describe().c_str());
  return llm;
}

}  // namespace quire
