// The datasets that need no file: random, prefix_repetition, multi_turn.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "bench/dataset_makers.h"
#include "bench/dataset_rng.h"
#include "bench/synthetic_prompts.h"

namespace quire {
namespace {

// Bounds of a uniform length, as vLLM rounds them.
struct LengthRange {
  int low, high;

  LengthRange(int length, double ratio, int least)
      : low(std::max(static_cast<int>(std::floor(length * (1 - ratio))), least)),
        high(std::max(static_cast<int>(std::ceil(length * (1 + ratio))), least)) {}
  int Draw(DatasetRng& rng) const { return rng.Between(low, high); }
};

std::vector<TokenId> Joined(std::vector<TokenId> head, const std::vector<TokenId>& tail) {
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}

}  // namespace

Result<BenchWorkload> MakeRandomWorkload(const DatasetOptions& options, PromptCodec& codec) {
  DatasetOptions one_turn = options;
  one_turn.turns = 1;
  one_turn.think_s = 0;
  return MakeSyntheticTurns(one_turn, codec);
}

// The shared prefix stands before each conversation's first turn only.
Result<BenchWorkload> MakeSyntheticTurns(const DatasetOptions& options, PromptCodec& codec) {
  auto prompts = SyntheticPrompts::Make(codec, options.token_ids);
  if (!prompts) return prompts.error();
  DatasetRng rng(options.seed);
  const auto prefix = prompts->Draw(rng, options.random_prefix_len);
  const LengthRange first(options.random_input_len, options.random_range_ratio,
                          prefix.empty() ? 1 : 0);
  const LengthRange later(options.random_input_len, options.random_range_ratio, 1);
  const LengthRange output(options.random_output_len, options.random_range_ratio, 1);
  BenchWorkload workload;
  for (int i = 0; i < options.num_prompts; ++i) {
    BenchConversation conversation;
    conversation.think_s = options.think_s;
    for (int t = 0; t < options.turns; ++t) {
      const int input_len = (t == 0 ? first : later).Draw(rng);
      const int output_len = output.Draw(rng);
      auto ids = prompts->Draw(rng, input_len);
      if (t == 0) ids = Joined(prefix, ids);
      auto turn = prompts->Turn(std::move(ids), output_len, rng);
      if (!turn) return turn.error();
      conversation.turns.push_back(std::move(*turn));
    }
    workload.conversations.push_back(std::move(conversation));
  }
  return workload;
}

// vLLM makes num_prompts / num_prefixes prompts of each prefix, drops the rest and refuses fewer
// prompts than prefixes; here the first prefixes have one more, so that there are as many as were
// asked for.
Result<BenchWorkload> MakePrefixRepetition(const DatasetOptions& options, PromptCodec& codec) {
  auto prompts = SyntheticPrompts::Make(codec, options.token_ids);
  if (!prompts) return prompts.error();
  DatasetRng rng(options.seed);
  BenchWorkload workload;
  for (int p = 0; p < options.num_prefixes; ++p) {
    const auto prefix = prompts->Draw(rng, options.prefix_len);
    for (int i = p; i < options.num_prompts; i += options.num_prefixes) {
      auto turn = prompts->Turn(Joined(prefix, prompts->Draw(rng, options.suffix_len)),
                                options.prefix_output_len, rng);
      if (!turn) return turn.error();
      BenchConversation& conversation = workload.conversations.emplace_back();
      conversation.turns.push_back(std::move(*turn));
    }
  }
  rng.Shuffle(workload.conversations);
  return workload;
}

}  // namespace quire
