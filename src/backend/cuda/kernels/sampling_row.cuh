// What the kernels of sampling share: what is known of a row from kernel to kernel, how it is
// sampled, and sums over blocks.
//
// A row of logits is cut into tiles of 4,096 tokens; a block of 256 threads holds one in registers,
// 16 tokens a thread. A warp's share of a tile is a stripe. Sums of floats are taken within stripes
// and then over stripes in order, all others are of integers: results do not depend on how tiles
// are dealt to blocks.
#pragma once

#include "backend/cuda/kernels/launch.cuh"
#include "backend/cuda/kernels/sampling.h"

namespace quire::cuda::sampling {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kHeld = 16;  // tokens of a tile that a thread holds
constexpr int kTile = kThreads * kHeld;
constexpr int kStripe = kTile / kWarps;
constexpr int kBins = 1024;      // of a histogram over a row's logits, the greatest first
constexpr int kListSize = 4096;  // tokens of the bins that a row's cut goes through
constexpr float kInfinity = __builtin_inff();
constexpr float kLog2E = 1.44269504088896341F;
constexpr float kGreedyBelow = 1e-5F;  // temperatures that divide no better than 0
constexpr std::int32_t kNoToken = 0x7FFFFFFF;

// -- what is known of a row -----------------------------------------------------------------------

// Which logits fall into which bin: those of y = max − logit in [bin · width, (bin + 1) · width),
// the last without an end.
struct Bins {
  float max;
  float width;
  float per_logit;  // 1 / width, or 0 where all are equal
};

// A row's cut: tokens of bins below `sure` are kept, those of [sure, list_end) and of k_bin go into
// the list, the others are dropped.
struct Cut {
  std::int32_t sure;
  std::int32_t list_end;
  std::int32_t k_bin;   // holds the last of the k best; −1: top_k drops none
  std::int32_t k_need;  // so many of it are among the k best
  double mass;          // of the bins below `sure`
  double k_mass;        // of those below k_bin
  double total;         // of all that top_p has to choose from, where k_bin < 0
};
__device__ constexpr Cut KeepAll() { return {kBins, kBins, -1, 0, 0, 0, 0}; }

// Rows wait in queues for what is to be done with them.
enum Queue : int {
  kToCheck,  // whether the row's token, drawn from all, is one that is kept
  kToCut,    // where its cut is
  kToDraw,   // the draw from what the cut leaves
  kQueues,
};

struct alignas(16) RowState {
  double log_sum;      // ln Σ exp(raw logits)
  std::int32_t token;  // −1: none yet, or none at all
  float logit;         // the token's, while it is to be checked
  Bins raw, bins;      // of the raw logits, and of the changed ones
  Cut cut;
  std::uint32_t key0, key1;     // of the row's random numbers
  std::int32_t queue[kQueues];  // the i-th row's state holds the i-th entry of every queue
  // Counters that the last block sets back to 0.
  std::uint32_t arrived;  // blocks that are done
  std::uint32_t listed;
  std::uint32_t greater;  // tokens with a greater raw logit than `token`
};

// Ahead of the rows' parts of the scratch. The last block of the last kernel sets all back to 0.
struct alignas(256) Head {
  std::uint32_t queued[kQueues];
  std::uint32_t done;  // blocks
};

// The best token so far; the lowest id among equals.
struct alignas(16) Best {
  double score;
  float logit;
  std::int32_t token;
  __device__ void Meet(const Best& other) {
    if (other.score > score || (other.score == score && other.token < token)) *this = other;
  }
};
__device__ constexpr Best NoneYet() {
  return {-static_cast<double>(kInfinity), -kInfinity, kNoToken};
}

// What a block found in its tiles of the row.
struct alignas(16) Partial {
  float raw_max, raw_min;  // the minimum is of finite ones
  float max;               // after changes
  std::int32_t first;      // the lowest id that has max
  Best best;               // where tokens race
};
__device__ constexpr Partial NothingYet() {
  return {-kInfinity, kInfinity, -kInfinity, kNoToken, NoneYet()};
}

// What a block found of the tokens better than the row's.
struct alignas(16) Share {
  std::uint32_t count;
  float min;  // the least finite logit of all
  float unused[2];
};

// The caller's scratch: each row has a part of its own, wherever it stands in its batch.
struct Scratch {
  char* memory;
  std::int32_t tiles;

  __host__ __device__ std::size_t row_bytes() const {
    const auto count = static_cast<std::size_t>(tiles);
    return sizeof(RowState) + kListSize * sizeof(unsigned long long) +
           kBins * (sizeof(unsigned long long) + sizeof(std::uint32_t)) +
           count * (sizeof(Partial) + kWarps * (sizeof(float2) + sizeof(float)));
  }
  __device__ Head* head() const { return reinterpret_cast<Head*>(memory); }
  __device__ RowState* state(int row) const {
    return reinterpret_cast<RowState*>(memory + sizeof(Head) +
                                       static_cast<std::size_t>(row) * row_bytes());
  }
  __device__ void Enqueue(Queue queue, int row) const {  // one thread
    state(static_cast<int>(atomicAdd(&head()->queued[queue], 1U)))->queue[queue] = row;
  }
  __device__ unsigned long long* list(int row) const {  // [kListSize] keys
    return reinterpret_cast<unsigned long long*>(state(row) + 1);
  }
  __device__ unsigned long long* masses(int row) const {  // [kBins], zero between calls
    return list(row) + kListSize;
  }
  __device__ std::uint32_t* counts(int row) const {  // [kBins], zero between calls
    return reinterpret_cast<std::uint32_t*>(masses(row) + kBins);
  }
  // Of blocks [at most tiles]; each kernel has one kind.
  __device__ Partial* partials(int row) const {
    return reinterpret_cast<Partial*>(counts(row) + kBins);
  }
  __device__ Share* shares(int row) const { return reinterpret_cast<Share*>(partials(row)); }
  __device__ Best* bests(int row) const { return reinterpret_cast<Best*>(partials(row)); }
  // Of stripes [tiles · kWarps]: greatest raw logit and Σ exp(logit − that), or the sums of weights
  // of all tokens and of those better than the row's; and the greatest logits after changes.
  __device__ float2* sums(int row) const {
    return reinterpret_cast<float2*>(partials(row) + tiles);
  }
  __device__ float* maxima(int row) const {
    return reinterpret_cast<float*>(sums(row) + tiles * kWarps);
  }
};
static_assert(sizeof(RowState) % 16 == 0);

// -- how a row is sampled -------------------------------------------------------------------------

struct Plan {
  std::int32_t slot = -1;
  bool random = false;
  bool changes = false;
  bool penalties = false;
  bool logprobs = false;
  bool rank = false;  // asked for, and not 1 in any case
  std::int32_t top = 0;
  std::int32_t top_k = 0;  // 0: all
  float top_p = 1.0F;      // 1: all
  float min_p = 0.0F;
  float scale = 1.0F;  // log2(e) / temperature
  __device__ bool truncated() const { return top_k > 0 || top_p < 1.0F || min_p > 0.0F; }
};

__device__ __forceinline__ Plan PlanOf(const SamplingArgs& args, int row) {
  const SamplingRow& how = args.how[row];
  Plan plan;
  plan.slot = how.slot;
  plan.random = how.temperature >= kGreedyBelow;
  plan.penalties = args.token_counts != nullptr &&
                   (how.repetition_penalty != 1.0F || how.presence_penalty != 0.0F ||
                    how.frequency_penalty != 0.0F);
  plan.changes = plan.penalties || how.bias_begin != how.bias_end ||
                 how.allowed_begin != how.allowed_end || how.banned_begin != how.banned_end;
  plan.logprobs = how.num_logprobs >= 0;
  plan.rank = plan.logprobs && (plan.random || plan.changes);
  plan.top = min(max(how.num_logprobs, 0), args.max_top);
  if (plan.random) {
    plan.top_k = how.top_k > 0 && how.top_k < args.vocab ? how.top_k : 0;
    plan.top_p = how.top_p < 1.0F ? how.top_p : 1.0F;
    plan.min_p = how.min_p > 0.0F ? how.min_p : 0.0F;
    plan.scale = fmaxf(kLog2E / how.temperature, 1e-30F);
  }
  return plan;
}

// Whether the k best are looked for among the tokens above the k-th of the stripes' maxima: there
// are stripes enough for these to be few.
__host__ __device__ constexpr bool ListsDirectly(std::int32_t top_k, std::int64_t vocab) {
  return top_k > 0 && top_k <= vocab / kStripe * 7 / 8;
}

// -- floats and bins ------------------------------------------------------------------------------

// The greater, or NaN where one is.
__device__ __forceinline__ float MaxOrNan(float a, float b) {
  float max;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(max) : "f"(a), "f"(b));
  return max;
}

__device__ __forceinline__ float Exp2(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

__device__ __forceinline__ bool IsFinite(float x) { return fabsf(x) < kInfinity; }

// Ascends with x; −0 is +0.
__device__ __forceinline__ std::uint32_t Rising(float x) {
  const std::uint32_t bits = __float_as_uint(x + 0.0F);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
__device__ __forceinline__ float FromRising(std::uint32_t rising) {
  return __uint_as_float((rising & 0x80000000U) != 0 ? rising ^ 0x80000000U : ~rising);
}

// Keys order tokens: greater logits first, lower ids among equals.
__device__ __forceinline__ unsigned long long KeyOf(float x, std::int32_t token) {
  return static_cast<unsigned long long>(~Rising(x)) << 32 | static_cast<std::uint32_t>(token);
}
__device__ __forceinline__ float LogitOf(unsigned long long key) {
  return FromRising(~static_cast<std::uint32_t>(key >> 32));
}
__device__ __forceinline__ std::int32_t TokenOf(unsigned long long key) {
  return static_cast<std::int32_t>(key & 0xFFFFFFFFU);
}

__device__ __forceinline__ Bins BinsOf(float max, float min, float temperature_scale) {
  // Beyond 64 / max(1, 1 / temperature) below the best, a token has no weight to speak of.
  const float reach = fminf(max - min, 64.0F * fmaxf(1.0F, kLog2E / temperature_scale));
  Bins bins{max, 0.0F, 0.0F};
  if (reach > 0.0F) {
    bins.width = reach / static_cast<float>(kBins);
    bins.per_logit = 1.0F / bins.width;
  }
  return bins;
}

__device__ __forceinline__ int BinOf(const Bins& bins, float y) {
  return static_cast<int>(fminf(y * bins.per_logit, static_cast<float>(kBins - 1)));
}

// Weights are exp((logit − max) / temperature). In a bin they are counted in whole parts of the
// weight at the bin's upper edge, kParts of which make that weight.
constexpr float kParts = 131072.0F;
__device__ __forceinline__ std::uint32_t PartsOf(const Bins& bins, int bin, float y, float scale) {
  const float share = Exp2((static_cast<float>(bin) * bins.width - y) * scale);
  return static_cast<std::uint32_t>(fminf(share, 1.0F) * kParts + 0.5F);
}
__device__ __forceinline__ double PartOf(const Bins& bins, int bin, float scale) {
  return static_cast<double>(Exp2(-static_cast<float>(bin) * bins.width * scale) / kParts);
}

// -- blocks ---------------------------------------------------------------------------------------

__device__ __forceinline__ float WarpMax(float x) {
  for (int offset = 16; offset > 0; offset /= 2) {
    x = MaxOrNan(x, __shfl_xor_sync(0xFFFFFFFFU, x, offset));
  }
  return x;
}

// The greatest, a NaN before all. For maxima as MaxOrNan makes them: its NaNs are positive.
__device__ __forceinline__ std::uint32_t WarpRising(float x) {
  return __reduce_max_sync(0xFFFFFFFFU, Rising(x));
}

__device__ __forceinline__ Best WarpBest(Best best) {
  for (int offset = 16; offset > 0; offset /= 2) {
    const double score = __shfl_xor_sync(0xFFFFFFFFU, best.score, offset);
    const float logit = __shfl_xor_sync(0xFFFFFFFFU, best.logit, offset);
    const std::int32_t token = __shfl_xor_sync(0xFFFFFFFFU, best.token, offset);
    best.Meet({score, logit, token});
  }
  return best;
}

// The sum of a value of each thread, in every thread, in a fixed order. shared: [kWarps]; all its
// threads call it.
template <class T>
__device__ T BlockTotal(T x, T* shared) {
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xFFFFFFFFU, x, offset);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  T total = shared[0];
  for (int i = 1; i < kWarps; ++i) total += shared[i];
  return total;
}

// The sum of the values of the threads before this one. shared: [kWarps].
template <class T>
__device__ T BlockBefore(T x, T* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  T upto = x;
  for (int offset = 1; offset < 32; offset *= 2) {
    const T more = __shfl_up_sync(0xFFFFFFFFU, upto, offset);
    if (lane >= offset) upto += more;
  }
  T before = __shfl_up_sync(0xFFFFFFFFU, upto, 1);
  if (lane == 0) before = T{};
  __syncthreads();
  if (lane == 31) shared[threadIdx.x / 32] = upto;
  __syncthreads();
  T warps = T{};
  for (int i = 0; i < static_cast<int>(threadIdx.x) / 32; ++i) warps += shared[i];
  return warps + before;
}

// The best of a block, in thread 0.
__device__ __forceinline__ Best BlockBest(Best best, Best* shared) {
  best = WarpBest(best);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < kWarps; ++i) best.Meet(shared[i]);
  }
  return best;
}

// What other blocks of the grid wrote. T: of whole 16 bytes.
template <class T>
__device__ __forceinline__ T LoadFresh(const T* from) {
  static_assert(sizeof(T) % 16 == 0);
  T out;
  const auto* words = reinterpret_cast<const uint4*>(from);
  auto* to = reinterpret_cast<uint4*>(&out);
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(T) / 16); ++i) to[i] = __ldcg(words + i);
  return out;
}

// Whether a block is the last of `blocks` to come here: what the others wrote before is then there
// to be read past the first-level cache. Sets the counter back. The whole block.
__device__ __forceinline__ bool IsLastBlock(std::uint32_t* arrived, std::uint32_t blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(arrived, 1U) == blocks - 1;
    if (last) *arrived = 0;
    __threadfence();
  }
  __syncthreads();
  return last;
}

// -- results --------------------------------------------------------------------------------------

// One thread calls it, once all blocks have read the row's counts.
__device__ __forceinline__ void WriteToken(const SamplingArgs& args, const Plan& plan, int row,
                                           double log_sum, std::int32_t token) {
  args.tokens[row] = token;
  args.faults[row] = token < 0 ? 1 : 0;
  if (token < 0) return;
  if (args.last_token != nullptr) args.last_token[plan.slot] = token;
  if (plan.penalties) ++args.token_counts[plan.slot * args.counts_stride + token];
  if (!plan.logprobs) return;
  const float raw = args.logits[row * args.logits_stride + token];
  if (args.logprobs != nullptr) {
    args.logprobs[row] = static_cast<float>(static_cast<double>(raw) - log_sum);
  }
  if (args.ranks != nullptr && !plan.rank) args.ranks[row] = 1;
}

}  // namespace quire::cuda::sampling
