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

// Results of one step's rows. Owns host memory that the device writes to; valid once its mark has
// passed.
class SampledSet {
 public:
  const SampledRows& rows() const { return rows_; }
  std::uint64_t mark() const { return mark_; }

 private:
  friend class Sampler;
  void Size(Backend& backend, std::size_t rows, std::int32_t max_top);

  Buffer memory_;
  SampledRows rows_;
  std::uint64_t mark_ = 0;
};

class Sampler {
 public:
  // Owns the device state of `num_slots` slots. The memory is touched only by slots that have
  // penalties.
  static Result<Sampler> Make(Backend& backend, std::int32_t num_slots, std::int64_t vocab_size);

  void StartSlot(SlotId slot, SlotSampling sampling, std::span<const TokenId> prompt,
                 std::span<const TokenId> output);

  // Launches the sampling of row i of logits (float32 [rows, vocab], overwritten) as requests[i]
  // says. `out` must live until the next call. Throws std::bad_alloc.
  void Sample(const Tensor& logits, std::span<const SampleRequest> requests, SampledSet& out);

  // Scores given tokens, and waits: out[i] of tokens[i] under row i of logits.
  void Score(const Tensor& logits, std::span<const TokenId> tokens, std::int32_t num_top,
             SampledSet& out);

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
  void ReadHistory();

  Backend* backend_;
  Buffer memory_;
  SamplerState state_;
  std::vector<Slot> slots_;
  // Tables of the step, kept to keep their memory.
  std::vector<SamplingRow> rows_;
  std::vector<TokenBias> biases_;
  std::vector<TokenId> allowed_, banned_;
  SampledSet* latest_ = nullptr;  // of the last call of Sample
  // Slots with a history whose newest token is in that row of latest_ and not in the history yet.
  std::vector<std::pair<SlotId, std::size_t>> unread_;
};

}  // namespace quire
