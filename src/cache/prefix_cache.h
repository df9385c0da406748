// PrefixCache: which block holds which tokens behind which prefix.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace quire {

inline constexpr BlockId kNoBlock{-1};

// Owns a tree of full blocks: a block's key is its parent block, its tokens and, for a first block,
// the salt. The chained hash only finds candidates; parent, tokens and salt are compared on every
// hit. Holds no block alive: whoever frees a block erases it here before, and children before their
// parent.
class PrefixCache {
 public:
  // The seed is secret, so that nobody can steer blocks into one bucket. Fewer hash bits force
  // collisions.
  PrefixCache(std::int64_t num_blocks, std::int32_t block_size, std::uint64_t seed, int hash_bits);

  // The block that holds `tokens` (one block of them) behind `parent`; kNoBlock: at the beginning.
  std::optional<BlockId> Find(BlockId parent, std::span<const TokenId> tokens,
                              std::string_view salt) const;
  // The key must not be there yet.
  void Insert(BlockId block, BlockId parent, std::span<const TokenId> tokens,
              std::string_view salt);
  void Erase(BlockId block);
  void Clear();

  bool Contains(BlockId block) const { return At(block).present; }
  std::int64_t size() const { return size_; }

  void CheckInvariants() const;  // O(blocks), for tests

 private:
  struct Entry {
    bool present = false;
    BlockId parent = kNoBlock;
    std::int32_t num_children = 0;
    std::int32_t next = -1;  // in its bucket
    std::uint64_t hash = 0;
    std::string salt;  // of a first block
  };

  Entry& At(BlockId block) { return entries_[static_cast<std::size_t>(block.value)]; }
  const Entry& At(BlockId block) const { return entries_[static_cast<std::size_t>(block.value)]; }
  std::uint64_t Hash(BlockId parent, std::span<const TokenId> tokens, std::string_view salt) const;
  std::span<const TokenId> Tokens(BlockId block) const;
  std::int32_t& Bucket(std::uint64_t hash) { return buckets_[hash & (buckets_.size() - 1)]; }

  const std::int32_t block_size_;
  const std::uint64_t seed_;
  const std::uint64_t hash_mask_;
  std::vector<Entry> entries_;         // by block
  std::vector<TokenId> tokens_;        // [num_blocks, block_size]
  std::vector<std::int32_t> buckets_;  // a power of two of them: the first block of each
  std::int64_t size_ = 0;
};

}  // namespace quire
