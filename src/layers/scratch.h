// A step's scratch memory within a layer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/tensor.h"

namespace quire {

// Gives back on leaving what was taken from the arena since: kernels are queued in order, so the
// next user of the memory runs after them.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.used()) {}
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;
  ~ArenaScope() { arena_.Release(mark_); }

 private:
  Arena& arena_;
  std::size_t mark_;
};

// Bound of what taking so many elements uses, rounding to the arena's alignment included.
constexpr std::size_t TakenBytes(DType dtype, std::int64_t num_elements) {
  return static_cast<std::size_t>(num_elements) * SizeOf(dtype) + 256;
}

}  // namespace quire
