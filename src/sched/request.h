// What a user asked for: immutable once admitted, the same on both sides of the process border.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace quire {

// Field names and meanings as in OpenAI's API and vLLM's SamplingParams. Every value was ranged by
// the front end before it came here (rule 9): 0 ≤ token id < vocab_size, and so on.
struct SamplingParams {
  float temperature = 1.0F;  // 0: greedy
  float top_p = 1.0F;
  std::int32_t top_k = 0;  // 0: all
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  std::uint64_t seed = 0;  // drawn at admission where the user gave none
  std::int32_t max_tokens = 16;
  std::int32_t min_tokens = 0;
  bool ignore_eos = false;
  std::int32_t num_logprobs = -1;         // −1: none; 0: the sampled token's alone
  std::int32_t num_prompt_logprobs = -1;  // likewise, for each prompt token but the first
  std::vector<TokenId> stop_token_ids;
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::vector<TokenId> allowed_token_ids;       // empty: all
  std::vector<std::vector<TokenId>> bad_words;  // token sequences that must not be generated
};

struct Request {
  RequestId id;
  std::vector<TokenId> prompt;  // at least one token
  SamplingParams sampling;
  std::string cache_salt;          // prefixes are shared only within one salt
  std::int32_t priority = 0;       // carried; FCFS ignores it
  std::vector<TokenId> delivered;  // replay: output tokens that the client already has; generation
                                   // goes on behind them
};

}  // namespace quire
