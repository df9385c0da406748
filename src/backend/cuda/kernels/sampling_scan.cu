// The first kernel of sampling; see sampling_kernels.h. Grid: [segments, rows].
#include <algorithm>

#include "backend/cuda/kernels/sampling_kernels.h"

namespace quire::cuda::sampling {
namespace {

__device__ __forceinline__ Plan ScoringPlan(const Score& score) {
  Plan plan;
  plan.slot = 0;
  plan.logprobs = plan.rank = true;
  plan.top = score.top;
  return plan;
}

__device__ __forceinline__ float GreatestHeld(const float* x) {
  float max = x[0];
#pragma unroll
  for (int i = 1; i < kHeld; ++i) max = MaxOrNan(max, x[i]);
  return max;
}

// The least finite one of a warp's.
__device__ __forceinline__ float LeastHeld(const float* x) {
  float min = kInfinity;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) min = x[i] > -kInfinity ? fminf(min, x[i]) : min;
  return -WarpMax(-min);
}

__device__ __forceinline__ float BlockMax(float x, float* shared) {
  x = WarpMax(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[0];
  for (int i = 1; i < kWarps; ++i) x = MaxOrNan(x, shared[i]);
  return x;
}

// The partials of a block's warps as one; they have their maxima in common. Lane 0 of warp 0.
__device__ __forceinline__ Partial Together(const Partial* warps) {
  Partial all = warps[0];
  for (int i = 1; i < kWarps; ++i) {
    all.raw_min = fminf(all.raw_min, warps[i].raw_min);
    all.raw_sum += warps[i].raw_sum;
    all.min = fminf(all.min, warps[i].min);
    all.first = min(all.first, warps[i].first);
    all.best.Meet(warps[i].best.score, warps[i].best.token);
  }
  return all;
}

// The whole row's: raw_sum is of exp(logit − raw_max) here too, but in double.
struct RowTotal {
  Partial parts;
  double sum;
};

// A warp puts the segments together: lanes take every 32nd, then a tree.
__device__ RowTotal AddSegments(const Partial* partials, int segments) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Partial all = NothingYet();
  for (int s = lane; s < segments; s += 32) {
    const Partial one = LoadFresh(partials + s);
    all.raw_max = MaxOrNan(all.raw_max, one.raw_max);
    all.raw_min = fminf(all.raw_min, one.raw_min);
    if (one.max > all.max) all.first = one.first;  // ids ascend with segments
    all.max = MaxOrNan(all.max, one.max);
    all.min = fminf(all.min, one.min);
    all.best.Meet(one.best.score, one.best.token);
  }
  const float own = all.max;
  all.raw_max = WarpMax(all.raw_max);
  all.max = WarpMax(all.max);
  all.raw_min = -WarpMax(-all.raw_min);
  all.min = -WarpMax(-all.min);
  all.first = __reduce_min_sync(0xFFFFFFFFU, own == all.max ? all.first : kNoToken);
  all.best = WarpBest(all.best);
  double sum = 0;
  for (int s = lane; s < segments; s += 32) {
    const Partial one = LoadFresh(partials + s);
    if (one.raw_sum > 0.0F) {
      sum += static_cast<double>(one.raw_sum) * exp(static_cast<double>(one.raw_max - all.raw_max));
    }
  }
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xFFFFFFFFU, sum, offset);
  return {all, sum};
}

__device__ __forceinline__ Plan PlanFor(const SamplingArgs& args, const Score& score, int row) {
  return score.given ? ScoringPlan(score) : PlanOf(args, row);
}

// What the row's sums say, and its token where that is known now. One warp; not inlined, so that it
// takes no registers from all other blocks.
__device__ __noinline__ void FinishRow(const SamplingArgs& args, const Score& score,
                                       const Scratch& scratch, int row) {
  const RowTotal total = AddSegments(scratch.partials(row), scratch.segments);
  if (threadIdx.x % 32 != 0) return;
  const Partial& all = total.parts;
  const Plan plan = PlanFor(args, score, row);
  RowState* state = scratch.state(row);
  state->log_sum = static_cast<double>(all.raw_max) + log(total.sum);
  state->raw_max = all.raw_max;
  state->raw = BinsOf(all.raw_max, all.raw_min, kLog2E);
  state->draw = false;
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
  if (good && plan.random && plan.truncated()) {
    state->draw = true;
    state->bins = BinsOf(all.max, all.min, plan.scale);
    state->cut = KeepAll();
    return;
  }
  const std::int32_t token = !good ? -1 : plan.random ? all.best.token : all.first;
  state->token = token;
  WriteToken(args, plan, row, state->log_sum, token);
}

template <bool kRandom, bool kChanges>
__global__ void __launch_bounds__(kThreads, kRandom || kChanges ? 4 : 6)
    ScanKernel(const __grid_constant__ SamplingArgs args, const __grid_constant__ Score score,
               const __grid_constant__ Scratch scratch) {
  __shared__ float maxima[2][kWarps];
  __shared__ Partial warps[kWarps];
  extern __shared__ __align__(16) char dynamic[];
  WaitForPrevious();
  LetNextStart();
  const int row = static_cast<int>(blockIdx.y);
  const int segment = static_cast<int>(blockIdx.x);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float x[kHeld];
  LoadSegment(args.logits + row * args.logits_stride, args.vocab, segment, -kInfinity, x);
  const Plan plan = PlanFor(args, score, row);
  RowState* state = scratch.state(row);
  if (plan.slot < 0) {
    if (segment == 0 && threadIdx.x == 0) {
      args.tokens[row] = state->token = -1;
      args.faults[row] = 0;
      state->draw = false;
    }
    return;
  }

  Partial own = NothingYet();
  own.raw_max = own.max = BlockMax(GreatestHeld(x), maxima[0]);
  if (plan.logprobs && own.raw_max > -kInfinity) {
    float sum = 0.0F;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) sum += Exp2((x[i] - own.raw_max) * kLog2E);
    own.raw_sum = WarpSum(sum);
  }
  const bool draws = plan.random && !plan.truncated();
  if (plan.top > 0 || plan.random && !draws) own.raw_min = own.min = LeastHeld(x);
  if constexpr (kChanges) {
    if (plan.changes) {
      ApplyChanges(args, plan, row, segment, x, reinterpret_cast<ChangeSpace*>(dynamic));
      own.max = BlockMax(GreatestHeld(x), maxima[1]);
      own.min = LeastHeld(x);
    }
  }
  if (!plan.random) {
    int first = kNoToken;
#pragma unroll
    for (int i = kHeld - 1; i >= 0; --i) first = x[i] == own.max ? IdOf(segment, i) : first;
    own.first = __reduce_min_sync(0xFFFFFFFFU, first);
  }
  if constexpr (kRandom) {
    if (draws) {
      Race race;
      race.Meet(x, segment, own.max, plan);
      own.best = WarpBest(race.best);
    }
  }
  if (lane == 0) warps[warp] = own;
  __syncthreads();
  if (warp != 0) return;

  Partial* partials = scratch.partials(row);
  bool last = false;
  if (lane == 0) {
    partials[segment] = Together(warps);
    __threadfence();
    last = atomicAdd(&state->arrived, 1U) == gridDim.x - 1;
    if (last) state->arrived = 0;
  }
  if (!__shfl_sync(0xFFFFFFFFU, last, 0)) return;
  __threadfence();
  FinishRow(args, score, scratch, row);
}

}  // namespace

void LaunchScan(const SamplingArgs& args, const SamplingNeeds& needs, const Score& score,
                const Scratch& scratch, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(scratch.segments), static_cast<unsigned>(args.rows));
  const std::size_t space = needs.changes ? sizeof(ChangeSpace) : 0;
  const auto kernel = needs.random
                          ? (needs.changes ? ScanKernel<true, true> : ScanKernel<true, false>)
                          : (needs.changes ? ScanKernel<false, true> : ScanKernel<false, false>);
  Launch(kernel, grid, kThreads, space, stream, args, score, scratch);
}

}  // namespace quire::cuda::sampling
