#include "sched/sequence.h"

#include <algorithm>
#include <limits>

namespace quire {

Sequence::Sequence(Request request_in, std::uint64_t arrival_in, TimePoint now)
    : request(std::move(request_in)),
      arrival(arrival_in),
      arrival_time(now),
      tokens(request.prompt) {
  tokens.insert(tokens.end(), request.delivered.begin(), request.delivered.end());
}

std::int32_t Sequence::NumScored(std::int32_t first, std::int32_t count) const {
  if (!wants_scores()) return 0;
  const std::int32_t rows = std::min(first + count, num_prompt() - 1) - first;
  return first + rows > num_scored ? std::max(rows, 0) : 0;
}

std::int32_t Sequence::MaxCachedTokens() const {
  if (!wants_scores() || num_scored >= num_prompt() - 1)
    return std::numeric_limits<std::int32_t>::max();
  return num_scored;
}

std::pair<FinishReason, TokenId> CheckStop(const Sequence& sequence, const StopRules& rules) {
  const SamplingParams& sampling = sequence.request.sampling;
  const std::int32_t num_output = sequence.num_known() - sequence.num_prompt();
  if (num_output > std::max(sampling.min_tokens, 0)) {
    const TokenId last = sequence.tokens.back();
    if (!sampling.ignore_eos && std::ranges::count(rules.eos_token_ids, last) > 0)
      return {FinishReason::kStop, -1};
    if (std::ranges::count(sampling.stop_token_ids, last) > 0) return {FinishReason::kStop, last};
  }
  if (num_output >= sampling.max_tokens || sequence.num_known() >= rules.max_model_len)
    return {FinishReason::kLength, -1};
  return {FinishReason::kNone, -1};
}

std::int32_t MaxRemaining(const Sequence& sequence, std::int32_t max_model_len) {
  return std::max(0, std::min(sequence.request.sampling.max_tokens - sequence.num_output(),
                              max_model_len - sequence.length()));
}

}  // namespace quire
