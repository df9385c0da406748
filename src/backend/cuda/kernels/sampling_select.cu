// The kernels of sampling that look for a cut through a row's tokens, and then at the tokens around
// it; see sampling_kernels.h. Grid: [blocks of tiles, rows].
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

// What min_p drops becomes −∞.
__device__ __forceinline__ void DropBelow(const Plan& plan, const Bins& bins, float* x) {
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (!(Exp2((x[i] - bins.max) * plan.scale) >= plan.min_p)) x[i] = -kInfinity;
  }
}

// kRaw: counts the raw logits of rows that ask for the best; else those of rows that draw.
template <bool kRaw, bool kChanges>
__global__ void __launch_bounds__(kThreads)
    HistogramKernel(const __grid_constant__ SamplingArgs args, Score score,
                    const __grid_constant__ Scratch scratch, int per_block) {
  extern __shared__ __align__(16) char dynamic[];
  __shared__ Histogram histogram;
  auto* change_space = reinterpret_cast<ChangeSpace*>(dynamic + TileReader::kRingBytes);
  WaitForPrevious();
  LetNextStart();
  const int row = static_cast<int>(blockIdx.y);
  RowState* state = scratch.state(row);
  if (kRaw ? state->token < 0 : state->stage != Stage::kCut) return;
  Plan plan = score.given ? Plan{} : PlanOf(args, row);
  if constexpr (kRaw) {
    const int top = score.given ? score.top : plan.top;
    if (top <= 0) return;
    plan = Plan{};
    plan.top_k = top;
  }
  if (plan.top_k == 0 && plan.top_p == 1.0F) return;  // min_p alone asks for no cut
  const int begin = static_cast<int>(blockIdx.x) * per_block;
  const int end = min(begin + per_block, scratch.tiles);
  TileReader reader(args.logits + row * args.logits_stride, args.vocab, begin, end, dynamic);
  const bool counted = plan.top_k > 0;
  const bool weighed = plan.top_p < 1.0F;
  const Bins bins = kRaw ? state->raw : state->bins;
  Clear(histogram.counts, kBins);
  Clear(histogram.parts, kBins);
  __syncthreads();

  for (int tile = begin; tile < end; ++tile) {
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
  if (!IsLastBlock(&state->arrived, gridDim.x)) return;
  FindCut(plan, bins, counts, masses, &state->cut);
  if (!kRaw && threadIdx.x == 0) state->stage = Stage::kDraw;
}

// -- the list -------------------------------------------------------------------------------------

// Keys that a block has met. Those that find no room here go to the row's list at once, which
// counts more than it holds.
struct List {
  static constexpr std::uint32_t kRoom = 512;
  Key keys[kRoom];
  std::uint32_t count;

  __device__ static void Append(Key key, Key* row_list, std::uint32_t at) {
    if (at < kListSize) row_list[at] = key;
  }
  __device__ void Add(Key key, Key* row_list, std::uint32_t* listed) {
    const std::uint32_t at = atomicAdd(&count, 1U);
    if (at < kRoom) {
      keys[at] = key;
    } else {
      Append(key, row_list, atomicAdd(listed, 1U));
    }
  }
};
constexpr std::size_t kListBytes = (sizeof(List) + 15) / 16 * 16;
static_assert(kListSize * sizeof(Key) <= TileReader::kRingBytes);  // it is sorted there

// Appends the block's list to the row's.
__device__ void Publish(const List& list, Key* row_list, std::uint32_t* listed) {
  __shared__ std::uint32_t start;
  __syncthreads();
  const std::uint32_t count = min(list.count, List::kRoom);
  if (threadIdx.x == 0 && count > 0) start = atomicAdd(listed, count);
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < count; i += kThreads) {
    List::Append(list.keys[i], row_list, start + i);
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

// -- the draw -------------------------------------------------------------------------------------

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
                                        void* space, ChangeSpace* change_space) {
  __shared__ Best shared[kWarps];
  RowState* state = scratch.state(row);
  const Plan plan = PlanOf(args, row);
  const Bins bins = state->bins;
  Race race{{state->key0, state->key1}, plan.scale};
  for (int i = static_cast<int>(threadIdx.x); i < static_cast<int>(gridDim.x); i += kThreads) {
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
  state->stage = Stage::kDone;
  state->token = drawn.token == kNoToken ? -1 : drawn.token;
  WriteToken(args, plan, row, state->log_sum, state->token);
}

template <bool kChanges>
__global__ void __launch_bounds__(kThreads, 4)
    DrawKernel(const __grid_constant__ SamplingArgs args, const __grid_constant__ Scratch scratch,
               int per_block) {
  extern __shared__ __align__(16) char dynamic[];
  __shared__ Best shared[kWarps];
  __shared__ std::uint32_t reach;
  List& list = *reinterpret_cast<List*>(dynamic + TileReader::kRingBytes);
  auto* change_space =
      reinterpret_cast<ChangeSpace*>(dynamic + TileReader::kRingBytes + kListBytes);
  WaitForPrevious();
  LetNextStart();
  const int row = static_cast<int>(blockIdx.y);
  RowState* state = scratch.state(row);
  if (state->stage != Stage::kDraw) return;
  const int begin = static_cast<int>(blockIdx.x) * per_block;
  const int end = min(begin + per_block, scratch.tiles);
  TileReader reader(args.logits + row * args.logits_stride, args.vocab, begin, end, dynamic);
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

  for (int tile = begin; tile < end; ++tile) {
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
  if (threadIdx.x == 0) scratch.bests(row)[blockIdx.x] = best;
  if (!IsLastBlock(&state->arrived, gridDim.x)) return;
  FinishDraw<kChanges>(args, scratch, row, dynamic, change_space);
}

// -- rank and the best ----------------------------------------------------------------------------

__global__ void __launch_bounds__(kThreads)
    RankKernel(const __grid_constant__ SamplingArgs args, Score score,
               const __grid_constant__ Scratch scratch, int per_block) {
  extern __shared__ __align__(16) char dynamic[];
  List& list = *reinterpret_cast<List*>(dynamic + TileReader::kRingBytes);
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
  const int begin = static_cast<int>(blockIdx.x) * per_block;
  const int end = min(begin + per_block, scratch.tiles);
  TileReader reader(args.logits + row * args.logits_stride, args.vocab, begin, end, dynamic);
  Key* row_list = scratch.list(row);
  const Bins bins = state->raw;
  const int list_end = top > 0 ? state->cut.list_end : 0;
  const float* logits = args.logits + row * args.logits_stride;
  const float own = logits[token];
  if (threadIdx.x == 0) list.count = 0;
  __syncthreads();

  std::uint32_t greater = 0;
  const float list_from = list_end < kBins ? static_cast<float>(list_end) : kInfinity;
  for (int tile = begin; tile < end; ++tile) {
    float x[kHeld];
    reader.Read(tile, x);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) greater += x[i] > own ? 1 : 0;
    if (list_end == 0) continue;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const bool listed = x[i] > -kInfinity && (bins.max - x[i]) * bins.per_logit < list_from;
      if (listed) list.Add(KeyOf(x[i], IdOf(tile, i)), row_list, &state->listed);
    }
  }
  greater = BlockTotal(greater, whole);
  if (threadIdx.x == 0 && greater > 0) atomicAdd(&state->greater, greater);
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
    Key* keys = reinterpret_cast<Key*>(dynamic);
    SortList(row_list, listed, keys);
    for (int i = static_cast<int>(threadIdx.x); i < min(top, listed); i += kThreads) {
      out[i] = entry(keys[i]);
    }
    // Where that was all: those of no probability, by their ids.
    if (threadIdx.x != 0) return;
    for (int i = listed, id = 0; i < top && id < args.vocab; ++id) {
      if (logits[id] == -kInfinity) out[i++] = entry(KeyOf(logits[id], id));
    }
    return;
  }
  Key last = 0;  // no token's key: it would be a NaN's
  for (int i = 0; i < top && i < args.vocab; ++i) {
    last = SlowNextKey(logits, args.vocab, scratch.tiles, last, next);
    if (threadIdx.x == 0) out[i] = entry(last);
  }
}

}  // namespace

void LaunchFindCut(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                   cudaStream_t stream) {
  LaunchTiles(needs.changes ? HistogramKernel<false, true> : HistogramKernel<false, false>,
              args.rows, scratch, needs.changes ? sizeof(ChangeSpace) : 0, stream, args, Score{},
              scratch);
}

void LaunchDraw(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                cudaStream_t stream) {
  LaunchTiles(needs.changes ? DrawKernel<true> : DrawKernel<false>, args.rows, scratch,
              kListBytes + (needs.changes ? sizeof(ChangeSpace) : 0), stream, args, scratch);
}

void LaunchFindBest(const SamplingArgs& args, const Score& score, const Scratch& scratch,
                    cudaStream_t stream) {
  LaunchTiles(HistogramKernel<true, false>, args.rows, scratch, 0, stream, args, score, scratch);
}

void LaunchRank(const SamplingArgs& args, const Score& score, const Scratch& scratch,
                cudaStream_t stream) {
  LaunchTiles(RankKernel, args.rows, scratch, kListBytes, stream, args, score, scratch);
}

}  // namespace quire::cuda::sampling
