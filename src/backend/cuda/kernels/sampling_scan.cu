// The first kernel of sampling; see sampling_kernels.h. Grid: [segments, rows].
#include <algorithm>

#include "backend/cuda/kernels/sampling_kernels.h"
#include "backend/cuda/kernels/sampling_race.cuh"

namespace quire::cuda::sampling {
namespace {

__device__ __forceinline__ Plan PlanFor(const SamplingArgs& args, const Score& score, int row) {
  if (!score.given) return PlanOf(args, row);
  Plan plan;
  plan.slot = 0;
  plan.logprobs = plan.rank = true;
  plan.top = score.top;
  return plan;
}

__device__ __forceinline__ float BlockMax(float x, float* shared) {
  x = WarpMax(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[0];
  for (int i = 1; i < kWarps; ++i) x = MaxOrNan(x, shared[i]);
  return x;
}

// -- a segment ------------------------------------------------------------------------------------

struct ScanSpace {
  float maxima[3][kWarps];
  float stripes[kStripes];
  Partial warps[kWarps];
};

// The partials of a block's warps as one; they have their maxima in common. One thread.
__device__ __forceinline__ void PutTogether(const ScanSpace& space, Partial* out) {
  Partial all = space.warps[0];
  for (int i = 1; i < kWarps; ++i) {
    const Partial& one = space.warps[i];
    all.raw_min = fminf(all.raw_min, one.raw_min);
    all.raw_sum += one.raw_sum;
    all.first = min(all.first, one.first);
    all.best.Meet(one.best);
  }
  for (int i = 0; i < kStripes; ++i) all.stripes[i] = space.stripes[i];
  *out = all;
}

// The best token of a segment when all may be drawn. The whole block; the result is each warp's.
__device__ __forceinline__ Best RaceOfAll(const SamplingArgs& args, const Plan& plan, int row,
                                          const float (*x)[kHeld], float near, float* shared) {
  if (!IsFinite(near)) return NoneYet();
  Race race{RaceKeyOf(args.how[row]), plan.scale, near};
  const int first_tile = static_cast<int>(blockIdx.x) * kTiles;
  float reach[kTiles];
  bool rare[kTiles];
  float most = -kInfinity;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    reach[t] = race.GreatestReach(x[t], first_tile + t, &rare[t]);
    most = fmaxf(most, reach[t]);
  }
  const float bound = BoundOf(BlockMax(most, shared));
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    if (reach[t] >= bound || rare[t]) race.MeetSome(x[t], first_tile + t, bound);
  }
  return WarpBest(race.best);
}

// -- the row --------------------------------------------------------------------------------------

// The whole row's partial, its raw_sum in double. One warp: lanes take every 32nd segment, then a
// tree.
__device__ double AddSegments(const Partial* partials, int segments, Partial* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Partial all = NothingYet();
  double sum = 0;  // of exp(logit − own)
  float own = -kInfinity;
  for (int s = lane; s < segments; s += 32) {
    const Partial one = LoadFresh(partials + s);
    if (one.max > all.max) all.first = one.first;  // ids ascend with segments
    all.max = MaxOrNan(all.max, one.max);
    all.raw_max = MaxOrNan(all.raw_max, one.raw_max);
    all.raw_min = fminf(all.raw_min, one.raw_min);
    all.best.Meet(one.best);
    if (one.raw_sum > 0.0F) {
      const float max = fmaxf(own, one.raw_max);
      sum = sum * static_cast<double>(expf(own - max)) +
            static_cast<double>(one.raw_sum) * exp(static_cast<double>(one.raw_max - max));
      own = max;
    }
  }
  const float own_max = all.max;
  all.raw_max = WarpMax(all.raw_max);
  all.max = WarpMax(all.max);
  all.raw_min = -WarpMax(-all.raw_min);
  all.first = __reduce_min_sync(0xFFFFFFFFU, own_max == all.max ? all.first : kNoToken);
  all.best = WarpBest(all.best);
  if (sum > 0.0) sum *= exp(static_cast<double>(own - all.raw_max));
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xFFFFFFFFU, sum, offset);
  *out = all;
  return sum;
}

// What the row's sums say, and its token where that is known now. One thread.
__device__ void FinishRow(const SamplingArgs& args, const Score& score, const Plan& plan, int row,
                          const Partial& all, double sum, RowState* state) {
  state->log_sum = static_cast<double>(all.raw_max) + log(sum);
  state->raw = BinsOf(all.raw_max, all.raw_min, kLog2E);
  state->stage = Stage::kDone;
  state->token = -1;
  const bool good = IsFinite(all.raw_max) && IsFinite(all.max);
  if (score.given) {
    const std::int32_t token = args.tokens[row];
    const bool known = good && token >= 0 && token < args.vocab;
    args.faults[row] = known ? 0 : 1;
    if (!known) return;
    state->token = token;
    const float raw = args.logits[row * args.logits_stride + token];
    args.logprobs[row] = static_cast<float>(static_cast<double>(raw) - state->log_sum);
    return;
  }
  const Best& best = all.best;
  // The best of all is always kept; min_p asks for no more than its own weight.
  const bool kept = !plan.truncated() || best.token == all.first ||
                    (plan.top_k == 0 && plan.top_p == 1.0F &&
                     Exp2((best.logit - all.max) * plan.scale) >= plan.min_p);
  if (good && plan.random && !kept) {
    const RaceKey key = RaceKeyOf(args.how[row]);
    state->key0 = key.key0;
    state->key1 = key.key1;
    state->token = best.token;
    state->logit = best.logit;
    state->bins = {all.max, 0.0F, 0.0F};
    state->cut = KeepAll();
    state->stage = plan.top_k == 0 && plan.top_p == 1.0F ? Stage::kDraw : Stage::kCheck;
    return;
  }
  const std::int32_t token = !good ? -1 : plan.random ? best.token : all.first;
  state->token = token;
  WriteToken(args, plan, row, state->log_sum, token);
}

// Lets the tokens from the k-th greatest maximum of a stripe on be listed. The whole block.
__device__ void ListBest(const Plan& plan, const Partial* partials, int segments, RowState* state) {
  __shared__ float maxima[kThreads * 8];
  const int count = min(segments * kStripes, kThreads * 8);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    maxima[i] = __ldcg(&partials[i / kStripes].stripes[i % kStripes]);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const float own = maxima[i];
    int better = 0;
    for (int j = 0; j < count; ++j) {
      better += maxima[j] > own || (maxima[j] == own && j < i) ? 1 : 0;
    }
    if (better != plan.top_k - 1) continue;
    // Bin 0 holds them all, and they all where so few stripes hold any.
    const float width = own > -kInfinity ? (state->bins.max - own) * 1.001F : 0.0F;
    state->bins.width = width;
    state->bins.per_logit = width > 0.0F ? 1.0F / width : own > -kInfinity ? 1e30F : 0.0F;
    state->cut = {0, 1, 0, plan.top_k, 0.0, 0.0, 0.0};
    state->stage = Stage::kDraw;
  }
}

// The last block of a row. Not inlined, so that it takes no registers from the others.
__device__ __noinline__ void FinishScan(const SamplingArgs& args, const Score& score,
                                        const Scratch& scratch, int row) {
  const Partial* partials = scratch.partials(row);
  RowState* state = scratch.state(row);
  const Plan plan = PlanFor(args, score, row);
  if (threadIdx.x < 32) {
    Partial all;
    const double sum = AddSegments(partials, scratch.segments(), &all);
    if (threadIdx.x == 0) FinishRow(args, score, plan, row, all, sum, state);
  }
  if (!ListsDirectly(plan.top_k, args.vocab)) return;
  __syncthreads();
  if (state->stage == Stage::kCheck) ListBest(plan, partials, scratch.segments(), state);
}

template <bool kRandom, bool kChanges>
__global__ void __launch_bounds__(kThreads, kRandom || kChanges ? 3 : 4)
    ScanKernel(const __grid_constant__ SamplingArgs args, const __grid_constant__ Score score,
               const __grid_constant__ Scratch scratch) {
  __shared__ ScanSpace space;
  __shared__ bool last;
  extern __shared__ __align__(16) char dynamic[];
  WaitForPrevious();
  LetNextStart();
  const int row = static_cast<int>(blockIdx.y);
  const int first_tile = static_cast<int>(blockIdx.x) * kTiles;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float x[kTiles][kHeld];
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    LoadTile(args.logits + row * args.logits_stride, args.vocab, first_tile + t, -kInfinity, x[t]);
  }
  const Plan plan = PlanFor(args, score, row);
  RowState* state = scratch.state(row);
  if (plan.slot < 0) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
      args.tokens[row] = state->token = -1;
      args.faults[row] = 0;
      state->stage = Stage::kDone;
    }
    return;
  }

  Partial own = NothingYet();
  float held = MaxOrNan(GreatestHeld(x[0]), GreatestHeld(x[1]));
  own.raw_max = own.max = BlockMax(held, space.maxima[0]);
  if (plan.logprobs && own.raw_max > -kInfinity) {
    float sum = 0.0F;
#pragma unroll
    for (int i = 0; i < kTiles * kHeld; ++i) {
      sum += Exp2((x[i / kHeld][i % kHeld] - own.raw_max) * kLog2E);
    }
    own.raw_sum = WarpSum(sum);
  }
  if (plan.top > 0) own.raw_min = fminf(LeastHeld(x[0]), LeastHeld(x[1]));
  if constexpr (kChanges) {
    if (plan.changes) {
      auto* change_space = reinterpret_cast<ChangeSpace*>(dynamic);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        ApplyChanges(args, plan, row, first_tile + t, x[t], change_space);
      }
      held = MaxOrNan(GreatestHeld(x[0]), GreatestHeld(x[1]));
      own.max = BlockMax(held, space.maxima[1]);
    }
  }
  int first = kNoToken;
  if (held == own.max) {
#pragma unroll
    for (int i = kTiles * kHeld - 1; i >= 0; --i) {
      const int t = i / kHeld;
      first = x[t][i % kHeld] == own.max ? IdOf(first_tile + t, i % kHeld) : first;
    }
  }
  own.first = __reduce_min_sync(0xFFFFFFFFU, first);
  if constexpr (kRandom) {
    if (plan.random && !ListsDirectly(plan.top_k, args.vocab)) {
      own.best = RaceOfAll(args, plan, row, x, own.max, space.maxima[2]);
    } else if (plan.random) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const float stripe = WarpMax(GreatestHeld(x[t]));
        if (lane == 0) space.stripes[t * kWarps + warp] = stripe;
      }
    }
  }
  if (lane == 0) space.warps[warp] = own;
  __syncthreads();
  if (threadIdx.x == 0) {
    PutTogether(space, scratch.partials(row) + blockIdx.x);
    __threadfence();
    last = atomicAdd(&state->arrived, 1U) == gridDim.x - 1;
    if (last) state->arrived = 0;
    __threadfence();
  }
  __syncthreads();
  if (last) FinishScan(args, score, scratch, row);
}

}  // namespace

void LaunchScan(const SamplingArgs& args, const SamplingNeeds& needs, const Score& score,
                const Scratch& scratch, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(scratch.segments()), static_cast<unsigned>(args.rows));
  const auto launch = [&](auto kernel) {
    const std::size_t space = needs.changes ? sizeof(ChangeSpace) : 0;
    Launch(kernel, grid, kThreads, space, stream, args, score, scratch);
  };
  if (needs.random) return launch(needs.changes ? ScanKernel<true, true> : ScanKernel<true, false>);
  launch(needs.changes ? ScanKernel<false, true> : ScanKernel<false, false>);
}

}  // namespace quire::cuda::sampling
