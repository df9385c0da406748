// The draw from what a row's cut leaves; see sampling_kernels.h. Tokens of the bins before the cut
// race as they are read, those around it are listed; the row's last block sorts these and lets
// those that are kept race too. A list that runs over is left to sampling_slow.cuh. A block takes
// one piece of work after the other.
#include "backend/cuda/kernels/sampling_kernels.h"
#include "backend/cuda/kernels/sampling_list.cuh"
#include "backend/cuda/kernels/sampling_slow.cuh"

namespace quire::cuda::sampling {
namespace {

// The best of the tokens in a sorted list that the cut keeps. The whole block.
__device__ void DrawFromList(const Plan& plan, const Bins& bins, const Cut& cut, const Key* keys,
                             int count, Race* race) {
  __shared__ double real[kWarps];
  __shared__ std::uint32_t whole[kWarps];
  const int own = CeilDiv(count, kThreads);
  const int first = min(static_cast<int>(threadIdx.x) * own, count);
  const int end = min(first + own, count);
  const auto bin_of = [&](int i) { return BinOf(bins, bins.max - LogitOf(keys[i])); };
  const auto weight = [&](int i) {
    return static_cast<double>(Exp2((LogitOf(keys[i]) - bins.max) * plan.scale));
  };
  std::uint32_t others = 0;  // in bins before k_bin
  double sum = 0;
  for (int i = first; i < end; ++i) {
    const int bin = bin_of(i);
    others += bin < cut.k_bin ? 1 : 0;
    sum += weight(i);
  }
  const int k_begin = static_cast<int>(BlockTotal(others, whole));
  const auto is_best = [&](int i, int bin) {
    return cut.k_bin < 0 || bin < cut.k_bin || i - k_begin < cut.k_need;
  };
  double total = cut.total;
  if (cut.k_bin >= 0) {
    double k_sum = 0;
    for (int i = first; i < end; ++i) {
      const int bin = bin_of(i);
      if (bin == cut.k_bin && is_best(i, bin)) k_sum += weight(i);
    }
    total = cut.k_mass + BlockTotal(k_sum, real);
  }
  const double target = static_cast<double>(plan.top_p) * total;
  double before = cut.mass + BlockBefore(sum, real);
  for (int i = first; i < end; ++i) {
    const int bin = bin_of(i);
    const bool reached =
        plan.top_p < 1.0F && (bin >= cut.list_end || (before >= target && (i > 0 || cut.sure > 0)));
    if (is_best(i, bin) && !reached) race->Meet(LogitOf(keys[i]), TokenOf(keys[i]));
    before += weight(i);
  }
}

// The tokens of a tile: those of bins below cut.sure race, those around the cut are listed.
__device__ __forceinline__ void SortOut(const Bins& bins, const Cut& cut, int tile, float* x,
                                        Race* race, std::uint32_t* reach, List* list, Key* row_list,
                                        std::uint32_t* count) {
  const float sure = cut.sure < kBins ? static_cast<float>(cut.sure) : kInfinity;
  const float end = cut.list_end < kBins ? static_cast<float>(cut.list_end) : kInfinity;
  const float k_begin = cut.k_bin >= cut.list_end ? static_cast<float>(cut.k_bin) : kInfinity;
  const float k_end = cut.k_bin < kBins - 1 ? static_cast<float>(cut.k_bin + 1) : kInfinity;
  std::uint32_t listed = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const float at = (bins.max - x[i]) * bins.per_logit;  // its bin is the whole part
    const bool in = at < end ? !(at < sure) : at >= k_begin && at < k_end;
    if (in && x[i] > -kInfinity) listed |= 1U << i;
  }
  while (listed != 0) {
    const int which = __ffs(static_cast<int>(listed)) - 1;
    listed &= listed - 1;
    float logit = x[0];
#pragma unroll
    for (int i = 1; i < kHeld; ++i) logit = i == which ? x[i] : logit;
    list->Add(KeyOf(logit, IdOf(tile, which)), row_list, count);
  }
  if (cut.sure == 0) return;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (!((bins.max - x[i]) * bins.per_logit < sure)) x[i] = -kInfinity;
  }
  race->MeetTile(x, tile, reach);
}

// The tokens of the row's list meet those that have raced. space: TileReader::kRingBytes. The whole
// last block; not inlined, so that it takes no registers from the others.
template <bool kChanges>
__device__ __noinline__ void FinishDraw(const SamplingArgs& args, const Scratch& scratch, int row,
                                        int blocks, void* space, ChangeSpace* change_space) {
  __shared__ Best shared[kWarps];
  RowState* state = scratch.state(row);
  const Plan plan = PlanOf(args, row);
  const Bins bins = state->bins;
  Race race{{state->key0, state->key1}, plan.scale};
  for (int i = static_cast<int>(threadIdx.x); i < blocks; i += kThreads) {
    race.best.Meet(LoadFresh(scratch.bests(row) + i));
  }
  const auto listed = static_cast<int>(__ldcg(&state->listed));
  if (listed > kListSize) {
    race.best = NoneYet();
    SlowRace<kChanges>(args, plan, row, bins, scratch.tiles, change_space, &race);
  } else if (listed > 0) {
    Key* keys = static_cast<Key*>(space);
    SortList(scratch.list(row), listed, keys);
    DrawFromList(plan, bins, state->cut, keys, listed, &race);
  }
  const Best drawn = BlockBest(race.best, shared);
  if (threadIdx.x != 0) return;
  state->listed = 0;
  state->token = drawn.token == kNoToken ? -1 : drawn.token;
  WriteToken(args, plan, row, state->log_sum, state->token);
}

// Tiles of a row, in one of work.blocks blocks that share it.
template <bool kChanges>
__device__ __forceinline__ void DrawTiles(const SamplingArgs& args, const Scratch& scratch, int row,
                                          const Work& work, int block, char* dynamic) {
  __shared__ Best shared[kWarps];
  __shared__ std::uint32_t reach;
  List& list = *reinterpret_cast<List*>(dynamic + TileReader::kRingBytes);
  auto* change_space =
      reinterpret_cast<ChangeSpace*>(dynamic + TileReader::kRingBytes + kListBytes);
  RowState* state = scratch.state(row);
  const int end = work.end(block);
  TileReader reader(args.logits + row * args.logits_stride, args.vocab, work.begin(block), end,
                    dynamic);
  const Plan plan = PlanOf(args, row);
  const Bins bins = state->bins;
  const Cut cut = state->cut;
  Race race{{state->key0, state->key1}, plan.scale};
  Key* row_list = scratch.list(row);
  if (threadIdx.x == 0) {
    list.count = 0;
    reach = 0;
  }
  __syncthreads();

  for (int tile = work.begin(block); tile < end; ++tile) {
    float x[kHeld];
    reader.Read(tile, x);
    if constexpr (kChanges) {
      if (plan.changes) ApplyChanges(args, plan, row, tile, x, change_space);
    }
    if (plan.min_p > 0.0F) DropBelow(plan, bins, x);
    SortOut(bins, cut, tile, x, &race, &reach, &list, row_list, &state->listed);
  }
  Publish(list, row_list, &state->listed);
  const Best best = BlockBest(race.best, shared);
  if (threadIdx.x == 0) scratch.bests(row)[block] = best;
  if (!IsLastBlock(&state->arrived, work.blocks)) return;
  FinishDraw<kChanges>(args, scratch, row, work.blocks, dynamic, change_space);
}

template <bool kChanges>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    DrawKernel(const __grid_constant__ SamplingArgs args, const __grid_constant__ Scratch scratch,
               int at_once) {
  extern __shared__ __align__(16) char dynamic[];
  WaitForPrevious();
  LetNextStart();
  Head* head = scratch.head();
  const Work work(static_cast<int>(head->queued[kToDraw]), scratch.tiles, at_once);
  for (int item = static_cast<int>(blockIdx.x); item < work.items;
       item += static_cast<int>(gridDim.x)) {
    __syncthreads();
    const int row = scratch.state(item / work.blocks)->queue[kToDraw];
    DrawTiles<kChanges>(args, scratch, row, work, item % work.blocks, dynamic);
  }
  // The queues are empty again once all blocks have seen them.
  if (threadIdx.x == 0 && atomicAdd(&head->done, 1U) == gridDim.x - 1) *head = Head{};
}

}  // namespace

void LaunchDraw(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                cudaStream_t stream) {
  LaunchWorkers(needs.changes ? DrawKernel<true> : DrawKernel<false>, args.rows, scratch,
                kListBytes + (needs.changes ? sizeof(ChangeSpace) : 0), stream, args, scratch);
}

}  // namespace quire::cuda::sampling
