// MakeWorkload: the datasets of `quire bench`, under vLLM's names.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "bench/prompt_codec.h"
#include "bench/workload.h"

namespace quire {

struct DatasetOptions {
  // random, prefix_repetition, sharegpt, custom, sonnet, azure, mooncake, multi_turn
  std::string name = "random";
  std::string path;  // of the file, for those that are one
  // Conversations for multi_turn, requests else. Files with fewer entries repeat some, as vLLM does
  // it; traces do not. 0: all of the file.
  int num_prompts = 1000;
  std::uint64_t seed = 0;
  bool token_ids = false;  // prompts travel as ids rather than as text

  int random_input_len = 1024;
  int random_output_len = 128;
  int random_prefix_len = 0;      // shared by all prompts, on top of the input length
  double random_range_ratio = 0;  // lengths are uniform in [len (1 - r), len (1 + r)]

  int prefix_len = 256, suffix_len = 256, num_prefixes = 10, prefix_output_len = 128;
  int sonnet_input_len = 550, sonnet_output_len = 150, sonnet_prefix_len = 200;

  // sharegpt, custom, multi_turn from a file: instead of the dataset's own; 0: its own, or 256
  // where an entry has none.
  int output_len = 0;
  double trace_speed = 1;  // traces: twice as fast at 2
  int max_input_len = 0;   // traces: longer ones are left out; 0: none is
  int turns = 4;           // multi_turn without a file: of each conversation
  double think_s = 0;      // multi_turn
};

// `codec` may be null for custom and for multi_turn from a file with an output_len; then input
// lengths are unknown. Synthetic prompts have exactly the tokens that were asked for when the
// server tokenizes them, not counting a BOS that it adds itself (usage.prompt_tokens does count
// that). They are words of which each is one token whatever is beside it, found by trial; a
// tokenizer without such words has its text decoded and encoded again until the length holds, as
// vLLM does it, and where it cannot the error says so. The same options give the same workload
// everywhere, as text or as ids. A malformed file is a kConfig error with its line.
Result<BenchWorkload> MakeWorkload(const DatasetOptions& options, PromptCodec* codec);

}  // namespace quire
