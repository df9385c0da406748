// Which block of the KV cache holds which tokens. Ids only: no tensor, no device, no lock.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "cache/block_pool.h"
#include "cache/prefix_cache.h"

namespace quire {

struct KvCacheConfig {
  std::int64_t num_blocks = 0;
  std::int32_t block_size = 16;
  bool enable_prefix_caching = true;
  std::uint64_t hash_seed = 0;  // per process, random: nobody can steer collisions
  int hash_bits = 64;  // tests take few, to see that equal hashes are not taken for equal prefixes
};

class KvCacheManager;

// One sequence's blocks, held until the table is released or destroyed. Made by the manager,
// changed only by it; position p lies in block p / block_size.
class BlockTable {
 public:
  BlockTable() = default;  // of no manager, for good empty
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;
  ~BlockTable();

  std::span<const BlockId> blocks() const { return blocks_; }
  std::int32_t num_blocks() const { return static_cast<std::int32_t>(blocks_.size()); }

 private:
  friend class KvCacheManager;
  BlockTable(KvCacheManager* manager, std::string_view salt, std::uint64_t epoch)
      : manager_(manager), salt_(salt), epoch_(epoch) {}

  KvCacheManager* manager_ = nullptr;
  std::string salt_;
  std::uint64_t epoch_ = 0;  // of the prefix cache when the table began
  std::int32_t num_published_ = 0;
  std::vector<BlockId> blocks_;
};

// BlockPool and PrefixCache behind the verbs of a sequence's life: Match, Reserve, Publish,
// Release. A block is free, held (reference count > 0) or cached (count 0, content kept, evicted
// least recently used first): exactly one of them. A table whose first blocks are published holds
// the whole chain, and lets go of its end first: so children are evicted before their parents, and
// a cached block's prefix is always there.
class KvCacheManager {
 public:
  explicit KvCacheManager(const KvCacheConfig& config);
  KvCacheManager(const KvCacheManager&) = delete;
  KvCacheManager& operator=(const KvCacheManager&) = delete;

  // A new table that holds the longest cached prefix of `tokens` in full blocks: at most
  // max_tokens, and never the last token, which is kept to be computed.
  BlockTable Match(std::span<const TokenId> tokens, std::string_view salt, std::int32_t max_tokens);
  // Grows the table until num_tokens positions fit; evicts where it must. False: nothing changed.
  bool Reserve(BlockTable& table, std::int32_t num_tokens);
  // Makes the full blocks of the first tokens findable; all of `tokens` are computed. Where a block
  // of the same prefix is there already, the table is remapped to it; the duplicates are appended
  // to `replaced`, still held: steps in flight may read them. Drop() them when those have retired.
  void Publish(BlockTable& table, std::span<const TokenId> tokens, std::vector<BlockId>& replaced);
  void Release(BlockTable& table);
  void Drop(BlockId block) { pool_.Drop(block); }

  // Forgets every prefix. Tables made before keep their blocks, but publish no more.
  void ResetPrefixCache();

  std::int32_t BlocksFor(std::int64_t num_tokens) const;
  // Blocks that only this table holds: they would be free or evictable without it.
  std::int32_t NumPrivateBlocks(const BlockTable& table) const;

  std::int32_t block_size() const { return config_.block_size; }
  bool caches_prefixes() const { return config_.enable_prefix_caching; }
  std::int64_t num_blocks() const { return pool_.num_blocks(); }
  std::int64_t num_free_blocks() const { return pool_.num_free() + pool_.num_evictable(); }
  std::int64_t num_used_blocks() const { return num_blocks() - num_free_blocks(); }
  std::int64_t num_cached_blocks() const { return prefixes_.size(); }
  std::int64_t num_references() const { return pool_.num_references(); }

  // A match is counted by the one who uses it: an admission may look several times before it
  // succeeds.
  void CountQuery(std::int64_t num_tokens, std::int64_t num_hits);
  std::uint64_t num_queries() const { return num_queries_; }  // tokens
  std::uint64_t num_hits() const { return num_hits_; }        // tokens

  void CheckInvariants() const;                    // O(blocks), for tests
  void CheckTable(const BlockTable& table) const;  // likewise
  std::int32_t References(BlockId block) const { return pool_.References(block); }

 private:
  std::span<const TokenId> BlockTokens(std::span<const TokenId> tokens, std::int32_t index) const;

  const KvCacheConfig config_;
  BlockPool pool_;
  PrefixCache prefixes_;
  std::uint64_t epoch_ = 0;
  std::uint64_t num_queries_ = 0;
  std::uint64_t num_hits_ = 0;
};

}  // namespace quire
