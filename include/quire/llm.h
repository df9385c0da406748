// Quire as a library: an engine in the caller's process, the same code as the server's.
//
//   quire::LlmOptions options;
//   options.model = "/models/Qwen2.5-0.5B";
//   auto llm = quire::Llm::Load(options);
//   if (!llm) { std::cerr << llm.error; return 1; }
//   std::cout << llm->Generate("Once upon a time").text;
//
// Thread-safe: several threads may generate at once, their requests share the steps.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

struct LlmOptions {
  std::string model;               // a Hugging Face folder, or org/name in the Hugging Face cache
  std::string device = "auto";     // cuda where the build and the machine have it, else cpu
  std::string dtype = "auto";      // auto, float32, bfloat16, float16
  std::int32_t max_model_len = 0;  // 0: the model's own
  std::int32_t max_num_seqs = 0;   // 0: the device's default
  std::int32_t num_threads = 0;    // 0: all cores
  std::int32_t max_num_batched_tokens = 0;  // 0: the device's default
  std::int32_t block_size = 16;
  std::int64_t num_gpu_blocks_override = 0;  // 0: sized by memory
  std::int64_t kv_cache_memory_bytes = 0;    // 0: a share of the free memory
  double gpu_memory_utilization = 0.92;      // that share; on a CPU at most 2 GiB
  bool enable_prefix_caching = true;
  bool load_dummy_weights = false;  // seeded random ones for the folder's config.json
  std::uint64_t seed = 0;           // of those
  std::string cpu_isa;              // empty: the best that the CPU has
  // A trace of steps for ui.perfetto.dev, and a summary in the log.
  std::int32_t profile_steps = 0;   // 0: none, or what QUIRE_PROFILE_STEPS asks for
  std::int32_t profile_first = 32;  // so many steps run before
  std::string profile_file;         // empty: quire-profile-PID.json
};

// As in OpenAI's API; the values are checked, and a bad one is an error of the generation.
struct GenerateOptions {
  float temperature = 1.0F;  // 0: greedy
  float top_p = 1.0F;
  std::int32_t top_k = 0;
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  std::int64_t seed = -1;  // −1: a random one
  std::int32_t max_tokens = 256;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  // Called with each new piece of text on a thread of the engine; false ends the generation.
  std::function<bool(std::string_view)> on_text;
};

struct Generation {
  std::string text;
  std::vector<std::int32_t> token_ids;
  std::int32_t num_prompt_tokens = 0;
  std::string finish_reason;  // "stop", "length", "abort", "error"
  std::string error;          // not empty where it failed
  double seconds_to_first_token = 0;
  double seconds = 0;
};

class Llm;

// The loaded model, or why there is none.
struct LlmResult {
  std::unique_ptr<Llm> llm;
  std::string error;  // one line that names the file and field, or the flag
  int exit_code = 0;  // what the command line would exit with
  explicit operator bool() const { return llm != nullptr; }
  Llm* operator->() const { return llm.get(); }
};

struct ChatTurn {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

class Llm {
 public:
  static LlmResult Load(const LlmOptions& options);
  ~Llm();

  // Continues a text, or token ids. Waits for the end.
  Generation Generate(std::string_view prompt, const GenerateOptions& options = {});
  Generation Generate(const std::vector<std::int32_t>& prompt, const GenerateOptions& options = {});
  // Answers a conversation by the model's chat template; where it has none, an error.
  Generation Chat(const std::vector<ChatTurn>& turns, const GenerateOptions& options = {});

  bool has_chat_template() const;
  std::string Describe() const;  // model, dtype, device, cache size: a line for the terminal
  std::int32_t max_model_len() const;

 private:
  class Impl;
  explicit Llm(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
