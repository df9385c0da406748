// How a token is drawn: it is the one with the greatest logit / temperature + Gumbel number. To
// base 2 a Gumbel number is −log2(E), where E = −ln(1 − v) is exponential and v, a token's number
// in (0, 1), is a hash of the row's key and the token.
//
// Nearly all tokens are passed over by the first 16 bits of v, of which one hash makes two: with
// c = ⌊2^16 v⌋ a token's reach is what its score would be for v = (c + 1/2) / 2^16, less a
// constant. Its score is less than its reach + 0.09 where c ≥ kRare, and at least its reach − 1.
// Scores that are compared are computed the same way wherever that happens.
#pragma once

#include "backend/cuda/kernels/sampling_read.cuh"

namespace quire::cuda::sampling {

constexpr std::uint32_t kRare = 8;

// The key of a row's random numbers.
struct RaceKey {
  std::uint32_t key0 = 0, key1 = 0;
};

__device__ __forceinline__ std::uint64_t Mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

__device__ __forceinline__ RaceKey RaceKeyOf(const SamplingRow& how) {
  constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15ULL;
  const std::uint64_t start = Mix(how.seed + kStep);
  const auto index = static_cast<std::uint32_t>(how.output_index);
  const std::uint64_t key = Mix(start + kStep * (index + 1ULL));
  return {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
}

__device__ __forceinline__ std::uint32_t Hash(std::uint32_t x, const RaceKey& key) {
  x += key.key0;
  x = (x ^ (x >> 16)) * 0x7FEB352DU;
  x = (x ^ (x >> 15) ^ key.key1) * 0x846CA68BU;
  return x ^ (x >> 16);
}

// A token of a lesser reach cannot be the best where one has `reach`.
__device__ __forceinline__ float BoundOf(float reach) {
  return reach - 1.2F - 1e-6F * fabsf(reach);
}

__device__ __forceinline__ float Log2(float x) {
  float out;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

struct Race {
  RaceKey key;
  float scale;  // log2(e) / temperature
  Best best = NoneYet();

  __device__ float Reach(float x, std::uint32_t c) const {
    const float number = __uint_as_float(0x4B000000U | c) - 8388607.5F;  // c + 1/2
    return fmaf(x, scale, -Log2(-Log2(fmaf(number, -0x1p-16F, 1.0F))));
  }

  // The greatest reach of the tokens that this thread holds; −∞ takes no part. *rare: whether one
  // has to be met whatever its reach.
  __device__ float GreatestReach(const float* values, int tile, bool* rare) const {
    float reach = -kInfinity;
    std::uint32_t least = ~0U;
#pragma unroll
    for (int i = 0; i < kHeld; i += 2) {
      const std::uint32_t two = Hash(static_cast<std::uint32_t>(IdOf(tile, i)) / 2, key);
      reach = fmaxf(reach, Reach(values[i], two & 0xFFFFU));
      reach = fmaxf(reach, Reach(values[i + 1], two >> 16));
      least = __vminu2(least, two);
    }
    *rare = (least & 0xFFFFU) < kRare || (least >> 16) < kRare;
    return reach;
  }

  __device__ void Meet(float x, std::int32_t token) {
    const std::uint32_t two = Hash(static_cast<std::uint32_t>(token) / 2, key);
    const std::uint32_t c = token % 2 == 0 ? two & 0xFFFFU : two >> 16;
    const std::uint32_t rest = Hash(~static_cast<std::uint32_t>(token), key);
    const float v = fminf(
        fmaf(static_cast<float>(rest), 0x1p-48F, fmaf(static_cast<float>(c), 0x1p-16F, 0x1p-49F)),
        1.0F - 0x1p-24F);
    const float noise = -log2f(-log1pf(-v));
    best.Meet({static_cast<double>(x) * static_cast<double>(scale) + static_cast<double>(noise), x,
               token});
  }

  // Those of this thread's tokens that may be the best.
  __device__ void MeetSome(const float* values, int tile, float bound) {
    std::uint32_t candidates = 0;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const std::uint32_t two = Hash(static_cast<std::uint32_t>(IdOf(tile, i)) / 2, key);
      const std::uint32_t c = i % 2 == 0 ? two & 0xFFFFU : two >> 16;
      const bool may = Reach(values[i], c) >= bound || c < kRare;
      if (may && values[i] > -kInfinity) candidates |= 1U << i;
    }
    while (candidates != 0) {
      const int which = __ffs(static_cast<int>(candidates)) - 1;
      candidates &= candidates - 1;
      float x = values[0];
#pragma unroll
      for (int i = 1; i < kHeld; ++i) x = i == which ? values[i] : x;
      Meet(x, IdOf(tile, which));
    }
  }

  // The tokens of a tile. shared: the greatest reach that the block knows of, Rising; 0 at first.
  // All threads of a warp call it.
  __device__ void MeetTile(const float* values, int tile, std::uint32_t* shared) {
    bool rare;
    const float own = GreatestReach(values, tile, &rare);
    std::uint32_t reach = __reduce_max_sync(0xFFFFFFFFU, Rising(own));
    const std::uint32_t known = *static_cast<volatile std::uint32_t*>(shared);
    if (reach > known && threadIdx.x % 32 == 0) atomicMax(shared, reach);
    const float bound = BoundOf(FromRising(max(reach, known)));
    if (own > -kInfinity && (own >= bound || rare)) MeetSome(values, tile, bound);
  }
};

}  // namespace quire::cuda::sampling
