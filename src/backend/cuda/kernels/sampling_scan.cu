// The first kernel of sampling; see sampling_kernels.h. Grid: [blocks of tiles, rows].
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

// -- the row, once all blocks are done ------------------------------------------------------------

// Several blocks' partials as one, of later tiles each. One warp.
__device__ Partial PutTogether(const Partial* partials, int count) {
  Partial all = NothingYet();
  for (int i = static_cast<int>(threadIdx.x) % 32; i < count; i += 32) {
    const Partial one = LoadFresh(partials + i);
    if (one.max > all.max) all.first = one.first;
    all.max = MaxOrNan(all.max, one.max);
    all.raw_max = MaxOrNan(all.raw_max, one.raw_max);
    all.raw_min = fminf(all.raw_min, one.raw_min);
    all.best.Meet(one.best);
  }
  const float own = all.max;
  all.max = WarpMax(own);
  all.first = __reduce_min_sync(0xFFFFFFFFU, own == all.max ? all.first : kNoToken);
  all.raw_max = WarpMax(all.raw_max);
  all.raw_min = -WarpMax(-all.raw_min);
  all.best = WarpBest(all.best);
  return all;
}

// ln Σ exp(logit) of the row. The whole block.
__device__ double LogSum(const float2* sums, int stripes, float max) {
  __shared__ double shared[kWarps];
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < stripes; i += kThreads) {
    const float2 stripe = __ldcg(sums + i);
    if (stripe.y > 0.0F) sum += double{stripe.y} * double{expf(stripe.x - max)};
  }
  return static_cast<double>(max) + log(BlockTotal(sum, shared));
}

// What the row's partials say, and its token where that is known now; true where it is to be drawn
// from the k best. One thread.
__device__ bool FinishRow(const SamplingArgs& args, const Score& score, const Scratch& scratch,
                          const Plan& plan, int row, const Partial& all) {
  RowState* state = scratch.state(row);
  state->raw = BinsOf(all.raw_max, all.raw_min, kLog2E);
  state->token = -1;
  const bool good = IsFinite(all.raw_max) && IsFinite(all.max);
  if (score.given) {
    const std::int32_t token = args.tokens[row];
    const bool known = good && token >= 0 && token < args.vocab;
    args.faults[row] = known ? 0 : 1;
    if (!known) return false;
    state->token = token;
    const float raw = args.logits[row * args.logits_stride + token];
    args.logprobs[row] = static_cast<float>(static_cast<double>(raw) - state->log_sum);
    return false;
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
    const bool direct = ListsDirectly(plan.top_k, args.vocab);
    const bool uncut = plan.top_k == 0 && plan.top_p == 1.0F;
    if (!direct) scratch.Enqueue(uncut ? kToDraw : kToCheck, row);
    return direct;
  }
  const std::int32_t token = !good ? -1 : plan.random ? best.token : all.first;
  state->token = token;
  WriteToken(args, plan, row, state->log_sum, token);
  return false;
}

// Lets the tokens from the k-th greatest maximum of a stripe on be listed. shared: [kTile]. The
// whole block.
__device__ void ListBest(const Scratch& scratch, const Plan& plan, int row, std::uint32_t* shared) {
  constexpr int kMost = 1023;  // whose counts fit 10 bits
  const int count = min(scratch.tiles * kWarps, kMost);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    shared[i] = Rising(__ldcg(scratch.maxima(row) + i));
  }
  __syncthreads();
  if (threadIdx.x >= 32) return;
  const auto k = static_cast<std::uint32_t>(plan.top_k);
  std::uint32_t found = 0;  // the greatest that k of them reach, from its high bits down
  for (int shift = 30; shift >= 0; shift -= 2) {
    std::uint32_t reached = 0;  // for 1, 2 and 3 as the next two bits
    for (int i = static_cast<int>(threadIdx.x); i < count; i += 32) {
      for (std::uint32_t bits = 1; bits <= 3; ++bits) {
        reached += shared[i] >= (found | bits << shift) ? 1U << 10 * (bits - 1) : 0;
      }
    }
    reached = __reduce_add_sync(0xFFFFFFFFU, reached);
    std::uint32_t most = 0;
    for (std::uint32_t bits = 1; bits <= 3; ++bits) {
      if ((reached >> 10 * (bits - 1) & 1023U) >= k) most = bits;
    }
    found |= most << shift;
  }
  if (threadIdx.x != 0) return;
  RowState* state = scratch.state(row);
  const float least = FromRising(found);
  // Bin 0 holds them all; or all tokens, where so few stripes hold any.
  const bool bounded = least > -kInfinity;
  const float width = bounded ? (state->bins.max - least) * 1.001F : 0.0F;
  state->bins.width = width;
  state->bins.per_logit = width > 0.0F ? 1.0F / width : bounded ? 1e30F : 0.0F;
  state->cut = {0, 1, 0, plan.top_k, 0.0, 0.0, 0.0};
  scratch.Enqueue(kToDraw, row);
}

// The last block of a row. Not inlined, so that it takes no registers from the others.
__device__ __noinline__ void FinishScan(const SamplingArgs& args, const Score& score,
                                        const Scratch& scratch, int row, void* space) {
  __shared__ Partial whole;
  __shared__ bool best;
  const Plan plan = PlanFor(args, score, row);
  if (threadIdx.x < 32) {
    const Partial all = PutTogether(scratch.partials(row), static_cast<int>(gridDim.x));
    if (threadIdx.x == 0) whole = all;
  }
  if (plan.logprobs) {
    __syncthreads();
    const double log_sum = LogSum(scratch.sums(row), scratch.tiles * kWarps, whole.raw_max);
    if (threadIdx.x == 0) scratch.state(row)->log_sum = log_sum;
  }
  if (threadIdx.x == 0) best = FinishRow(args, score, scratch, plan, row, whole);
  if (!ListsDirectly(plan.top_k, args.vocab)) return;
  __syncthreads();
  if (best) ListBest(scratch, plan, row, static_cast<std::uint32_t*>(space));
}

// -- a block --------------------------------------------------------------------------------------

// What a warp has seen so far.
struct Seen {
  float raw_max = -kInfinity, raw_min = kInfinity;  // of the lane
  std::uint32_t max = 0;                            // after changes, Rising; of the warp
  std::int32_t first = kNoToken;                    // the lowest id of the lane that has it

  __device__ void Meet(const float* x, float held, std::uint32_t rising, int tile) {
    if (rising <= max) return;
    max = rising;
    first = kNoToken;
    if (Rising(held) != rising) return;
#pragma unroll
    for (int i = kHeld - 1; i >= 0; --i) first = x[i] == held ? IdOf(tile, i) : first;
  }
};

__device__ __forceinline__ void SumStripe(const float* x, std::uint32_t rising, float2* out) {
  const float max = FromRising(rising);
  float sum = 0.0F;
  if (max > -kInfinity) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) sum += Exp2((x[i] - max) * kLog2E);
  }
  sum = WarpSum(sum);
  if (threadIdx.x % 32 == 0) *out = {max, sum};
}

// The block's partial from those of its warps. Thread 0 writes it.
__device__ __forceinline__ void WritePartial(const Seen& seen, const Race& race, Partial* warps,
                                             Partial* out) {
  Partial own;
  own.raw_max = WarpMax(seen.raw_max);
  own.raw_min = -WarpMax(-seen.raw_min);
  own.max = seen.max == 0 ? -kInfinity : FromRising(seen.max);
  own.first = __reduce_min_sync(0xFFFFFFFFU, seen.first);
  own.best = WarpBest(race.best);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = own;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kWarps; ++i) {
    const Partial& one = warps[i];
    if (one.max > own.max) own.first = kNoToken;
    if (one.max >= own.max) own.first = min(own.first, one.first);
    own.max = MaxOrNan(own.max, one.max);
    own.raw_max = MaxOrNan(own.raw_max, one.raw_max);
    own.raw_min = fminf(own.raw_min, one.raw_min);
    own.best.Meet(one.best);
  }
  *out = own;
}

// That run at once on a multiprocessor.
constexpr int BlocksOfScan(bool random, bool changes) { return random || changes ? 4 : 6; }

template <bool kRandom, bool kChanges>
__global__ void __launch_bounds__(kThreads, BlocksOfScan(kRandom, kChanges))
    ScanKernel(const __grid_constant__ SamplingArgs args, const __grid_constant__ Score score,
               const __grid_constant__ Scratch scratch, const __grid_constant__ Work work) {
  extern __shared__ __align__(16) char dynamic[];
  __shared__ Partial warps[kWarps];
  __shared__ std::uint32_t reach;
  auto* change_space = reinterpret_cast<ChangeSpace*>(dynamic + TileReader::kRingBytes);
  WaitForPrevious();
  LetNextStart();
  const int row = static_cast<int>(blockIdx.y);
  const int begin = work.begin(static_cast<int>(blockIdx.x));
  const int end = work.end(static_cast<int>(blockIdx.x));
  TileReader reader(args.logits + row * args.logits_stride, args.vocab, begin, end, dynamic);
  const Plan plan = PlanFor(args, score, row);
  RowState* state = scratch.state(row);
  if (plan.slot < 0) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
      args.tokens[row] = state->token = -1;
      args.faults[row] = 0;
    }
    return reader.Drain();
  }
  const bool direct = ListsDirectly(plan.top_k, args.vocab);
  Race race{{}, plan.scale};
  if constexpr (kRandom) {
    if (plan.random && !direct) race.key = RaceKeyOf(args.how[row]);
    if (threadIdx.x == 0) reach = 0;
    __syncthreads();
  }

  Seen seen;
  for (int tile = begin; tile < end; ++tile) {
    const int stripe = tile * kWarps + static_cast<int>(threadIdx.x) / 32;
    float x[kHeld];
    reader.Read(tile, x);
    float held = GreatestHeld(x);
    std::uint32_t rising = WarpRising(held);
    seen.raw_max = MaxOrNan(seen.raw_max, held);
    if (plan.top > 0) seen.raw_min = fminf(seen.raw_min, LeastHeld(x));
    if (plan.logprobs) SumStripe(x, rising, scratch.sums(row) + stripe);
    if constexpr (kChanges) {
      if (plan.changes) {
        ApplyChanges(args, plan, row, tile, x, change_space);
        held = GreatestHeld(x);
        rising = WarpRising(held);
      }
    }
    seen.Meet(x, held, rising, tile);
    if constexpr (kRandom) {
      if (direct && threadIdx.x % 32 == 0) scratch.maxima(row)[stripe] = FromRising(rising);
      if (plan.random && !direct) race.MeetTile(x, tile, &reach);
    }
  }
  WritePartial(seen, race, warps, scratch.partials(row) + blockIdx.x);
  if (!IsLastBlock(&state->arrived, gridDim.x)) return;
  FinishScan(args, score, scratch, row, dynamic);
}

}  // namespace

void LaunchScan(const SamplingArgs& args, const SamplingNeeds& needs, const Score& score,
                const Scratch& scratch, cudaStream_t stream) {
  const auto launch = [&](auto kernel, bool random, bool changes) {
    const int at_once = BlocksOfScan(random, changes) * NumMultiprocessors();
    const Work work(args.rows, scratch.tiles, at_once);
    const dim3 grid(static_cast<unsigned>(work.blocks), static_cast<unsigned>(args.rows));
    const std::size_t bytes = TileReader::kRingBytes + (changes ? sizeof(ChangeSpace) : 0);
    if (changes) AllowSharedMemory(kernel, bytes);
    Launch(kernel, grid, kThreads, bytes, stream, args, score, scratch, work);
  };
  if (needs.random && needs.changes) return launch(ScanKernel<true, true>, true, true);
  if (needs.random) return launch(ScanKernel<true, false>, true, false);
  if (needs.changes) return launch(ScanKernel<false, true>, false, true);
  launch(ScanKernel<false, false>, false, false);
}

}  // namespace quire::cuda::sampling
