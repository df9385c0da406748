// What is left to one block where so many tokens lie about a row's cut that the list does not hold
// them (equal logits, temperatures that make them so): the cut is found by halving, each time with
// a look at the whole row. Right for any row, and a hundred times slower.
#pragma once

#include "backend/cuda/kernels/sampling_race.cuh"

namespace quire::cuda::sampling {

// Tokens of a row that are kept: greater logits than the cut's, and of equals the lower ids.
struct SlowCut {
  std::uint32_t rising = 0;  // of the least logit that is kept
  std::int32_t token = kNoToken;
  __device__ bool Keeps(float x, std::int32_t id) const {
    const std::uint32_t own = Rising(x);
    return own > rising || (own == rising && id <= token);
  }
};

template <bool kChanges>
struct SlowRow {
  const SamplingArgs& args;
  const Plan& plan;
  int row;
  const Bins& bins;
  int tiles;
  ChangeSpace* space;

  // Calls see(values, tile) for all tiles; tokens that take no part are −∞.
  template <class See>
  __device__ void ForTiles(const See& see) const {
    for (int tile = 0; tile < tiles; ++tile) {
      float x[kHeld];
      LoadTile(args.logits + row * args.logits_stride, args.vocab, tile, -kInfinity, x);
      if constexpr (kChanges) {
        if (plan.changes) ApplyChanges(args, plan, row, tile, x, space);
      }
      if (plan.min_p > 0.0F) {
        for (int i = 0; i < kHeld; ++i) {
          if (!(Exp2((x[i] - bins.max) * plan.scale) >= plan.min_p)) x[i] = -kInfinity;
        }
      }
      see(x, tile);
    }
  }

  // The sum of value(x, id) over the tokens that `cut` keeps; the same in all threads.
  template <class Value>
  __device__ double Sum(const SlowCut& cut, const Value& value) const {
    __shared__ double shared[kWarps];
    double sum = 0;
    ForTiles([&](const float* x, int tile) {
      for (int i = 0; i < kHeld; ++i) {
        if (x[i] > -kInfinity && cut.Keeps(x[i], IdOf(tile, i))) sum += value(x[i], IdOf(tile, i));
      }
    });
    return BlockTotal(sum, shared);
  }

  // Among those that `kept` keeps, the cut behind which the sum of value has just reached `target`.
  // value depends on the logit alone.
  template <class Value>
  __device__ SlowCut CutAt(const SlowCut& kept, double target, const Value& value) const {
    SlowCut cut;
    for (std::uint32_t bit = 0x80000000U; bit != 0; bit /= 2) {
      const std::uint32_t at = cut.rising | bit;
      const auto upto = [&](float x, std::int32_t) { return Rising(x) >= at ? value(x) : 0.0; };
      if (Sum(kept, upto) >= target) cut.rising = at;
    }
    std::int32_t low = 0;
    auto high = static_cast<std::int32_t>(args.vocab - 1);
    while (low < high) {
      const std::int32_t middle = low + (high - low) / 2;
      cut.token = middle;
      const auto upto = [&](float x, std::int32_t id) { return cut.Keeps(x, id) ? value(x) : 0.0; };
      if (Sum(kept, upto) >= target) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    cut.token = low;
    return cut;
  }
};

// Lets the tokens race that top_k, top_p and min_p keep. The whole block calls it.
template <bool kChanges>
__device__ __noinline__ void SlowRace(const SamplingArgs& args, const Plan& plan, int row,
                                      const Bins& bins, int tiles, ChangeSpace* space, Race* race) {
  const SlowRow<kChanges> slow{args, plan, row, bins, tiles, space};
  const auto one = [](float) { return 1.0; };
  const auto weight = [&](float x) {
    return static_cast<double>(Exp2((x - bins.max) * plan.scale));
  };
  SlowCut cut;
  if (plan.top_k > 0) {
    const double all = slow.Sum(cut, [](float, std::int32_t) { return 1.0; });
    const double target = static_cast<double>(plan.top_k);
    if (all > target) cut = slow.CutAt(cut, target, one);
  }
  if (plan.top_p < 1.0F) {
    const double all = slow.Sum(cut, [&](float x, std::int32_t) { return weight(x); });
    const double target = static_cast<double>(plan.top_p) * all;
    if (target > 0.0) {
      cut = slow.CutAt(cut, target, weight);
    } else {
      cut = slow.CutAt(cut, 1.0, one);
    }
  }
  slow.ForTiles([&](float* x, int tile) {
    for (int i = 0; i < kHeld; ++i) {
      if (x[i] > -kInfinity && cut.Keeps(x[i], IdOf(tile, i))) race->Meet(x[i], IdOf(tile, i));
    }
  });
}

// The least key of the row that is greater than `last`; in every thread. shared: [kWarps].
inline __device__ __noinline__ unsigned long long SlowNextKey(const float* logits,
                                                              std::int64_t vocab, int tiles,
                                                              unsigned long long last,
                                                              unsigned long long* shared) {
  unsigned long long next = ~0ULL;
  for (int tile = 0; tile < tiles; ++tile) {
    for (int i = 0; i < kHeld; ++i) {
      const std::int32_t id = IdOf(tile, i);
      if (id >= vocab) continue;
      const unsigned long long key = KeyOf(logits[id], id);
      if (key > last && key < next) next = key;
    }
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    const unsigned long long other = __shfl_xor_sync(0xFFFFFFFFU, next, offset);
    next = other < next ? other : next;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = next;
  __syncthreads();
  next = shared[0];
  for (int i = 1; i < kWarps; ++i) next = shared[i] < next ? shared[i] : next;
  return next;
}

}  // namespace quire::cuda::sampling
