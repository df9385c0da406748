// Sampler: turns rows of logits into tokens on the device, and keeps what that needs for each slot.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/ids.h"

namespace quire {

// How one running sequence samples; set when it takes its slot.
struct SlotSampling {
  SamplingRow row;  // parameters; slot, output_index and ranges are filled in for each step
  std::vector<TokenBias> biases;
  std::vector<TokenId> allowed;                 // empty: all
  std::vector<TokenId> stop_tokens;             // masked where a row asks for it
  std::vector<std::vector<TokenId>> bad_words;  // no row completes one of them
};

// One row of a step to sample.
struct SampleRequest {
  SlotId slot;
  std::int32_t output_index = 0;
  bool ban_stop_tokens = false;
};

class Sampler {
 public:
  // Owns the device state of `num_slots` slots. The memory is touched only by slots that have
  // penalties.
  static Result<Sampler> Make(Backend& backend, std::int32_t num_slots, std::int64_t vocab_size);

  void StartSlot(SlotId slot, SlotSampling sampling, std::span<const TokenId> prompt,
                 std::span<const TokenId> output);

  // Samples row i of logits (float32 [rows, vocab], overwritten) as requests[i] says. The results
  // stay valid until the next call.
  const SampledRows& Sample(const Tensor& logits, std::span<const SampleRequest> requests);

  // Scores given tokens: results[i] of tokens[i] under row i of logits.
  const SampledRows& Score(const Tensor& logits, std::span<const TokenId> tokens,
                           std::int32_t num_top);

  const SamplerState& state() const { return state_; }
  const SlotSampling& slot(SlotId id) const {
    return slots_[static_cast<std::size_t>(id.value)].sampling;
  }

 private:
  struct Slot {
    SlotSampling sampling;
    std::vector<TokenId> history;  // prompt and output, kept only where there are bad words
  };

  Sampler(Backend& backend, Buffer memory, std::int32_t num_slots, std::int64_t vocab_size);
  void AddRow(const SampleRequest& request);
  void BanCompletions(const Slot& slot);
  void SizeResults(std::size_t rows, std::int32_t max_top);

  Backend* backend_;
  Buffer memory_;
  SamplerState state_;
  std::vector<Slot> slots_;
  // Tables of the step, kept to keep their memory.
  std::vector<SamplingRow> rows_;
  std::vector<TokenBias> biases_;
  std::vector<TokenId> allowed_, banned_;
  std::vector<TokenId> tokens_;
  std::vector<std::uint8_t> faults_;
  std::vector<float> logprobs_;
  std::vector<std::int32_t> ranks_;
  std::vector<TokenLogprob> top_;
  SampledRows results_;
};

}  // namespace quire
