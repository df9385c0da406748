#include "cache/block_pool.h"

#include <cstddef>

#include "base/check.h"

namespace quire {

BlockPool::BlockPool(std::int64_t num_blocks)
    : blocks_(static_cast<std::size_t>(num_blocks < 0 ? 0 : num_blocks)) {
  free_.reserve(blocks_.size());
  // The lowest ids lie on top, so that a small load touches few pages of the device's memory.
  for (std::size_t i = blocks_.size(); i > 0; --i)
    free_.push_back(BlockId{static_cast<std::int32_t>(i - 1)});
}

BlockPool::Block& BlockPool::At(BlockId block) {
  return blocks_[static_cast<std::size_t>(block.value)];
}

const BlockPool::Block& BlockPool::At(BlockId block) const {
  return blocks_[static_cast<std::size_t>(block.value)];
}

std::optional<BlockId> BlockPool::Take() {
  if (free_.empty()) return std::nullopt;
  const BlockId block = free_.back();
  free_.pop_back();
  At(block).references = 1;
  ++num_references_;
  return block;
}

void BlockPool::Hold(BlockId block) {
  Block& state = At(block);
  QUIRE_CHECK(state.references > 0 || state.cached);
  if (state.references == 0) Unlink(block);
  ++state.references;
  ++num_references_;
}

void BlockPool::Drop(BlockId block) {
  Block& state = At(block);
  QUIRE_CHECK(state.references > 0);
  --state.references;
  --num_references_;
  if (state.references > 0) return;
  if (state.cached) {
    PushNewest(block);
  } else {
    free_.push_back(block);
  }
}

void BlockPool::SetCached(BlockId block, bool cached) {
  Block& state = At(block);
  if (state.cached == cached) return;
  QUIRE_CHECK(state.references > 0 || !cached);
  state.cached = cached;
  if (state.references > 0) return;
  Unlink(block);
  free_.push_back(block);
}

std::optional<BlockId> BlockPool::LeastRecent() const {
  if (oldest_ < 0) return std::nullopt;
  return BlockId{oldest_};
}

void BlockPool::PushNewest(BlockId block) {
  Block& state = At(block);
  state.older = newest_;
  state.newer = -1;
  if (newest_ >= 0) At(BlockId{newest_}).newer = block.value;
  newest_ = block.value;
  if (oldest_ < 0) oldest_ = block.value;
  ++num_evictable_;
}

void BlockPool::Unlink(BlockId block) {
  Block& state = At(block);
  (state.older >= 0 ? At(BlockId{state.older}).newer : oldest_) = state.newer;
  (state.newer >= 0 ? At(BlockId{state.newer}).older : newest_) = state.older;
  state.older = -1;
  state.newer = -1;
  --num_evictable_;
}

void BlockPool::CheckInvariants() const {
  enum : char { kHeld, kFree, kEvictable };
  std::vector<char> kind(blocks_.size(), kHeld);
  for (const BlockId block : free_) {
    QUIRE_CHECK(kind[static_cast<std::size_t>(block.value)] == kHeld);
    kind[static_cast<std::size_t>(block.value)] = kFree;
  }
  std::int64_t evictable = 0;
  std::int32_t older = -1;
  for (std::int32_t id = oldest_; id >= 0; id = At(BlockId{id}).newer) {
    QUIRE_CHECK(kind[static_cast<std::size_t>(id)] == kHeld);
    QUIRE_CHECK(At(BlockId{id}).older == older);
    kind[static_cast<std::size_t>(id)] = kEvictable;
    older = id;
    ++evictable;
  }
  QUIRE_CHECK(newest_ == older);
  QUIRE_CHECK(evictable == num_evictable_);
  std::int64_t references = 0;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& state = blocks_[i];
    QUIRE_CHECK((state.references > 0) == (kind[i] == kHeld));
    if (kind[i] != kHeld) QUIRE_CHECK(state.cached == (kind[i] == kEvictable));
    references += state.references;
  }
  QUIRE_CHECK(references == num_references_);
}

}  // namespace quire
