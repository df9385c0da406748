// The kernels of sampling that look for a cut through a row's tokens, and then at the tokens around
// it; see sampling_kernels.h. Grid: [blocks of segments, rows].
//
// First a histogram of a row's logits tells the bins that the cut goes through. Then their tokens
// are listed; the row's last block sorts them and finds the cut to the token, while those of the
// bins before have been looked at by all blocks. A list that runs over is left to
// sampling_slow.cuh.
#include "backend/cuda/kernels/sampling_kernels.h"
#include "backend/cuda/kernels/sampling_slow.cuh"

namespace quire::cuda::sampling {
namespace {

using Key = unsigned long long;

// -- the histogram --------------------------------------------------------------------------------

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

// kRaw: counts the raw logits of rows that ask for the best; else those of rows that draw.
template <bool kRaw, bool kChanges>
__global__ void __launch_bounds__(kThreads)
    HistogramKernel(SamplingArgs args, Score score, Scratch scratch, int per_block) {
  __shared__ Histogram histogram;
  extern __shared__ __align__(16) char dynamic[];
  WaitForPrevious();
  LetNextStart();
  const int row = static_cast<int>(blockIdx.y);
  RowState* state = scratch.state(row);
  if (kRaw ? state->token < 0 : !state->draw) return;
  Plan plan = score.given ? Plan{} : PlanOf(args, row);
  if constexpr (kRaw) {
    const int top = score.given ? score.top : plan.top;
    if (top <= 0) return;
    plan = Plan{};
    plan.top_k = top;
  }
  if (plan.top_k == 0 && plan.top_p == 1.0F) return;  // min_p alone asks for no cut
  const bool counted = plan.top_k > 0;
  const bool weighed = plan.top_p < 1.0F;
  const Bins bins = kRaw ? state->raw : state->bins;
  Clear(histogram.counts, kBins);
  Clear(histogram.parts, kBins);
  __syncthreads();

  const float* logits = args.logits + row * args.logits_stride;
  const int end = min((static_cast<int>(blockIdx.x) + 1) * per_block, scratch.segments);
  for (int s = static_cast<int>(blockIdx.x) * per_block; s < end; ++s) {
    float x[kHeld];
    LoadSegment(logits, args.vocab, s, -kInfinity, x);
    if constexpr (kChanges) {
      if (plan.changes) {
        ApplyChanges(args, plan, row, s, x, reinterpret_cast<ChangeSpace*>(dynamic));
      }
    }
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const float y = bins.max - x[i];
      const bool held = kRaw ? IdOf(s, i) < args.vocab : x[i] > -kInfinity;
      if (!held || (plan.min_p > 0.0F && !(Exp2(-y * plan.scale) >= plan.min_p))) continue;
      const int bin = BinOf(bins, y);
      if (counted) atomicAdd(&histogram.counts[bin], 1U);
      if (weighed) atomicAdd(&histogram.parts[bin], PartsOf(bins, bin, y, plan.scale));
    }
  }
  __syncthreads();
  std::uint32_t* counts = scratch.counts(row);
  Key* masses = scratch.masses(row);
  for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kThreads) {
    if (histogram.counts[i] != 0) atomicAdd(counts + i, histogram.counts[i]);
    if (histogram.parts[i] != 0) atomicAdd(masses + i, Key{histogram.parts[i]});
  }
  if (IsLastBlock(&state->arrived, gridDim.x)) FindCut(plan, bins, counts, masses, &state->cut);
}

// -- the list -------------------------------------------------------------------------------------

// Keys that a block has met; more than kListSize are only counted.
struct List {
  Key keys[kListSize];
  std::uint32_t count;
  __device__ void Add(Key key) {
    const std::uint32_t at = atomicAdd(&count, 1U);
    if (at < kListSize) keys[at] = key;
  }
};

// Appends the block's list to the row's.
__device__ void Publish(const List& list, Key* row_list, std::uint32_t* listed) {
  __shared__ std::uint32_t start;
  __syncthreads();
  if (threadIdx.x == 0) start = list.count > 0 ? atomicAdd(listed, list.count) : 0;
  __syncthreads();
  const std::uint32_t count = min(list.count, static_cast<std::uint32_t>(kListSize));
  for (std::uint32_t i = threadIdx.x; i < count && start + i < kListSize; i += kThreads) {
    row_list[start + i] = list.keys[i];
  }
}

// Loads the row's list and sorts it: the best first.
__device__ void SortList(const Key* row_list, int count, Key* keys) {
  int size = 32;
  while (size < count) size *= 2;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) {
    keys[i] = i < count ? __ldcg(row_list + i) : ~Key{0};
  }
  for (int run = 2; run <= size; run *= 2) {
    for (int step = run / 2; step > 0; step /= 2) {
      __syncthreads();
      for (int t = static_cast<int>(threadIdx.x); t < size / 2; t += kThreads) {
        const int a = 2 * t - (t & (step - 1));
        const int b = a + step;
        const bool descending = (a & run) != 0;
        const Key low = keys[a], high = keys[b];
        if ((low > high) != descending) {
          keys[a] = high;
          keys[b] = low;
        }
      }
    }
  }
  __syncthreads();
}

// The best of the tokens in a sorted list that the cut keeps. The whole block.
__device__ void DrawFromList(const Plan& plan, const Bins& bins, const Cut& cut, const Key* keys,
                             int count, Race* race) {
  __shared__ double real[kWarps];
  __shared__ std::uint32_t whole[kWarps];
  const int own = CeilDiv(count, kThreads);
  const int first = min(static_cast<int>(threadIdx.x) * own, count);
  const int end = min(first + own, count);
  const auto bin_of = [&](int i) { return BinOf(bins, bins.max - LogitOf(keys[i])); };
  const auto weight = [&](int i, int bin) {
    const float y = bins.max - LogitOf(keys[i]);
    return static_cast<double>(PartsOf(bins, bin, y, plan.scale)) * PartOf(bins, bin, plan.scale);
  };
  std::uint32_t others = 0;  // in bins before k_bin
  double sum = 0;
  for (int i = first; i < end; ++i) {
    const int bin = bin_of(i);
    others += bin < cut.k_bin ? 1 : 0;
    sum += weight(i, bin);
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
      if (bin == cut.k_bin && is_best(i, bin)) k_sum += weight(i, bin);
    }
    total = cut.k_mass + BlockTotal(k_sum, real);
  }
  const double target = static_cast<double>(plan.top_p) * total;
  double before = cut.mass + BlockBefore(sum, real);
  for (int i = first; i < end; ++i) {
    const int bin = bin_of(i);
    const bool reached =
        plan.top_p < 1.0F && (bin >= cut.list_end || (before >= target && (i > 0 || cut.sure > 0)));
    if (is_best(i, bin) && !reached) race->MeetExactly(LogitOf(keys[i]), TokenOf(keys[i]), plan);
    before += weight(i, bin);
  }
}

// -- the draw -------------------------------------------------------------------------------------

template <bool kChanges>
__global__ void __launch_bounds__(kThreads, 4)
    DrawKernel(SamplingArgs args, Scratch scratch, int per_block) {
  extern __shared__ __align__(16) char dynamic[];
  __shared__ Best shared[kWarps];
  List& list = *reinterpret_cast<List*>(dynamic);
  auto* space = reinterpret_cast<ChangeSpace*>(dynamic + sizeof(List));
  WaitForPrevious();
  LetNextStart();
  const int row = static_cast<int>(blockIdx.y);
  RowState* state = scratch.state(row);
  if (!state->draw) return;
  const Plan plan = PlanOf(args, row);
  const Bins bins = state->bins;
  const Cut cut = state->cut;
  if (threadIdx.x == 0) list.count = 0;
  __syncthreads();

  Race race;
  const float* logits = args.logits + row * args.logits_stride;
  const int end = min((static_cast<int>(blockIdx.x) + 1) * per_block, scratch.segments);
  for (int s = static_cast<int>(blockIdx.x) * per_block; s < end; ++s) {
    float x[kHeld];
    LoadSegment(logits, args.vocab, s, -kInfinity, x);
    if constexpr (kChanges) {
      if (plan.changes) ApplyChanges(args, plan, row, s, x, space);
    }
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const float y = bins.max - x[i];
      const int bin = BinOf(bins, y);
      const bool kept =
          x[i] > -kInfinity && !(plan.min_p > 0.0F && !(Exp2(-y * plan.scale) >= plan.min_p));
      if (kept && bin >= cut.sure && (bin < cut.list_end || bin == cut.k_bin)) {
        list.Add(KeyOf(x[i], IdOf(s, i)));
      }
      x[i] = kept && bin < cut.sure ? x[i] : -kInfinity;
    }
    if (cut.sure > 0) race.Meet(x, s, bins.max, plan);
  }
  Key* row_list = scratch.list(row);
  Publish(list, row_list, &state->listed);
  const Best best = BlockBest(race.best, shared);
  Partial* partials = scratch.partials(row);
  if (threadIdx.x == 0) partials[blockIdx.x].best = best;
  if (!IsLastBlock(&state->arrived, gridDim.x)) return;

  race.best = NoneYet();
  for (int i = static_cast<int>(threadIdx.x); i < static_cast<int>(gridDim.x); i += kThreads) {
    const Partial one = LoadFresh(partials + i);
    race.best.Meet(one.best.score, one.best.token);
  }
  const auto listed = static_cast<int>(__ldcg(&state->listed));
  if (listed > kListSize) {
    race.best = SlowBest<kChanges>(args, plan, row, bins, scratch.segments, space);
  } else if (listed > 0) {
    SortList(row_list, listed, list.keys);
    DrawFromList(plan, bins, cut, list.keys, listed, &race);
  }
  const Best drawn = BlockBest(race.best, shared);
  if (threadIdx.x != 0) return;
  state->listed = 0;
  state->token = drawn.token == kNoToken ? -1 : drawn.token;
  WriteToken(args, plan, row, state->log_sum, state->token);
}

// -- rank and the best ----------------------------------------------------------------------------

__global__ void __launch_bounds__(kThreads)
    RankKernel(SamplingArgs args, Score score, Scratch scratch, int per_block) {
  extern __shared__ __align__(16) char dynamic[];
  List& list = *reinterpret_cast<List*>(dynamic);
  __shared__ std::uint32_t whole[kWarps];
  __shared__ Key next[kWarps];
  WaitForPrevious();
  LetNextStart();
  const int row = static_cast<int>(blockIdx.y);
  RowState* state = scratch.state(row);
  const std::int32_t token = state->token;
  if (token < 0) return;
  const Plan plan = score.given ? Plan{} : PlanOf(args, row);
  const bool ranked = score.given || plan.rank;
  const int top = score.given ? score.top : plan.top;
  if (!ranked && top <= 0) return;
  const Bins bins = state->raw;
  const int list_end = top > 0 ? state->cut.list_end : 0;
  const float* logits = args.logits + row * args.logits_stride;
  const float own = logits[token];
  if (threadIdx.x == 0) list.count = 0;
  __syncthreads();

  std::uint32_t greater = 0;
  const int end = min((static_cast<int>(blockIdx.x) + 1) * per_block, scratch.segments);
  for (int s = static_cast<int>(blockIdx.x) * per_block; s < end; ++s) {
    float x[kHeld];
    LoadSegment(logits, args.vocab, s, -kInfinity, x);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      greater += x[i] > own ? 1 : 0;
      const bool listed = IdOf(s, i) < args.vocab && BinOf(bins, bins.max - x[i]) < list_end;
      if (listed) list.Add(KeyOf(x[i], IdOf(s, i)));
    }
  }
  greater = BlockTotal(greater, whole);
  if (threadIdx.x == 0 && greater > 0) atomicAdd(&state->greater, greater);
  Key* row_list = scratch.list(row);
  Publish(list, row_list, &state->listed);
  if (!IsLastBlock(&state->arrived, gridDim.x)) return;

  if (threadIdx.x == 0) {
    if (args.ranks != nullptr) {
      args.ranks[row] = 1 + static_cast<std::int32_t>(__ldcg(&state->greater));
    }
    state->greater = 0;
  }
  const auto listed = static_cast<int>(__ldcg(&state->listed));
  __syncthreads();
  if (threadIdx.x == 0) state->listed = 0;
  if (top <= 0) return;
  TokenLogprob* out = args.top + std::int64_t{row} * args.max_top;
  const auto entry = [&](Key key) {
    const double logprob = static_cast<double>(LogitOf(key)) - state->log_sum;
    return TokenLogprob{TokenOf(key), static_cast<float>(logprob)};
  };
  if (listed <= kListSize) {
    SortList(row_list, listed, list.keys);
    for (int i = static_cast<int>(threadIdx.x); i < min(top, listed); i += kThreads) {
      out[i] = entry(list.keys[i]);
    }
    return;
  }
  Key last = 0;  // no token's key: it would be a NaN's
  for (int i = 0; i < top && i < args.vocab; ++i) {
    last = SlowNextKey(logits, args.vocab, scratch.segments, last, next);
    if (threadIdx.x == 0) out[i] = entry(last);
  }
}

dim3 Grid(const SamplingArgs& args, const Scratch& scratch, int per_block) {
  return {static_cast<unsigned>(CeilDiv(scratch.segments, per_block)),
          static_cast<unsigned>(args.rows)};
}

}  // namespace

void LaunchFindCut(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                   cudaStream_t stream) {
  const int per_block = SegmentsPerBlock(args.rows, scratch.segments);
  const auto kernel = needs.changes ? HistogramKernel<false, true> : HistogramKernel<false, false>;
  Launch(kernel, Grid(args, scratch, per_block), kThreads, needs.changes ? sizeof(ChangeSpace) : 0,
         stream, args, Score{}, scratch, per_block);
}

void LaunchDraw(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                cudaStream_t stream) {
  const int per_block = SegmentsPerBlock(args.rows, scratch.segments);
  const auto kernel = needs.changes ? DrawKernel<true> : DrawKernel<false>;
  const std::size_t bytes = sizeof(List) + 16 + (needs.changes ? sizeof(ChangeSpace) : 0);
  AllowSharedMemory(kernel, bytes);
  Launch(kernel, Grid(args, scratch, per_block), kThreads, bytes, stream, args, scratch, per_block);
}

void LaunchFindBest(const SamplingArgs& args, const Score& score, const Scratch& scratch,
                    cudaStream_t stream) {
  const int per_block = SegmentsPerBlock(args.rows, scratch.segments);
  Launch(HistogramKernel<true, false>, Grid(args, scratch, per_block), kThreads, 0, stream, args,
         score, scratch, per_block);
}

void LaunchRank(const SamplingArgs& args, const Score& score, const Scratch& scratch,
                cudaStream_t stream) {
  const int per_block = SegmentsPerBlock(args.rows, scratch.segments);
  Launch(RankKernel, Grid(args, scratch, per_block), kThreads, sizeof(List), stream, args, score,
         scratch, per_block);
}

}  // namespace quire::cuda::sampling
