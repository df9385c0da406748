// StepPlan goes down to the device plane, StepOutput comes back. Plain data: a plan can be sent to
// another host as it is. Nothing else crosses between the planes (section 2 of the architecture).
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "sched/output.h"
#include "sched/request.h"

namespace quire {

// One sequence's share of a step: `count` tokens from position `first` on. Prefill, chunked
// prefill, decode and recomputation differ only in count.
struct StepItem {
  RequestId request;
  SlotId slot;  // row of device state; a sequence keeps it while it is running
  std::int32_t first = 0;
  std::int32_t count = 0;
  std::int32_t tokens_begin = 0;  // into StepPlan::tokens
  std::int32_t blocks_begin = 0;  // into StepPlan::blocks: the table from position 0 on
  std::int32_t num_blocks = 0;
  // The input token is still on the device: it is the slot's last token, sampled by a step in
  // flight (rule 7). Then count is 1 and StepPlan::tokens holds −1 there.
  bool input_on_device = false;
  bool sample = false;  // a token is sampled from the last row
  std::int32_t output_index =
      0;  // of that token: random numbers are a function of (seed, output_index)
  bool ban_stop_tokens = false;  // min_tokens is not reached: EOS and stop tokens are masked
  // Prompt log-probabilities of this chunk's rows: row i scores the prompt token at first + i + 1,
  // while that is inside the prompt. Their number, 0 for none.
  std::int32_t num_scored = 0;
};

// A slot that begins (or begins again after a preemption): what the device must know of its
// sequence.
struct SlotStart {
  SlotId slot;
  SamplingParams sampling;
  std::vector<TokenId> prompt;
  std::vector<TokenId> output;  // generated before: after a preemption or a replay
};

struct BlockCopy {
  BlockId from;
  BlockId to;
};

struct StepPlan {
  std::uint64_t step = 0;
  std::vector<SlotStart> starts;  // before anything else of the step
  std::vector<BlockCopy> copies;  // before the forward pass
  std::vector<StepItem> items;
  std::vector<TokenId> tokens;  // inputs of all items, in their order
  std::vector<BlockId> blocks;  // block tables of all items, in their order

  bool empty() const { return items.empty(); }
  std::int32_t num_tokens() const { return static_cast<std::int32_t>(tokens.size()); }
};

// What one item of the plan gave; in the plan's order.
struct ItemOutput {
  TokenId token = -1;                             // −1: nothing was sampled, or it failed
  bool fault = false;                             // the logits held NaN or no finite value
  PositionLogprobs logprobs;                      // where asked for
  std::vector<PositionLogprobs> prompt_logprobs;  // num_scored of them
};

struct StepOutput {
  std::uint64_t step = 0;
  std::vector<ItemOutput> items;
  StepTimes times;  // of the device
};

}  // namespace quire
