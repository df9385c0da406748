#include "cache/prefix_cache.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstddef>

#include "base/check.h"

namespace quire {

PrefixCache::PrefixCache(std::int64_t num_blocks, std::int32_t block_size, std::uint64_t seed,
                         int hash_bits)
    : block_size_(block_size),
      seed_(seed),
      hash_mask_(hash_bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << hash_bits) - 1) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(num_blocks, 0));
  entries_.resize(count);
  tokens_.resize(count * static_cast<std::size_t>(block_size));
  buckets_.assign(std::bit_ceil(count + 1), -1);
}

std::span<const TokenId> PrefixCache::Tokens(BlockId block) const {
  const auto size = static_cast<std::size_t>(block_size_);
  return std::span(tokens_).subspan(static_cast<std::size_t>(block.value) * size, size);
}

std::uint64_t PrefixCache::Hash(BlockId parent, std::span<const TokenId> tokens,
                                std::string_view salt) const {
  const std::uint64_t before =
      parent == kNoBlock ? XXH3_64bits_withSeed(salt.data(), salt.size(), seed_) : At(parent).hash;
  // The secret seed is mixed in again, lest the hash of a short chain shows in that of a longer
  // one.
  const std::uint64_t seed = before ^ std::rotl(seed_, 32);
  return XXH3_64bits_withSeed(tokens.data(), tokens.size_bytes(), seed) & hash_mask_;
}

std::optional<BlockId> PrefixCache::Find(BlockId parent, std::span<const TokenId> tokens,
                                         std::string_view salt) const {
  const std::uint64_t hash = Hash(parent, tokens, salt);
  for (std::int32_t id = buckets_[hash & (buckets_.size() - 1)]; id >= 0;) {
    const BlockId block{id};
    const Entry& entry = At(block);
    if (entry.hash == hash && entry.parent == parent && std::ranges::equal(Tokens(block), tokens) &&
        (parent != kNoBlock || entry.salt == salt))
      return block;
    id = entry.next;
  }
  return std::nullopt;
}

void PrefixCache::Insert(BlockId block, BlockId parent, std::span<const TokenId> tokens,
                         std::string_view salt) {
  Entry& entry = At(block);
  QUIRE_CHECK(!entry.present);
  QUIRE_CHECK(tokens.size() == static_cast<std::size_t>(block_size_));
  entry.present = true;
  entry.parent = parent;
  entry.num_children = 0;
  entry.hash = Hash(parent, tokens, salt);
  if (parent == kNoBlock) {
    entry.salt = salt;
  } else {
    QUIRE_CHECK(At(parent).present);
    ++At(parent).num_children;
  }
  std::ranges::copy(tokens,
                    tokens_.begin() + static_cast<std::ptrdiff_t>(block.value) * block_size_);
  std::int32_t& head = Bucket(entry.hash);
  entry.next = head;
  head = block.value;
  ++size_;
}

void PrefixCache::Erase(BlockId block) {
  Entry& entry = At(block);
  QUIRE_CHECK(entry.present);
  QUIRE_CHECK(entry.num_children == 0);
  if (entry.parent != kNoBlock) --At(entry.parent).num_children;
  std::int32_t* link = &Bucket(entry.hash);
  while (*link != block.value) link = &At(BlockId{*link}).next;
  *link = entry.next;
  entry.present = false;
  entry.parent = kNoBlock;
  entry.next = -1;
  entry.salt.clear();
  --size_;
}

void PrefixCache::Clear() {
  std::ranges::fill(entries_, Entry());
  std::ranges::fill(buckets_, -1);
  size_ = 0;
}

void PrefixCache::CheckInvariants() const {
  std::vector<std::int32_t> children(entries_.size(), 0);
  std::int64_t present = 0;
  for (const Entry& entry : entries_) {
    if (!entry.present) continue;
    ++present;
    if (entry.parent == kNoBlock) continue;
    QUIRE_CHECK(At(entry.parent).present);
    ++children[static_cast<std::size_t>(entry.parent.value)];
  }
  QUIRE_CHECK(present == size_);
  for (std::size_t i = 0; i < entries_.size(); ++i)
    if (entries_[i].present) QUIRE_CHECK(entries_[i].num_children == children[i]);
  std::int64_t linked = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    for (std::int32_t id = buckets_[i]; id >= 0; id = At(BlockId{id}).next) {
      QUIRE_CHECK(At(BlockId{id}).present);
      QUIRE_CHECK((At(BlockId{id}).hash & (buckets_.size() - 1)) == i);
      ++linked;
    }
  }
  QUIRE_CHECK(linked == size_);
}

}  // namespace quire
