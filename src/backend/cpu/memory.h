// Host memory for tensors, and scratch that grows to what the largest step needs.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "tensor/tensor.h"

namespace quire::cpu {

// Zeroed pages of their own, huge ones where that pays.
Result<Buffer> AllocateHost(std::size_t bytes);

// Owns memory that is never given back before its end: once warm, a step allocates nothing.
class Scratch {
 public:
  // At least `bytes`, aligned to a page; what was there before may be gone. Throws std::bad_alloc.
  void* Get(std::size_t bytes);
  template <class T>
  T* Get(std::int64_t count) {
    return static_cast<T*>(Get(static_cast<std::size_t>(count) * sizeof(T)));
  }

  void* data() const { return buffer_.data(); }

 private:
  Buffer buffer_;
};

}  // namespace quire::cpu
