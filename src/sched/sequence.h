// Sequence: the engine's mutable state for one request.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "cache/kv_cache_manager.h"
#include "sched/output.h"
#include "sched/request.h"

namespace quire {

inline constexpr SlotId kNoSlot{-1};

// Owns a request's tokens, its block table and how far they are planned and computed. Changed by
// the scheduler alone. Tokens are known, or pending: sampled by a step in flight, so that only
// their number is known.
struct Sequence {
  Sequence(Request request_in, std::uint64_t arrival_in, TimePoint now);

  const Request request;
  const std::uint64_t arrival;  // order of admission; the higher, the younger
  const TimePoint arrival_time;

  std::vector<TokenId> tokens;  // prompt and output, as far as known
  BlockTable table;
  SlotId slot = kNoSlot;               // while it is running, and until its last step has retired
  std::int32_t num_planned = 0;        // positions computed when all steps in flight have retired
  std::int32_t num_computed = 0;       // positions computed by retired steps
  std::int32_t num_pending = 0;        // tokens that steps in flight sample
  std::int32_t num_in_flight = 0;      // steps in flight that name it
  std::int32_t num_scored = 0;         // prompt positions whose log-probabilities are delivered
  std::int32_t num_cached_tokens = 0;  // found at the first start
  bool started = false;                // ever
  bool preempted = false;              // out as soon as its last step in flight has retired
  bool ended = false;                  // its last output is delivered, or it was cancelled
  TimePoint start_time;
  TimePoint first_token_time;

  std::int32_t num_prompt() const { return static_cast<std::int32_t>(request.prompt.size()); }
  std::int32_t num_known() const { return static_cast<std::int32_t>(tokens.size()); }
  std::int32_t num_output() const { return num_known() - num_prompt() + num_pending; }
  std::int32_t length() const { return num_known() + num_pending; }
  std::int32_t num_to_plan() const { return length() - num_planned; }
  // A replay's first prompt was scored by the engine before it.
  bool wants_scores() const {
    return request.sampling.num_prompt_logprobs >= 0 && request.delivered.empty();
  }
  // How many rows of the chunk score a prompt token; none where all of them are delivered already.
  std::int32_t NumScored(std::int32_t first, std::int32_t count) const;
  // How much of the prefix cache it may read: log-probabilities need the rows themselves.
  std::int32_t MaxCachedTokens() const;
  // May not be planned before its pending token is known: the host masks bad words.
  bool NeedsKnownTokens() const { return !request.sampling.bad_words.empty(); }
};

struct StopRules {
  const std::vector<TokenId>& eos_token_ids;
  std::int32_t max_model_len;
};

// Whether the sequence ends behind its last known token, and which stop token did it (−1: none).
std::pair<FinishReason, TokenId> CheckStop(const Sequence& sequence, const StopRules& rules);
// Tokens that may still be sampled for it at most, those pending not counted.
std::int32_t MaxRemaining(const Sequence& sequence, std::int32_t max_model_len);

}  // namespace quire
