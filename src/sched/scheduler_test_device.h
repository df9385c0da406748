// A device for tests that computes nothing, but remembers what every block holds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "sched/request.h"
#include "sched/step_plan.h"

namespace quire {

inline std::uint64_t MixToken(std::uint64_t before, TokenId token) {
  std::uint64_t x = before ^ (static_cast<std::uint64_t>(token) + 0x9e3779b97f4a7c15U);
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

// What the model makes of a prefix: the salt counts too, so that a block of another salt is a wrong
// one.
inline std::uint64_t HashSalt(const std::string& salt) {
  std::uint64_t hash = 1;
  for (const char c : salt) hash = MixToken(hash, c);
  return hash;
}

// The token behind a prefix; banned stop tokens are skipped as a mask would.
inline TokenId SampleAfter(std::uint64_t prefix, TokenId vocab, bool ban_stop_tokens,
                           const std::vector<TokenId>& stop_tokens) {
  auto token = static_cast<TokenId>(prefix % static_cast<std::uint64_t>(vocab));
  while (ban_stop_tokens && std::ranges::count(stop_tokens, token) > 0) token = (token + 1) % vocab;
  return token;
}

// Owns the content of every block and the state of every slot, as a real device does. Aborts on a
// plan that reads what was not written, writes what another item reads, or feeds a wrong token.
class TestDevice {
 public:
  TestDevice(std::int64_t num_blocks, std::int32_t block_size, std::int32_t num_slots,
             TokenId vocab, std::vector<TokenId> eos)
      : block_size_(block_size),
        vocab_(vocab),
        eos_(std::move(eos)),
        content_(static_cast<std::size_t>(num_blocks * block_size), 0),
        slots_(static_cast<std::size_t>(num_slots)) {}

  void SetSalt(RequestId id, const std::string& salt) { salts_[id] = HashSalt(salt); }

  StepOutput Run(const StepPlan& plan) {
    for (const SlotStart& start : plan.starts) Start(start);
    for (const StepItem& item : plan.items) CheckInputs(plan, item);
    for (const StepItem& item : plan.items) Write(plan, item);
    StepOutput output;
    output.step = plan.step;
    for (const StepItem& item : plan.items) {
      CheckContent(plan, item, item.first + item.count);
      output.items.push_back(Result(item));
    }
    return output;
  }

 private:
  struct Slot {
    std::vector<TokenId> tokens;
    std::vector<std::uint64_t> hashes;  // of the prefix that ends with each token
    std::vector<TokenId> stop_tokens;
    std::int32_t num_prompt = 0;
  };

  void Start(const SlotStart& start) {
    Slot& slot = slots_[static_cast<std::size_t>(start.slot.value)];
    slot = Slot();
    slot.tokens = start.prompt;
    slot.tokens.insert(slot.tokens.end(), start.output.begin(), start.output.end());
    slot.num_prompt = static_cast<std::int32_t>(start.prompt.size());
    slot.stop_tokens = start.sampling.stop_token_ids;
    if (!start.sampling.ignore_eos)
      slot.stop_tokens.insert(slot.stop_tokens.end(), eos_.begin(), eos_.end());
  }

  Slot& SlotOf(const StepItem& item) { return slots_[static_cast<std::size_t>(item.slot.value)]; }

  std::uint64_t& At(const StepPlan& plan, const StepItem& item, std::int32_t position) {
    const std::int32_t index = position / block_size_;
    QUIRE_CHECK(index < item.num_blocks);
    const BlockId block = plan.blocks[static_cast<std::size_t>(item.blocks_begin + index)];
    return content_[static_cast<std::size_t>(block.value * block_size_ + position % block_size_)];
  }

  void CheckInputs(const StepPlan& plan, const StepItem& item) {
    Slot& slot = SlotOf(item);
    QUIRE_CHECK(item.count > 0 && item.first >= 0);
    QUIRE_CHECK(static_cast<std::size_t>(item.first + item.count) <= slot.tokens.size());
    QUIRE_CHECK(item.sample ==
                (static_cast<std::size_t>(item.first + item.count) == slot.tokens.size()));
    while (slot.hashes.size() < slot.tokens.size()) {
      const std::uint64_t before =
          slot.hashes.empty() ? salts_.at(item.request) : slot.hashes.back();
      slot.hashes.push_back(MixToken(before, slot.tokens[slot.hashes.size()]));
    }
    for (std::int32_t i = 0; i < item.count; ++i) {
      const TokenId input = plan.tokens[static_cast<std::size_t>(item.tokens_begin + i)];
      if (item.input_on_device) {
        QUIRE_CHECK(item.count == 1 && input == -1 && item.sample);
      } else {
        QUIRE_CHECK(input == slot.tokens[static_cast<std::size_t>(item.first + i)]);
      }
    }
    CheckContent(plan, item, item.first);
  }

  void CheckContent(const StepPlan& plan, const StepItem& item, std::int32_t end) {
    const Slot& slot = SlotOf(item);
    for (std::int32_t i = 0; i < end; ++i)
      QUIRE_CHECK(At(plan, item, i) == slot.hashes[static_cast<std::size_t>(i)]);
  }

  void Write(const StepPlan& plan, const StepItem& item) {
    for (std::int32_t i = item.first; i < item.first + item.count; ++i)
      At(plan, item, i) = SlotOf(item).hashes[static_cast<std::size_t>(i)];
  }

  ItemOutput Result(const StepItem& item) {
    Slot& slot = SlotOf(item);
    ItemOutput result;
    for (std::int32_t i = item.first + 1; i <= item.first + item.num_scored; ++i) {
      QUIRE_CHECK(i < slot.num_prompt);
      result.prompt_logprobs.push_back(
          {{{slot.tokens[static_cast<std::size_t>(i)], static_cast<float>(i), 1}}});
    }
    if (!item.sample) return result;
    QUIRE_CHECK(item.output_index == std::ssize(slot.tokens) - slot.num_prompt);
    result.token = SampleAfter(slot.hashes.back(), vocab_, item.ban_stop_tokens, slot.stop_tokens);
    slot.tokens.push_back(result.token);
    return result;
  }

  const std::int32_t block_size_;
  const TokenId vocab_;
  const std::vector<TokenId> eos_;
  std::vector<std::uint64_t>
      content_;  // [num_blocks, block_size]: the hash of the prefix up to each token
  std::vector<Slot> slots_;
  std::unordered_map<RequestId, std::uint64_t> salts_;
};

}  // namespace quire
