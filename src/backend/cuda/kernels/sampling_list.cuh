// The list of a row: the tokens that its cut goes through, or the best. Blocks put in what they
// meet, the last of them sorts it.
#pragma once

#include "backend/cuda/kernels/sampling_read.cuh"

namespace quire::cuda::sampling {

using Key = unsigned long long;

// Keys that a block has met. Those that find no room here go to the row's list at once, which
// counts more than it holds.
struct List {
  static constexpr std::uint32_t kRoom = 512;
  Key keys[kRoom];
  std::uint32_t count;

  __device__ static void Append(Key key, Key* row_list, std::uint32_t at) {
    if (at < kListSize) row_list[at] = key;
  }
  __device__ void Add(Key key, Key* row_list, std::uint32_t* listed) {
    const std::uint32_t at = atomicAdd(&count, 1U);
    if (at < kRoom) {
      keys[at] = key;
    } else {
      Append(key, row_list, atomicAdd(listed, 1U));
    }
  }
};
constexpr std::size_t kListBytes = (sizeof(List) + 15) / 16 * 16;
static_assert(kListSize * sizeof(Key) <= TileReader::kRingBytes);  // it is sorted there

// Appends the block's list to the row's.
inline __device__ void Publish(const List& list, Key* row_list, std::uint32_t* listed) {
  __shared__ std::uint32_t start;
  __syncthreads();
  const std::uint32_t count = min(list.count, List::kRoom);
  if (threadIdx.x == 0 && count > 0) start = atomicAdd(listed, count);
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < count; i += kThreads) {
    List::Append(list.keys[i], row_list, start + i);
  }
}

// Loads the row's list and sorts it: the best first.
inline __device__ void SortList(const Key* row_list, int count, Key* keys) {
  int size = 32;
  while (size < count) size *= 2;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) {
    keys[i] = i < count ? __ldcg(row_list + i) : ~Key{0};
  }
  for (int run = 2; run <= size; run *= 2) {
    for (int step = run / 2; step > 0; step /= 2) {
      __syncthreads();
      for (int t = static_cast<int>(threadIdx.x); t < size / 2; t += kThreads) {
        const int a = 2 * t - (t & (step - 1));
        const int b = a + step;
        const bool descending = (a & run) != 0;
        const Key low = keys[a], high = keys[b];
        if ((low > high) != descending) {
          keys[a] = high;
          keys[b] = low;
        }
      }
    }
  }
  __syncthreads();
}

}  // namespace quire::cuda::sampling
