// Which block of the KV cache holds which tokens. Ids only: no tensor, no device, no lock.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"

namespace quire {

struct KvCacheConfig {
  std::int64_t num_blocks = 0;
  std::int32_t block_size = 16;
  bool enable_prefix_caching = true;
  std::uint64_t hash_seed = 0;  // per process, random: nobody can steer collisions
};

// One sequence's blocks. Made by the manager, changed only by it; position p lies in block p / block_size.
class BlockTable;

// BlockPool and PrefixCache behind the five verbs of a sequence's life. A block is free, held (reference
// count > 0) or cached (count 0, content kept, evicted least recently used first): exactly one of them.
class KvCacheManager;

}  // namespace quire
