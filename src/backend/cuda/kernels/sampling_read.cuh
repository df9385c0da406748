// How the kernels of sampling read a row: tiles come through shared memory, the next two on their
// way while one is worked on; then penalties, biases and masks are applied to what a thread holds.
#pragma once

#include "backend/cuda/kernels/sampling_row.cuh"

namespace quire::cuda::sampling {

// The id of the i-th token that a thread holds of a tile.
__device__ __forceinline__ std::int32_t IdOf(int tile, int i) {
  return tile * kTile + i / 4 * (4 * kThreads) + static_cast<int>(threadIdx.x) * 4 + i % 4;
}

// Brings a row's tiles [begin, end) in order. Each thread fetches what it will hold itself, so that
// no thread waits for another.
class TileReader {
 public:
  static constexpr int kStages = 2;
  static constexpr int kRingBytes = kStages * kTile * static_cast<int>(sizeof(float));

  // ring: kRingBytes of shared memory.
  __device__ TileReader(const float* row, std::int64_t vocab, int begin, int end, void* ring)
      : row_(row), vocab_(static_cast<int>(vocab)), begin_(begin), end_(end) {
    ring_ = static_cast<std::uint32_t>(__cvta_generic_to_shared(ring)) + threadIdx.x * 16;
    for (int i = 0; i < kStages; ++i) Fetch(begin + i);
  }

  // values[i] = row[IdOf(tile, i)], −∞ behind its end. Tiles are asked for in order.
  __device__ __forceinline__ void Read(int tile, float* values) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 1) : "memory");
    const std::uint32_t slot = SlotOf(tile);
#pragma unroll
    for (int i = 0; i < kHeld; i += 4) {
      asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                   : "=f"(values[i]), "=f"(values[i + 1]), "=f"(values[i + 2]), "=f"(values[i + 3])
                   : "r"(slot + i / 4 * (16 * kThreads))
                   : "memory");
    }
    Fetch(tile + kStages);
  }

  // Before a thread ends without having read them all.
  __device__ void Drain() { asm volatile("cp.async.wait_all;" ::: "memory"); }

 private:
  __device__ __forceinline__ std::uint32_t SlotOf(int tile) const {
    return ring_ + static_cast<std::uint32_t>((tile - begin_) % kStages) * (kTile * 4);
  }

  __device__ __forceinline__ void Fetch(int tile) {
    if (tile < end_) {
      const std::uint32_t slot = SlotOf(tile);
      const float* from = row_ + IdOf(tile, 0);
      if ((tile + 1) * kTile <= vocab_ && reinterpret_cast<std::uintptr_t>(row_) % 16 == 0) {
#pragma unroll
        for (int i = 0; i < kHeld; i += 4) {
          asm volatile(
              "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(slot + i / 4 * (16 * kThreads)),
              "l"(from + i * kThreads)
              : "memory");
        }
      } else {
        FetchSingly(slot, from, vocab_ - IdOf(tile, 0));
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  __device__ __noinline__ static void FetchSingly(std::uint32_t slot, const float* from, int left) {
    for (int i = 0; i < kHeld; ++i) {
      const int at = i / 4 * (4 * kThreads) + i % 4;
      const std::uint32_t to = slot + i / 4 * (16 * kThreads) + i % 4 * 4;
      if (at < left) {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from + at)
                     : "memory");
      } else {
        asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(-kInfinity) : "memory");
      }
    }
  }

  const float* row_;
  int vocab_, begin_, end_;
  std::uint32_t ring_;  // of this thread
};

__device__ __forceinline__ float GreatestHeld(const float* x) {
  float max = x[0];
#pragma unroll
  for (int i = 1; i < kHeld; ++i) max = MaxOrNan(max, x[i]);
  return max;
}

// Of finite ones.
__device__ __forceinline__ float LeastHeld(const float* x) {
  float min = kInfinity;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) min = x[i] > -kInfinity ? fminf(min, x[i]) : min;
  return min;
}

// values[i] = row[IdOf(i)], `beyond` behind its end. Four bytes an element.
template <class T>
__device__ __forceinline__ void LoadTile(const T* row, std::int64_t vocab, int tile, T beyond,
                                         T* values) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(row) % 16 == 0;
  const T* first = row + IdOf(tile, 0);
  const int left = static_cast<int>(vocab) - IdOf(tile, 0);
  if (aligned && (tile + 1) * kTile <= static_cast<int>(vocab)) {
#pragma unroll
    for (int i = 0; i < kHeld; i += 4) {
      const Vector<T, 4> four = LoadVector<4>(first + i * kThreads);
#pragma unroll
      for (int j = 0; j < 4; ++j) values[i + j] = four.at[j];
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int at = i / 4 * (4 * kThreads) + i % 4;
    values[i] = at < left ? first[at] : beyond;
  }
}

// What the changes of a tile need beside registers.
struct ChangeSpace {
  float values[kTile];
  std::uint32_t kept[kTile / 32];
};

// Adds biases and masks tokens of the lists of a row. All threads of the block call it.
inline __device__ __noinline__ void ApplyLists(const SamplingArgs& args, const SamplingRow& how,
                                               int tile, float* values, ChangeSpace* space) {
  const int thread = static_cast<int>(threadIdx.x);
  const std::int32_t begin = tile * kTile;
  const auto inside = [&](TokenId token) {
    return token >= begin && token - begin < kTile && token < args.vocab;
  };
  const bool all = how.allowed_begin == how.allowed_end;
  __syncthreads();  // the last call's readers are done
  for (int i = 0; i < kHeld; ++i) space->values[IdOf(0, i)] = values[i];
  if (thread < kTile / 32) space->kept[thread] = all ? ~0U : 0U;
  __syncthreads();
  for (int e = how.bias_begin + thread; e < how.bias_end; e += kThreads) {
    const TokenBias bias = args.biases[e];
    if (inside(bias.token)) atomicAdd(&space->values[bias.token - begin], bias.bias);
  }
  for (int e = how.allowed_begin + thread; e < how.allowed_end; e += kThreads) {
    const std::int32_t at = args.allowed[e] - begin;
    if (inside(args.allowed[e])) atomicOr(&space->kept[at / 32], 1U << (at % 32));
  }
  __syncthreads();
  for (int e = how.banned_begin + thread; e < how.banned_end; e += kThreads) {
    const std::int32_t at = args.banned[e] - begin;
    if (inside(args.banned[e])) atomicAnd(&space->kept[at / 32], ~(1U << (at % 32)));
  }
  __syncthreads();
  for (int i = 0; i < kHeld; ++i) {
    const int at = IdOf(0, i);
    const bool kept = (space->kept[at / 32] >> (at % 32) & 1U) != 0;
    values[i] = kept ? space->values[at] : -kInfinity;
  }
}

// Turns the raw logits of a tile into those that a token is chosen by.
__device__ __forceinline__ void ApplyChanges(const SamplingArgs& args, const Plan& plan, int row,
                                             int tile, float* values, ChangeSpace* space) {
  const SamplingRow& how = args.how[row];
  if (plan.penalties) {
    std::int32_t counts[kHeld];
    LoadTile(args.token_counts + plan.slot * args.counts_stride, args.vocab, tile, 0, counts);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (counts[i] == 0) continue;
      float x = values[i];
      x = x > 0.0F ? x / how.repetition_penalty : x * how.repetition_penalty;
      const std::int32_t generated = counts[i] & ~kInPrompt;
      if (generated > 0) {
        x -= how.frequency_penalty * static_cast<float>(generated) + how.presence_penalty;
      }
      values[i] = x;
    }
  }
  if (how.bias_begin == how.bias_end && how.allowed_begin == how.allowed_end &&
      how.banned_begin == how.banned_end) {
    return;
  }
  float copy[kHeld];
#pragma unroll
  for (int i = 0; i < kHeld; ++i) copy[i] = values[i];
  ApplyLists(args, how, tile, copy, space);
#pragma unroll
  for (int i = 0; i < kHeld; ++i) values[i] = copy[i];
}

// What min_p drops becomes −∞.
__device__ __forceinline__ void DropBelow(const Plan& plan, const Bins& bins, float* x) {
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (!(Exp2((x[i] - bins.max) * plan.scale) >= plan.min_p)) x[i] = -kInfinity;
  }
}

}  // namespace quire::cuda::sampling
