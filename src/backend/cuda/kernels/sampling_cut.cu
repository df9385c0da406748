// Where the cut through a row's tokens is; see sampling_kernels.h. A histogram of the row's logits
// tells the bins that the cut of top_k or top_p goes through; the kernels after it list their
// tokens and find the cut to the token. A block takes one piece of work after the other.
#include "backend/cuda/kernels/sampling_kernels.h"

namespace quire::cuda::sampling {
namespace {

using Key = unsigned long long;

struct Histogram {
  std::uint32_t counts[kBins];
  std::uint32_t parts[kBins];
};

template <class T>
__device__ void Clear(T* values, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) values[i] = T{};
}

// The first bin at which `reached` is true of one of this thread's bins; in every thread.
__device__ int FirstBin(const bool* reached, int first, int* shared) {
  __syncthreads();
  if (threadIdx.x == 0) *shared = kBins;
  __syncthreads();
  for (int i = kBins / kThreads - 1; i >= 0; --i) {
    if (reached[i]) atomicMin(shared, first + i);
  }
  __syncthreads();
  return *shared;
}

// Reads and clears the row's histogram and finds the cut of top_k and top_p. The whole block.
__device__ void FindCut(const Plan& plan, const Bins& bins, std::uint32_t* counts, Key* masses,
                        Cut* out) {
  constexpr int kOwn = kBins / kThreads;
  __shared__ std::uint32_t whole[kWarps];
  __shared__ double real[kWarps];
  __shared__ int found;
  __shared__ Cut cut;
  const int first = static_cast<int>(threadIdx.x) * kOwn;
  std::uint32_t count[kOwn], count_sum = 0;
  double mass[kOwn], mass_sum = 0;
  for (int i = 0; i < kOwn; ++i) {
    count_sum += count[i] = __ldcg(counts + first + i);
    mass_sum += mass[i] =
        static_cast<double>(__ldcg(masses + first + i)) * PartOf(bins, first + i, plan.scale);
    counts[first + i] = 0;
    masses[first + i] = 0;
  }
  // From here on: up to and with the bin.
  const std::uint32_t count_before = BlockBefore(count_sum, whole);
  const double mass_before = BlockBefore(mass_sum, real);
  const double all = BlockTotal(mass_sum, real);
  for (int i = 0; i < kOwn; ++i) {
    count[i] += i == 0 ? count_before : count[i - 1];
    mass[i] += i == 0 ? mass_before : mass[i - 1];
  }
  const auto before = [&](int i) { return i == 0 ? mass_before : mass[i - 1]; };
  bool reached[kOwn];
  if (threadIdx.x == 0) {
    cut = KeepAll();
    cut.total = all;
  }
  double least = all, most = all;  // what top_p has to choose from
  int k_bin = kBins;
  if (plan.top_k > 0) {
    for (int i = 0; i < kOwn; ++i) reached[i] = count[i] >= static_cast<std::uint32_t>(plan.top_k);
    k_bin = FirstBin(reached, first, &found);
  }
  if (k_bin < kBins) {
    if (k_bin >= first && k_bin < first + kOwn) {
      const int i = k_bin - first;
      cut.k_bin = k_bin;
      cut.k_need = plan.top_k - static_cast<std::int32_t>(i == 0 ? count_before : count[i - 1]);
      cut.k_mass = before(i);
      cut.total = mass[i];
    }
    __syncthreads();
    least = cut.k_mass;
    most = cut.total;
  }
  int begin = min(k_bin, kBins), end = min(k_bin + 1, kBins);
  if (plan.top_p < 1.0F) {
    const double share = static_cast<double>(plan.top_p);
    for (int i = 0; i < kOwn; ++i) reached[i] = mass[i] >= share * least;
    begin = min(begin, FirstBin(reached, first, &found));
    for (int i = 0; i < kOwn; ++i) reached[i] = mass[i] >= share * most;
    end = min(end, FirstBin(reached, first, &found) + 1);
  }
  // Rounding may have hidden the end of the mass: then only whole bins are left, all kept.
  if (begin >= first && begin < first + kOwn) cut.mass = before(begin - first);
  __syncthreads();
  if (threadIdx.x == 0) {
    cut.sure = begin;
    cut.list_end = max(end, begin);
    *out = cut;
  }
}

// Tiles of a row, in one of work.blocks blocks that share it. kRaw: counts the raw logits of a row
// that asks for the best.
template <bool kRaw, bool kChanges>
__device__ __forceinline__ void CountTiles(const SamplingArgs& args, const Scratch& scratch,
                                           const Plan& plan, int row, const Work& work, int block,
                                           char* dynamic) {
  __shared__ Histogram histogram;
  auto* change_space = reinterpret_cast<ChangeSpace*>(dynamic + TileReader::kRingBytes);
  RowState* state = scratch.state(row);
  const int end = work.end(block);
  TileReader reader(args.logits + row * args.logits_stride, args.vocab, work.begin(block), end,
                    dynamic);
  const bool counted = plan.top_k > 0;
  const bool weighed = plan.top_p < 1.0F;
  const Bins bins = kRaw ? state->raw : state->bins;
  Clear(histogram.counts, kBins);
  Clear(histogram.parts, kBins);
  __syncthreads();

  for (int tile = work.begin(block); tile < end; ++tile) {
    float x[kHeld];
    reader.Read(tile, x);
    if constexpr (kChanges) {
      if (plan.changes) ApplyChanges(args, plan, row, tile, x, change_space);
    }
    if (plan.min_p > 0.0F) DropBelow(plan, bins, x);
    if (counted) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        if (x[i] > -kInfinity) atomicAdd(&histogram.counts[BinOf(bins, bins.max - x[i])], 1U);
      }
    }
    if (weighed) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        const float y = bins.max - x[i];
        const int bin = BinOf(bins, y);
        if (x[i] > -kInfinity) {
          atomicAdd(&histogram.parts[bin], PartsOf(bins, bin, y, plan.scale));
        }
      }
    }
  }
  __syncthreads();
  std::uint32_t* counts = scratch.counts(row);
  Key* masses = scratch.masses(row);
  for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kThreads) {
    if (histogram.counts[i] != 0) atomicAdd(counts + i, histogram.counts[i]);
    if (histogram.parts[i] != 0) atomicAdd(masses + i, Key{histogram.parts[i]});
  }
  if (!IsLastBlock(&state->arrived, work.blocks)) return;
  FindCut(plan, bins, counts, masses, &state->cut);
  if (!kRaw && threadIdx.x == 0) scratch.Enqueue(kToDraw, row);
}

template <bool kChanges>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    CutKernel(const __grid_constant__ SamplingArgs args, const __grid_constant__ Scratch scratch,
              int at_once) {
  extern __shared__ __align__(16) char dynamic[];
  WaitForPrevious();
  LetNextStart();
  const Work work(static_cast<int>(scratch.head()->queued[kToCut]), scratch.tiles, at_once);
  for (int item = static_cast<int>(blockIdx.x); item < work.items;
       item += static_cast<int>(gridDim.x)) {
    __syncthreads();
    const int row = scratch.state(item / work.blocks)->queue[kToCut];
    CountTiles<false, kChanges>(args, scratch, PlanOf(args, row), row, work, item % work.blocks,
                                dynamic);
  }
}

__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    BestKernel(const __grid_constant__ SamplingArgs args, const __grid_constant__ Score score,
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
    Plan plan;
    plan.top_k = score.given ? score.top : PlanOf(args, row).top;
    if (plan.top_k > 0) {
      CountTiles<true, false>(args, scratch, plan, row, work, item % work.blocks, dynamic);
    }
  }
}

}  // namespace

void LaunchFindCut(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                   cudaStream_t stream) {
  LaunchWorkers(needs.changes ? CutKernel<true> : CutKernel<false>, args.rows, scratch,
                needs.changes ? sizeof(ChangeSpace) : 0, stream, args, scratch);
}

void LaunchFindBest(const SamplingArgs& args, const Score& score, const Scratch& scratch,
                    cudaStream_t stream) {
  LaunchWorkers(BestKernel, args.rows, scratch, 0, stream, args, score, scratch);
}

}  // namespace quire::cuda::sampling
