// SyntheticPrompts: random prompts whose number of tokens is exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "bench/dataset_rng.h"
#include "bench/prompt_codec.h"
#include "bench/workload.h"

namespace quire {

// Owns the words that prompts are made of, but not the codec. A word is a token such as " tree":
// tokenizers split before the space, so that words joined to a text are encoded as the same ids
// again, and equal ids at the beginning of two prompts are equal text. Words are found by decoding
// a few thousand ids at once and kept if random orders of all of them survive encoding; so a
// prompt costs one request of a remote codec (the check), or none where ids are sent.
class SyntheticPrompts {
 public:
  static Result<SyntheticPrompts> Make(PromptCodec& codec, bool token_ids);

  std::vector<TokenId> Draw(DatasetRng& rng, int count) const;
  // The turn whose prompt is these ids, of which there is at least one. Text is encoded to see that
  // it has their number, up to a bound of bytes in all, behind which the words are trusted; where
  // it has not, it is changed until it has.
  Result<BenchTurn> Turn(std::vector<TokenId> ids, int output_tokens, DatasetRng& rng);

  std::size_t num_words() const { return words_.size(); }  // 0: the tokenizer has none

 private:
  struct Word {
    TokenId id = 0;
    std::string text;  // with its space
  };

  SyntheticPrompts(PromptCodec& codec, bool token_ids) : codec_(&codec), token_ids_(token_ids) {}
  Status FindWords();
  Status ReadChunk(std::span<const TokenId> chunk, const std::vector<TokenId>& separator,
                   const std::string& head, const std::string& between);
  Status FindLead();
  Status KeepStableWords();
  bool DropUnstable(const std::vector<TokenId>& encoded);
  std::string Join(std::span<const TokenId> ids) const;
  std::string JoinWords() const;
  void IndexWords();
  Result<std::string> FitText(std::vector<TokenId> ids, DatasetRng& rng);

  PromptCodec* codec_;
  bool token_ids_;
  bool leading_space_ = true;  // false: the tokenizer puts one before a text itself
  std::vector<Word> words_;
  std::vector<std::int32_t> word_of_id_;  // -1: none
  std::size_t checked_bytes_ = 0;
};

}  // namespace quire
