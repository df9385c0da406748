// BpeModel: byte pair encoding of one piece of text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "text/bpe_vocab.h"
#include "text/tokenizer_added.h"
#include "text/tokenizer_json.h"

namespace quire {

// Owns the merges as a hash table from a pair of tokens to its rank and what it merges into.
class BpeMerges {
 public:
  struct Merge {
    std::uint32_t rank = 0;
    TokenId result = BpeVocab::kNone;
  };

  explicit BpeMerges(std::size_t expected);
  // Of a pair that is set twice the later one counts. At most `expected` pairs.
  void Set(TokenId left, TokenId right, Merge merge);
  const Merge* Find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    std::uint64_t pair = kFree;
    Merge merge;
  };
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};  // ids are not negative

  std::size_t SlotOf(std::uint64_t pair) const;

  std::vector<Slot> slots_;  // a power of two, at most half full
  int shift_;
};

// Owns the vocabulary and the merges of tokenizer.json's model. Immutable.
class BpeModel {
 public:
  // A thread's working memory, kept from piece to piece.
  class Scratch {
    friend class BpeModel;
    struct Symbol {
      TokenId id;          // kNone once it has been merged into the one before it
      std::uint32_t prev;  // symbol index, kEnd at the ends
      std::uint32_t next;
    };
    struct Candidate {
      std::uint32_t rank;
      std::uint32_t symbol;  // the left one of the pair
      TokenId result;
    };
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
  };

  // Of the field model; the unknown token may be one of the added ones.
  static Result<BpeModel> Parse(const JsonView& config, const AddedTokens& added);

  // Appends the ids of a piece of valid UTF-8. O(n log n).
  void Tokenize(std::string_view piece, Scratch& scratch, std::vector<TokenId>& ids) const;

  const BpeVocab& vocab() const { return vocab_; }

 private:
  BpeModel(BpeVocab vocab, BpeMerges merges);
  Status ParseFlags(const JsonView& config);
  Status ParseUnknown(const JsonView& config, const AddedTokens& added);

  void Begin(std::string_view piece, Scratch& scratch) const;
  void AppendCharacter(std::string_view character, char32_t code, bool& pending_unknown,
                       Scratch& scratch) const;
  void MergeAll(Scratch& scratch) const;
  void PushCandidate(Scratch& scratch, std::uint32_t left, std::uint32_t right) const;

  BpeVocab vocab_;
  BpeMerges merges_;
  std::array<TokenId, 0x800> short_characters_;  // ids of those with one or two bytes
  std::array<TokenId, 256> byte_ids_;            // of "<0x00>" and so on
  TokenId unknown_id_ = BpeVocab::kNone;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

}  // namespace quire
