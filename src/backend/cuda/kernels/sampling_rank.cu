// Ranks of tokens among the raw logits, and the best of these; see sampling_kernels.h. A block
// takes one piece of work after the other.
#include "backend/cuda/kernels/sampling_kernels.h"
#include "backend/cuda/kernels/sampling_list.cuh"
#include "backend/cuda/kernels/sampling_slow.cuh"

namespace quire::cuda::sampling {
namespace {

// Writes the row's rank and its best. The whole last block; space: TileReader::kRingBytes.
__device__ __noinline__ void FinishRank(const SamplingArgs& args, const Scratch& scratch, int row,
                                        int top, void* space) {
  __shared__ Key shared[kWarps];
  RowState* state = scratch.state(row);
  const auto listed = static_cast<int>(__ldcg(&state->listed));
  __syncthreads();
  if (threadIdx.x == 0) {
    if (args.ranks != nullptr) {
      args.ranks[row] = 1 + static_cast<std::int32_t>(__ldcg(&state->greater));
    }
    state->greater = 0;
    state->listed = 0;
  }
  if (top <= 0) return;
  const float* logits = args.logits + row * args.logits_stride;
  TokenLogprob* out = args.top + std::int64_t{row} * args.max_top;
  const auto entry = [&](Key key) {
    const double logprob = static_cast<double>(LogitOf(key)) - state->log_sum;
    return TokenLogprob{TokenOf(key), static_cast<float>(logprob)};
  };
  if (listed > kListSize) {
    Key last = 0;  // no token's key: it would be a NaN's
    for (int i = 0; i < top && i < args.vocab; ++i) {
      last = SlowNextKey(logits, args.vocab, scratch.tiles, last, shared);
      if (threadIdx.x == 0) out[i] = entry(last);
    }
    return;
  }
  Key* keys = static_cast<Key*>(space);
  SortList(scratch.list(row), listed, keys);
  for (int i = static_cast<int>(threadIdx.x); i < min(top, listed); i += kThreads) {
    out[i] = entry(keys[i]);
  }
  // Where that was all: those of no probability, by their ids.
  if (threadIdx.x != 0) return;
  for (int i = listed, id = 0; i < top && id < args.vocab; ++id) {
    if (logits[id] == -kInfinity) out[i++] = entry(KeyOf(logits[id], id));
  }
}

// Tiles of a row, in one of work.blocks blocks that share it.
__device__ __forceinline__ void RankTiles(const SamplingArgs& args, const Scratch& scratch, int row,
                                          int top, const Work& work, int block, char* dynamic) {
  __shared__ std::uint32_t shared[kWarps];
  List& list = *reinterpret_cast<List*>(dynamic + TileReader::kRingBytes);
  const float* logits = args.logits + row * args.logits_stride;
  RowState* state = scratch.state(row);
  const int end = work.end(block);
  TileReader reader(logits, args.vocab, work.begin(block), end, dynamic);
  const Bins bins = state->raw;
  const int last_bin = top > 0 ? state->cut.list_end : 0;
  const float list_end = last_bin < kBins ? static_cast<float>(last_bin) : kInfinity;
  const float own = logits[state->token];
  Key* row_list = scratch.list(row);
  if (threadIdx.x == 0) list.count = 0;
  __syncthreads();

  std::uint32_t greater = 0;
  for (int tile = work.begin(block); tile < end; ++tile) {
    float x[kHeld];
    reader.Read(tile, x);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) greater += x[i] > own ? 1 : 0;
    if (top <= 0) continue;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const bool listed = x[i] > -kInfinity && (bins.max - x[i]) * bins.per_logit < list_end;
      if (listed) list.Add(KeyOf(x[i], IdOf(tile, i)), row_list, &state->listed);
    }
  }
  greater = BlockTotal(greater, shared);
  if (threadIdx.x == 0 && greater > 0) atomicAdd(&state->greater, greater);
  Publish(list, row_list, &state->listed);
  if (IsLastBlock(&state->arrived, work.blocks)) FinishRank(args, scratch, row, top, dynamic);
}

__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    RankKernel(const __grid_constant__ SamplingArgs args, const __grid_constant__ Score score,
               const __grid_constant__ Scratch scratch, int at_once) {
  extern __shared__ __align__(16) char dynamic[];
  WaitForPrevious();
  LetNextStart();
  const Work work(args.rows, scratch.tiles, at_once);
  for (int item = static_cast<int>(blockIdx.x); item < work.items;
       item += static_cast<int>(gridDim.x)) {
    __syncthreads();
    const int row = item / work.blocks;
    if (scratch.state(row)->token < 0) continue;
    const Plan plan = score.given ? Plan{} : PlanOf(args, row);
    const int top = score.given ? score.top : plan.top;
    if (!score.given && !plan.rank && top <= 0) continue;
    RankTiles(args, scratch, row, top, work, item % work.blocks, dynamic);
  }
}

}  // namespace

void LaunchRank(const SamplingArgs& args, const Score& score, const Scratch& scratch,
                cudaStream_t stream) {
  LaunchWorkers(RankKernel, args.rows, scratch, kListBytes, stream, args, score, scratch);
}

}  // namespace quire::cuda::sampling
