// Whether the token that was drawn from all tokens of a row is one of those that are kept: it then
// is the row's, as the best of all is the best of any part that has it. See sampling_kernels.h.
// Grid: [segments, rows].
#include "backend/cuda/kernels/sampling_kernels.h"

namespace quire::cuda::sampling {
namespace {

// One warp: sums over the segments, lanes taking every 32nd, and what follows from them.
__device__ void FinishCheck(const SamplingArgs& args, const Plan& plan, int row,
                            const Share* shares, int segments, RowState* state) {
  double all = 0, before = 0;
  std::uint32_t count = 0;
  float min = kInfinity;
  for (int s = static_cast<int>(threadIdx.x) % 32; s < segments; s += 32) {
    const Share one = LoadFresh(shares + s);
    all += static_cast<double>(one.all);
    before += static_cast<double>(one.before);
    count += one.count;
    min = fminf(min, one.min);
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    all += __shfl_xor_sync(0xFFFFFFFFU, all, offset);
    before += __shfl_xor_sync(0xFFFFFFFFU, before, offset);
    count += __shfl_xor_sync(0xFFFFFFFFU, count, offset);
  }
  min = -WarpMax(-min);
  if (threadIdx.x % 32 != 0) return;
  const float max = state->bins.max;
  // With both top_k and top_p, what top_p has to choose from is not known here.
  const bool known = state->token != kNoToken && (plan.top_k == 0 || plan.top_p == 1.0F);
  const bool kept = known && Exp2((state->logit - max) * plan.scale) >= plan.min_p &&
                    (plan.top_k == 0 || count < static_cast<std::uint32_t>(plan.top_k)) &&
                    (plan.top_p == 1.0F || before < static_cast<double>(plan.top_p) * all);
  if (!kept) {
    state->bins = BinsOf(max, min, plan.scale);
    state->stage = Stage::kCut;
    return;
  }
  state->stage = Stage::kDone;
  WriteToken(args, plan, row, state->log_sum, state->token);
}

template <bool kChanges>
__global__ void __launch_bounds__(kThreads, 4)
    CheckKernel(const __grid_constant__ SamplingArgs args,
                const __grid_constant__ Scratch scratch) {
  __shared__ Share warps[kWarps];
  extern __shared__ __align__(16) char dynamic[];
  WaitForPrevious();
  LetNextStart();
  const int row = static_cast<int>(blockIdx.y);
  RowState* state = scratch.state(row);
  if (state->stage != Stage::kCheck) return;
  const int first_tile = static_cast<int>(blockIdx.x) * kTiles;
  float x[kTiles][kHeld];
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    LoadTile(args.logits + row * args.logits_stride, args.vocab, first_tile + t, -kInfinity, x[t]);
  }
  const Plan plan = PlanOf(args, row);
  const float max = state->bins.max;
  const float logit = state->logit;
  const std::int32_t token = state->token;
  Share own{0.0F, 0.0F, 0, kInfinity};
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    if constexpr (kChanges) {
      if (plan.changes) {
        ApplyChanges(args, plan, row, first_tile + t, x[t],
                     reinterpret_cast<ChangeSpace*>(dynamic));
      }
    }
    own.min = fminf(own.min, LeastHeld(x[t]));
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      float weight = Exp2((x[t][i] - max) * plan.scale);
      if (plan.min_p > 0.0F) weight = weight >= plan.min_p ? weight : 0.0F;
      own.all += weight;
      if (x[t][i] > logit || (x[t][i] == logit && IdOf(first_tile + t, i) < token)) {
        own.before += weight;
        ++own.count;
      }
    }
  }
  own.all = WarpSum(own.all);
  own.before = WarpSum(own.before);
  own.count = __reduce_add_sync(0xFFFFFFFFU, own.count);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = own;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  bool last = false;
  if (threadIdx.x == 0) {
    for (int i = 1; i < kWarps; ++i) {
      own.all += warps[i].all;
      own.before += warps[i].before;
      own.count += warps[i].count;
      own.min = fminf(own.min, warps[i].min);
    }
    scratch.shares(row)[blockIdx.x] = own;
    __threadfence();
    last = atomicAdd(&state->arrived, 1U) == gridDim.x - 1;
    if (last) state->arrived = 0;
    __threadfence();
  }
  if (!__shfl_sync(0xFFFFFFFFU, last, 0)) return;
  FinishCheck(args, plan, row, scratch.shares(row), scratch.segments(), state);
}

}  // namespace

void LaunchCheck(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                 cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(scratch.segments()), static_cast<unsigned>(args.rows));
  const auto kernel = needs.changes ? CheckKernel<true> : CheckKernel<false>;
  Launch(kernel, grid, kThreads, needs.changes ? sizeof(ChangeSpace) : 0, stream, args, scratch);
}

}  // namespace quire::cuda::sampling
