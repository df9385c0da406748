// BlockPool: the free list and reference counts of block ids.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/ids.h"

namespace quire {

// Owns the state of every block: free, held (reference count > 0) or cached (count 0, content
// kept). Knows no contents: whether a block is worth keeping is what SetCached says. Every
// operation is O(1).
class BlockPool {
 public:
  explicit BlockPool(std::int64_t num_blocks);

  // A free block, held once; none where all are held or cached.
  std::optional<BlockId> Take();
  void Hold(BlockId block);  // one reference more; a cached block is held again
  void Drop(BlockId block);  // one reference less; at none the block is cached or free
  // Whether the block keeps its content when nobody holds it. A cached block that loses the mark is
  // free.
  void SetCached(BlockId block, bool cached);
  // The cached block that nobody has held for the longest time: the next to evict.
  std::optional<BlockId> LeastRecent() const;

  std::int32_t References(BlockId block) const { return At(block).references; }
  bool IsCached(BlockId block) const { return At(block).cached; }
  std::int64_t num_blocks() const { return static_cast<std::int64_t>(blocks_.size()); }
  std::int64_t num_free() const { return static_cast<std::int64_t>(free_.size()); }
  std::int64_t num_evictable() const { return num_evictable_; }
  std::int64_t num_references() const { return num_references_; }

  void CheckInvariants() const;  // O(blocks), for tests

 private:
  struct Block {
    std::int32_t references = 0;
    bool cached = false;
    std::int32_t older = -1;  // neighbours in the list of evictable blocks
    std::int32_t newer = -1;
  };

  Block& At(BlockId block);
  const Block& At(BlockId block) const;
  void PushNewest(BlockId block);
  void Unlink(BlockId block);

  std::vector<Block> blocks_;
  std::vector<BlockId> free_;
  std::int32_t oldest_ = -1;
  std::int32_t newest_ = -1;
  std::int64_t num_evictable_ = 0;
  std::int64_t num_references_ = 0;
};

}  // namespace quire
