// Counts every operator new of the program. A file of its own: g++ takes an inlined pair of these
// for a mismatch.
#include "count_allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<std::size_t> num_allocations{0};
}  // namespace

void* operator new(std::size_t bytes) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace quire::testing_models {

std::size_t NumAllocations() { return num_allocations.load(); }

}  // namespace quire::testing_models
