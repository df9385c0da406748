// Whether the token that was drawn from all tokens of a row is one of those that are kept: it then
// is the row's, as the best of all is the best of any part that has it. See sampling_kernels.h.
// Grid: [segments, rows].
#include "backend/cuda/kernels/sampling_kernels.h"

namespace quire::cuda::sampling {
namespace {

// Sums over the row, and what follows from them. The whole block.
__device__ __noinline__ void FinishCheck(const SamplingArgs& args, const Scratch& scratch, int row,
                                         int blocks) {
  __shared__ double real[kWarps];
  __shared__ std::uint32_t whole[kWarps];
  __shared__ float least[kWarps];
  RowState* state = scratch.state(row);
  const Plan plan = PlanOf(args, row);
  double all = 0, before = 0;
  for (int i = static_cast<int>(threadIdx.x); i < scratch.tiles * kWarps; i += kThreads) {
    const float2 stripe = __ldcg(scratch.sums(row) + i);
    all += static_cast<double>(stripe.x);
    before += static_cast<double>(stripe.y);
  }
  std::uint32_t count = 0;
  float min = kInfinity;
  for (int i = static_cast<int>(threadIdx.x); i < blocks; i += kThreads) {
    const Share share = LoadFresh(scratch.shares(row) + i);
    count += share.count;
    min = fminf(min, share.min);
  }
  all = BlockTotal(all, real);
  before = BlockTotal(before, real);
  count = BlockTotal(count, whole);
  min = -WarpMax(-min);
  if (threadIdx.x % 32 == 0) least[threadIdx.x / 32] = min;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kWarps; ++i) min = fminf(min, least[i]);
  const float max = state->bins.max;
  // With both top_k and top_p, what top_p has to choose from is not known here.
  const bool known = state->token != kNoToken && (plan.top_k == 0 || plan.top_p == 1.0F);
  const bool kept = known && Exp2((state->logit - max) * plan.scale) >= plan.min_p &&
                    (plan.top_k == 0 || count < static_cast<std::uint32_t>(plan.top_k)) &&
                    (plan.top_p == 1.0F || before < static_cast<double>(plan.top_p) * all);
  if (!kept) {
    state->bins = BinsOf(max, min, plan.scale);
    scratch.Enqueue(kToCut, row);
    return;
  }
  WriteToken(args, plan, row, state->log_sum, state->token);
}

// The sums over a warp of two values: the first in the lower half of the lanes, the second in the
// upper.
__device__ __forceinline__ float WarpSums(float first, float second) {
  const bool upper = threadIdx.x % 32 >= 16;
  float own = upper ? second : first;
  own += __shfl_xor_sync(0xFFFFFFFFU, upper ? first : second, 16);
  for (int offset = 8; offset > 0; offset /= 2) own += __shfl_xor_sync(0xFFFFFFFFU, own, offset);
  return own;
}

// Tiles of a row, in one of `blocks` blocks that share it. dynamic: of the kernel.
template <bool kChanges>
__device__ __forceinline__ void CheckTiles(const SamplingArgs& args, const Scratch& scratch,
                                           int row, const Work& work, int block, char* dynamic) {
  __shared__ Share warps[kWarps];
  auto* change_space = reinterpret_cast<ChangeSpace*>(dynamic + TileReader::kRingBytes);
  RowState* state = scratch.state(row);
  const int end = work.end(block);
  TileReader reader(args.logits + row * args.logits_stride, args.vocab, work.begin(block), end,
                    dynamic);
  const Plan plan = PlanOf(args, row);
  const float max = state->bins.max;
  const float logit = state->logit;
  const std::int32_t token = state->token;
  std::uint32_t count = 0;
  float least = kInfinity;
  for (int tile = work.begin(block); tile < end; ++tile) {
    float x[kHeld];
    reader.Read(tile, x);
    if constexpr (kChanges) {
      if (plan.changes) ApplyChanges(args, plan, row, tile, x, change_space);
    }
    least = fminf(least, LeastHeld(x));
    float all = 0.0F, before = 0.0F;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      float weight = Exp2((x[i] - max) * plan.scale);
      if (plan.min_p > 0.0F) weight = weight >= plan.min_p ? weight : 0.0F;
      all += weight;
      if (x[i] > logit || (x[i] == logit && IdOf(tile, i) < token)) {
        before += weight;
        ++count;
      }
    }
    const float sum = WarpSums(all, before);
    auto* out = reinterpret_cast<float*>(scratch.sums(row) + tile * kWarps + threadIdx.x / 32);
    if (threadIdx.x % 16 == 0) out[threadIdx.x % 32 / 16] = sum;
  }
  count = __reduce_add_sync(0xFFFFFFFFU, count);
  least = -WarpMax(-least);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = {count, least, {}};
  __syncthreads();
  if (threadIdx.x == 0) {
    Share share = warps[0];
    for (int i = 1; i < kWarps; ++i) {
      share.count += warps[i].count;
      share.min = fminf(share.min, warps[i].min);
    }
    scratch.shares(row)[block] = share;
  }
  if (IsLastBlock(&state->arrived, work.blocks)) FinishCheck(args, scratch, row, work.blocks);
}

template <bool kChanges>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    CheckKernel(const __grid_constant__ SamplingArgs args, const __grid_constant__ Scratch scratch,
                int at_once) {
  extern __shared__ __align__(16) char dynamic[];
  WaitForPrevious();
  LetNextStart();
  const Work work(static_cast<int>(scratch.head()->queued[kToCheck]), scratch.tiles, at_once);
  for (int item = static_cast<int>(blockIdx.x); item < work.items;
       item += static_cast<int>(gridDim.x)) {
    __syncthreads();
    const int row = scratch.state(item / work.blocks)->queue[kToCheck];
    CheckTiles<kChanges>(args, scratch, row, work, item % work.blocks, dynamic);
  }
}

}  // namespace

void LaunchCheck(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                 cudaStream_t stream) {
  LaunchWorkers(needs.changes ? CheckKernel<true> : CheckKernel<false>, args.rows, scratch,
                needs.changes ? sizeof(ChangeSpace) : 0, stream, args, scratch);
}

}  // namespace quire::cuda::sampling
