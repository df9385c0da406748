#include "cache/kv_cache_manager.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/check.h"

namespace quire {

BlockTable::BlockTable(BlockTable&& other) noexcept
    : manager_(std::exchange(other.manager_, nullptr)),
      salt_(std::move(other.salt_)),
      epoch_(other.epoch_),
      num_published_(std::exchange(other.num_published_, 0)),
      blocks_(std::exchange(other.blocks_, {})) {}

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this == &other) return *this;
  if (manager_ != nullptr) manager_->Release(*this);
  manager_ = std::exchange(other.manager_, nullptr);
  salt_ = std::move(other.salt_);
  epoch_ = other.epoch_;
  num_published_ = std::exchange(other.num_published_, 0);
  blocks_ = std::exchange(other.blocks_, {});
  return *this;
}

BlockTable::~BlockTable() {
  if (manager_ != nullptr) manager_->Release(*this);
}

KvCacheManager::KvCacheManager(const KvCacheConfig& config)
    : config_(config),
      pool_(config.num_blocks),
      prefixes_(config.enable_prefix_caching ? config.num_blocks : 0, config.block_size,
                config.hash_seed, config.hash_bits) {}

std::int32_t KvCacheManager::BlocksFor(std::int64_t num_tokens) const {
  return static_cast<std::int32_t>((num_tokens + config_.block_size - 1) / config_.block_size);
}

std::span<const TokenId> KvCacheManager::BlockTokens(std::span<const TokenId> tokens,
                                                     std::int32_t index) const {
  const auto size = static_cast<std::size_t>(config_.block_size);
  return tokens.subspan(static_cast<std::size_t>(index) * size, size);
}

BlockTable KvCacheManager::Match(std::span<const TokenId> tokens, std::string_view salt,
                                 std::int32_t max_tokens) {
  BlockTable table(this, salt, epoch_);
  if (!config_.enable_prefix_caching || tokens.empty()) return table;
  const auto last = static_cast<std::int32_t>(tokens.size()) - 1;
  const std::int32_t limit = std::min(max_tokens, last) / config_.block_size;
  BlockId parent = kNoBlock;
  for (std::int32_t i = 0; i < limit; ++i) {
    const auto block = prefixes_.Find(parent, BlockTokens(tokens, i), salt);
    if (!block) break;
    pool_.Hold(*block);
    table.blocks_.push_back(*block);
    parent = *block;
  }
  table.num_published_ = table.num_blocks();
  return table;
}

bool KvCacheManager::Reserve(BlockTable& table, std::int32_t num_tokens) {
  const std::int32_t missing = BlocksFor(num_tokens) - table.num_blocks();
  if (missing <= 0) return true;
  if (table.manager_ != this || missing > num_free_blocks()) return false;
  for (std::int32_t i = 0; i < missing; ++i) {
    if (pool_.num_free() == 0) {
      const BlockId evicted = pool_.LeastRecent().value();
      prefixes_.Erase(evicted);
      pool_.SetCached(evicted, false);
    }
    table.blocks_.push_back(pool_.Take().value());
  }
  return true;
}

void KvCacheManager::Publish(BlockTable& table, std::span<const TokenId> tokens,
                             std::vector<BlockId>& replaced) {
  if (!config_.enable_prefix_caching || table.epoch_ != epoch_) return;
  const auto num_full = static_cast<std::int32_t>(tokens.size()) / config_.block_size;
  QUIRE_CHECK(num_full <= table.num_blocks());
  for (std::int32_t& i = table.num_published_; i < num_full; ++i) {
    BlockId& block = table.blocks_[static_cast<std::size_t>(i)];
    const BlockId parent = i == 0 ? kNoBlock : table.blocks_[static_cast<std::size_t>(i) - 1];
    const auto same = prefixes_.Find(parent, BlockTokens(tokens, i), table.salt_);
    if (same) {
      pool_.Hold(*same);
      replaced.push_back(std::exchange(block, *same));
    } else {
      prefixes_.Insert(block, parent, BlockTokens(tokens, i), table.salt_);
      pool_.SetCached(block, true);
    }
  }
}

void KvCacheManager::Release(BlockTable& table) {
  for (; !table.blocks_.empty(); table.blocks_.pop_back()) pool_.Drop(table.blocks_.back());
  table.num_published_ = 0;
}

void KvCacheManager::ResetPrefixCache() {
  ++epoch_;
  prefixes_.Clear();
  // Held blocks lose the mark too: what they hold is of the time before.
  for (std::int32_t i = 0; i < num_blocks(); ++i) pool_.SetCached(BlockId{i}, false);
}

std::int32_t KvCacheManager::NumPrivateBlocks(const BlockTable& table) const {
  // Who holds a published block holds all before it: reference counts fall along the table.
  const auto first = std::ranges::partition_point(
      table.blocks_, [this](BlockId block) { return pool_.References(block) > 1; });
  return static_cast<std::int32_t>(table.blocks_.end() - first);
}

void KvCacheManager::CountQuery(std::int64_t num_tokens, std::int64_t num_hits) {
  num_queries_ += static_cast<std::uint64_t>(num_tokens);
  num_hits_ += static_cast<std::uint64_t>(num_hits);
}

void KvCacheManager::CheckInvariants() const {
  pool_.CheckInvariants();
  std::int64_t cached = 0;
  for (std::int32_t i = 0; i < num_blocks(); ++i) {
    const BlockId block{i};
    if (!config_.enable_prefix_caching) {
      QUIRE_CHECK(!pool_.IsCached(block));
      continue;
    }
    QUIRE_CHECK(pool_.IsCached(block) == prefixes_.Contains(block));
    cached += pool_.IsCached(block) ? 1 : 0;
  }
  QUIRE_CHECK(cached == prefixes_.size());
  prefixes_.CheckInvariants();
}

void KvCacheManager::CheckTable(const BlockTable& table) const {
  QUIRE_CHECK(table.blocks_.empty() || table.manager_ == this);
  for (std::int32_t i = 0; i < table.num_blocks(); ++i) {
    const BlockId block = table.blocks_[static_cast<std::size_t>(i)];
    QUIRE_CHECK(pool_.References(block) > 0);
    if (!config_.enable_prefix_caching || table.epoch_ != epoch_) continue;
    QUIRE_CHECK(pool_.IsCached(block) == (i < table.num_published_));
  }
}

}  // namespace quire
