// BpeVocab: the tokens of a BPE model and their ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace quire {

// Owns the tokens' text in one block, found by text or by id. An open hash table: a vocabulary has
// hundreds of thousands of entries, and loading one looks up a million.
class BpeVocab {
 public:
  static constexpr TokenId kNone = -1;
  enum class Added : unsigned char { kYes, kIdTaken };

  // `expected` is a hint.
  explicit BpeVocab(std::size_t expected);

  // Gives the token this id; of a token that is added twice the later id counts, as in a JSON
  // object. The id is in [0, kMaxTokenId].
  Added Add(std::string_view token, TokenId id);

  TokenId Find(std::string_view token) const;  // kNone where it is not in the vocabulary
  std::optional<std::string_view> TokenOf(TokenId id) const;
  TokenId size() const { return static_cast<TokenId>(entry_of_id_.size()); }  // greatest id + 1

 private:
  struct Entry {
    std::size_t offset = 0;
    std::size_t length = 0;
    TokenId id = kNone;
  };
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t entry_plus_1 = 0;  // 0: free
  };

  std::string_view TextOf(const Entry& entry) const {
    return std::string_view(text_).substr(entry.offset, entry.length);
  }
  std::size_t SlotOf(std::string_view token) const;  // where it is, or where it would go
  void Grow();

  std::string text_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;                 // a power of two, at most half full
  std::vector<std::uint32_t> entry_of_id_;  // entry + 1, 0: no token has this id
};

}  // namespace quire
