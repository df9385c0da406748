// What comes back for a request, and what the engine tells about itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"

namespace quire {

enum class FinishReason : std::uint8_t { kNone, kStop, kLength, kAbort, kError };

struct LogprobEntry {
  TokenId token = 0;
  float logprob = 0.0F;
  std::int32_t rank = 0;  // 1: the most probable
};

// Log-probabilities at one position: entry 0 is the token itself, then the best ones in falling
// order.
struct PositionLogprobs {
  std::vector<LogprobEntry> entries;
};

// News about one request: the tokens since the last one. The last has a finish reason.
struct RequestOutput {
  RequestId id;
  std::int32_t output_index = 0;  // of tokens[0] among the request's output tokens
  std::vector<TokenId> tokens;
  std::vector<PositionLogprobs> logprobs;  // one for each token where they were asked for
  // For positions prompt_logprobs_begin… of the prompt; position 0 has none. They come in chunks,
  // in order, and all of them before the first token.
  std::int32_t prompt_logprobs_begin = 0;
  std::vector<PositionLogprobs> prompt_logprobs;
  FinishReason finish_reason = FinishReason::kNone;
  TokenId stop_token = -1;  // the token of stop_token_ids that ended it; −1: EOS or none
  std::string error;        // of kError
  std::int32_t num_cached_tokens = 0;  // prompt tokens found in the prefix cache
  // Seconds, valid with the first token resp. with the finish reason.
  double queue_seconds = 0;    // from arrival in the engine to the first step
  double prefill_seconds = 0;  // from the first step to the first token
  double decode_seconds = 0;   // from the first token to the last
};

// Where the time of a step went, microseconds. The device's are 0 where it cannot tell.
struct StepTimes {
  float device = 0;  // from the step's first work on the device to its last
  float gap = 0;     // that the device had nothing to do since the step before, at most since then
  float host = 0;    // planning, launching and taking in the step, on the engine's thread
};

// A snapshot of the engine after a step or a change. Counters only grow while the engine lives.
struct EngineStats {
  std::int32_t num_running = 0;
  std::int32_t num_waiting = 0;
  std::int64_t num_blocks = 0;
  std::int64_t num_used_blocks =
      0;  // held by sequences; cached blocks that nobody holds count as free
  std::uint64_t num_steps = 0;
  std::uint64_t num_preemptions = 0;
  std::uint64_t prefix_cache_queries = 0;  // tokens
  std::uint64_t prefix_cache_hits = 0;     // tokens
  std::uint64_t prompt_tokens_computed = 0;
  std::int32_t step_tokens = 0;  // tokens of the step that this report is about; 0: of none
  StepTimes step_times;          // of that step
};

// One message of the engine: what a step gave, and how it stands now.
struct EngineReport {
  EngineStats stats;
  std::vector<RequestOutput> outputs;
};

// What the front end must know of the loaded model.
struct EngineInfo {
  std::string architecture;
  std::string dtype;
  std::string device;  // Backend::Describe
  std::int32_t vocab_size = 0;
  std::int32_t max_model_len = 0;
  std::int32_t block_size = 0;
  std::int64_t num_blocks = 0;
  std::int64_t weight_bytes = 0;
  std::int64_t kv_cache_bytes = 0;
  std::int32_t max_num_seqs = 0;
  std::int32_t max_num_batched_tokens = 0;
  bool enable_prefix_caching = true;
  std::vector<TokenId> eos_token_ids;
};

}  // namespace quire
