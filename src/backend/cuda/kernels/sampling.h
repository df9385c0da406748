// From logits to tokens: greedy, or drawn by temperature among the tokens that min_p, top_k and
// top_p leave; log-probabilities, ranks and the best of the raw logits. Semantics: backend.h.
//
// Nothing is sorted but a few thousand tokens at the edge of what is kept. A draw adds to each
// token's logit / temperature a Gumbel number that is a hash of (seed, output_index, token) and
// takes the greatest: it depends on nothing else. Logits are read only, changes are made as they
// are read.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/backend.h"

namespace quire::cuda {

// What the rows of a call need between them: decides which kernels are launched, and must name all
// that a row asks for. A replayed graph serves the needs that it was captured for.
struct SamplingNeeds {
  bool random = false;      // a row that is not greedy
  bool truncation = false;  // … with min_p, top_k or top_p
  bool check = false;       // … with top_p or a large top_k
  bool changes = false;     // penalties, biases, allowed or banned tokens
  bool ranks = false;  // num_logprobs ≥ 0 where the token need not be the best of its raw logits
  std::int32_t top = 0;  // the greatest num_logprobs
};
SamplingNeeds NeedsOf(std::span<const SamplingRow> rows, std::int64_t vocab);

struct SamplingArgs {
  const float* logits = nullptr;  // [rows, vocab]
  std::int64_t logits_stride = 0;
  std::int64_t vocab = 0;
  std::int32_t rows = 0;

  // Device memory. A row with slot < 0 only pads: it gets the token −1 and touches no state.
  const SamplingRow* how = nullptr;  // [rows]
  const TokenBias* biases = nullptr;
  const TokenId* allowed = nullptr;
  const TokenId* banned = nullptr;

  TokenId* last_token = nullptr;         // [slots] or null
  std::int32_t* token_counts = nullptr;  // [slots, vocab] or null
  std::int64_t counts_stride = 0;

  // Results, in pinned host memory or the device's: [rows], and top [rows, max_top]. What was not
  // asked for may be null.
  TokenId* tokens = nullptr;
  std::uint8_t* faults = nullptr;
  float* logprobs = nullptr;
  std::int32_t* ranks = nullptr;
  TokenLogprob* top = nullptr;
  std::int32_t max_top = 0;
};

// Scratch on the device for up to so many rows, 256-byte aligned, zeroed once by its owner; every
// call leaves it ready for the next of the same vocabulary. Calls that may overlap need their own.
std::size_t SamplingScratchBytes(std::int32_t rows, std::int64_t vocab);

void Sample(const SamplingArgs& args, const SamplingNeeds& needs, void* scratch,
            cudaStream_t stream);

// Log-probability and rank of args.tokens [rows], and the num_top ≤ max_top best; `how` and what
// follows it is not looked at. tokens may be pinned host memory.
void ScoreTokens(const SamplingArgs& args, std::int32_t num_top, void* scratch,
                 cudaStream_t stream);

// counts [vocab] := 0, kInPrompt for tokens of the prompt, plus the times each is in `output`;
// tokens outside of the vocabulary are skipped.
void ResetSlot(std::int32_t* counts, std::int64_t vocab, const TokenId* prompt,
               std::int64_t prompt_size, const TokenId* output, std::int64_t output_size,
               cudaStream_t stream);

}  // namespace quire::cuda
