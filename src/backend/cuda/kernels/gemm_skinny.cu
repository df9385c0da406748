// Products of 1 to 16 tokens; see gemm_skinny.h.
//
// Each multiprocessor runs one block, which owns n / blocks rows of W, to the row: no element is
// summed by two blocks. It takes its rows in passes of 8·kOctets. In a pass, chunks of 64 columns
// go to the warps in turn (chunk c to warp c mod 8), and each warp copies its chunks into a ring of
// shared memory of its own (cp.async), the weights' rows and the tokens' beneath them, so that
// warps meet only at the end of a pass, where their sums are added in the order of warps. Weights
// are the 16-row side of mma.m16n8k16, tokens the other one.
//
// A ring takes nearly all of shared memory: a block can start only on a multiprocessor that the
// predecessor's block has left, so that blocks spread evenly, and it fills its ring with weights
// while the predecessor's last blocks and the small kernels between the two are under way.
#include "backend/cuda/kernels/gemm_skinny.h"

#include <algorithm>

#include "backend/cuda/kernels/launch.cuh"

namespace quire::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kChunk = 64;         // columns
constexpr int kRowBytes = 128;     // of a chunk
constexpr int kOctetBytes = 1024;  // 8 rows of a chunk
constexpr int kBigShared = 220 * 1024;
constexpr int kSmallShared = 96 * 1024;

// A unit is a chunk of a pass's rows and of all tokens. kGroups: of 8 tokens.
template <int kGroups, int kOctets, int kShared>
struct Ring {
  static constexpr int kWeightBytes = kOctets * kOctetBytes;
  static constexpr int kUnitBytes = kWeightBytes + kGroups * kOctetBytes;
  static constexpr int kTiles = (kOctets + 1) / 2;  // of 16 rows
  static constexpr int kPitch = 16 * kTiles + 8;    // floats; so that writes meet no bank twice
  static constexpr int kSumBytes = kWarps * 8 * kPitch * 4;
  static constexpr int kUnits = (kShared - kSumBytes) / kWarps / kUnitBytes;
  static constexpr int kBytes = kWarps * kUnits * kUnitBytes + kSumBytes;
  static_assert(kUnits >= 2);
};

__device__ __forceinline__ unsigned SharedAddress(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// 16 bytes, or zeros.
__device__ __forceinline__ void CopyAsync(unsigned to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(inside ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ __forceinline__ uint4 LoadShared(unsigned at) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(at)
               : "memory");
  return v;
}
__device__ __forceinline__ void StoreShared(unsigned at, const uint4& v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}

// sums [16, 8] += a [16, 16] b [16, 8]
template <class T>
__device__ __forceinline__ void MultiplyTile(float (&sums)[4], unsigned a0, unsigned a1,
                                             unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
  if constexpr (std::is_same_v<T, BF16>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
}

// How the rows (with silu: pairs of rows) of a weight are shared out.
struct Split {
  int least, more;  // rows of a block; the first `more` blocks have one more
  int pass_rows, passes;
};

struct Params {
  const char* x;
  const char* weight;
  const void* bias;
  void* out;
  std::int64_t x_stride, out_stride;  // x_stride in bytes
  int m, n, k;                        // n: columns of out
  int chunks;                         // of a row of W
  Split split;
  bool silu, out_float;
};

// A block's rows.
struct Slab {
  int begin, count, pass_rows;

  __device__ explicit Slab(const Split& split)
      : begin(static_cast<int>(blockIdx.x) * split.least +
              min(static_cast<int>(blockIdx.x), split.more)),
        count(split.least + (static_cast<int>(blockIdx.x) < split.more ? 1 : 0)),
        pass_rows(split.pass_rows) {}
  __device__ int First(int pass) const { return begin + pass * pass_rows; }
  __device__ int Count(int pass) const { return min(pass_rows, count - pass * pass_rows); }
};

// In a chunk's row the 16-byte piece p of row r lies at p ^ (r mod 8), so that neither copies nor
// loads meet in a bank. A lane copies piece lane % 8 of the rows lane / 8 + 4 j.
template <int kGroups, int kOctets>
struct Copier {
  const Params& p;
  const Slab& slab;
  const char* weight;                          // the lane's first piece of the unit that is next
  const char* token;                           // likewise
  std::int64_t row_step, token_step, up_jump;  // bytes: 4 rows, 4 tokens, from gate to up
  unsigned even, odd;                          // where the pieces go in a unit
  int row, column, left;                       // left: rows of the pass behind the lane's first
  int pass = 0, chunk, warp;

  __device__ Copier(const Params& params, const Slab& of, int thread_warp, int lane)
      : p(params), slab(of), row(lane / 8), chunk(thread_warp), warp(thread_warp) {
    const int piece = lane % 8;
    column = 8 * piece;
    even = static_cast<unsigned>(row * kRowBytes + ((piece ^ row) << 4));
    odd = static_cast<unsigned>(row * kRowBytes + ((piece ^ (row + 4)) << 4));
    row_step = std::int64_t{8} * p.k;
    token_step = 4 * p.x_stride;
    up_jump = p.silu ? (p.n - std::int64_t{4} * kOctets) * p.k * 2 : 0;
    if (chunk >= p.chunks) pass = p.split.passes;
    Enter();
  }
  __device__ bool any() const { return pass < p.split.passes; }
  __device__ void Enter() {
    const int first = slab.First(pass);
    left = slab.Count(pass) - row;
    const std::int64_t offset = 2 * (chunk * kChunk + column);
    weight = p.weight + std::int64_t{2} * (first + row) * p.k + offset;
    token = p.x + row * p.x_stride + offset;
  }
  __device__ void Advance() {
    chunk += kWarps;
    weight += kWarps * kRowBytes;
    token += kWarps * kRowBytes;
    if (chunk < p.chunks) return;
    chunk = warp;
    ++pass;
    Enter();
  }
  __device__ bool inside() const { return chunk * kChunk + column < p.k; }
  __device__ void CopyWeights(unsigned to) const {
    constexpr int kHalf = 4 * kOctets;  // with silu the rows of `up` begin there
    const bool whole = inside();
    const char* from = whole ? weight : p.weight;
    const std::int64_t step = whole ? row_step : 0;
#pragma unroll
    for (int j = 0; j < 2 * kOctets; ++j) {
      if (4 * j == kHalf) from += whole ? up_jump : 0;
      const int behind = p.silu && 4 * j >= kHalf ? 4 * j - kHalf : 4 * j;
      if (behind < left) CopyAsync(to + (j % 2 ? odd : even) + 512 * j, from, whole);
      from += step;
    }
  }
  __device__ void CopyTokens(unsigned to) const {
    const bool whole = inside();
    const char* from = whole ? token : p.x;
    const std::int64_t step = whole ? token_step : 0;
#pragma unroll
    for (int j = 0; j < 2 * kGroups; ++j) {
      if (row + 4 * j < p.m) CopyAsync(to + (j % 2 ? odd : even) + 512 * j, from, whole);
      from += step;
    }
  }
};

// The tokens of the units whose weights are under way: they could not be copied with them.
template <int kGroups, int kOctets, class R>
__device__ __forceinline__ void LoadFirstTokens(Copier<kGroups, kOctets> copier, unsigned ring) {
  uint4 pieces[R::kUnits][2 * kGroups];
#pragma unroll
  for (int i = 0; i < R::kUnits; ++i) {
#pragma unroll
    for (int j = 0; j < 2 * kGroups; ++j) {
      const bool there = copier.any() && copier.row + 4 * j < copier.p.m && copier.inside();
      pieces[i][j] =
          there ? __ldcg(reinterpret_cast<const uint4*>(copier.token + j * copier.token_step))
                : uint4{0, 0, 0, 0};
    }
    copier.Advance();
  }
#pragma unroll
  for (int i = 0; i < R::kUnits; ++i)
#pragma unroll
    for (int j = 0; j < 2 * kGroups; ++j)
      StoreShared(
          ring + i * R::kUnitBytes + R::kWeightBytes + (j % 2 ? copier.odd : copier.even) + 512 * j,
          pieces[i][j]);
}

// A lane's k are permuted alike for weights and tokens, so that its operands of two steps are one
// load: of 32 columns it has the 8 from 8 (lane % 4) on. Row g of a tile's octet is row Spread(g).
__device__ __forceinline__ int Spread(int g) { return ((g & 1) << 2) | (g >> 1); }

template <class T, int kGroups, int kOctets, int kTiles>
__device__ __forceinline__ void MultiplyUnit(unsigned unit, unsigned lane_offset,
                                             float (&sums)[kTiles][kGroups][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const unsigned at = unit + (lane_offset ^ (64 * half));
    uint4 tokens[kGroups];
    uint4 weights[kTiles][2];
#pragma unroll
    for (int g = 0; g < kGroups; ++g) tokens[g] = LoadShared(at + (kOctets + g) * kOctetBytes);
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) weights[i][j] = LoadShared(at + (2 * i + j) * kOctetBytes);
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
#pragma unroll
      for (int g = 0; g < kGroups; ++g)
        MultiplyTile<T>(sums[i][g], weights[i][0].x, weights[i][1].x, weights[i][0].y,
                        weights[i][1].y, tokens[g].x, tokens[g].y);
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
#pragma unroll
      for (int g = 0; g < kGroups; ++g)
        MultiplyTile<T>(sums[i][g], weights[i][0].z, weights[i][1].z, weights[i][0].w,
                        weights[i][1].w, tokens[g].z, tokens[g].w);
  }
}

template <class T>
__device__ __forceinline__ void Store(const Params& p, int token, int column, float value) {
  const std::int64_t at = token * p.out_stride + column;
  if (p.out_float) {
    static_cast<float*>(p.out)[at] = value;
  } else {
    static_cast<T*>(p.out)[at] = FromFloat<T>(value);
  }
}

// Writes a group of tokens' outputs; sum(token, row) adds what the warps have.
template <class T, int kRows, class Sum>
__device__ __forceinline__ void StoreGroup(const Params& p, int first, int count, int token0,
                                           Sum sum) {
  const int tokens = min(8, p.m - token0);
  const T* bias = static_cast<const T*>(p.bias);
  const int rows = p.silu ? kRows / 2 : kRows;
  for (int i = static_cast<int>(threadIdx.x); i < tokens * kRows; i += kThreads) {
    const int row = i % kRows;
    const int token = i / kRows;
    if (row >= count || row >= rows) continue;
    const int column = first + row;
    float value = sum(token, row);
    if (bias != nullptr) value += ToFloat(bias[column]);
    if (p.silu) {
      float up = sum(token, row + kRows / 2);
      if (bias != nullptr) up += ToFloat(bias[p.n + column]);
      const float gate = ToFloat(FromFloat<T>(value));  // as if they had been in memory
      value = __fdividef(gate, 1.0F + __expf(-gate)) * ToFloat(FromFloat<T>(up));
    }
    Store<T>(p, token0 + token, column, value);
  }
}

template <class T, int kGroups, int kOctets, class R>
__device__ __forceinline__ void EndPass(const Params& p, int first, int count,
                                        float (&sums)[R::kTiles][kGroups][4], float* shared,
                                        int warp, int lane) {
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < R::kTiles; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int row = 16 * i + 8 * (j / 2) + Spread(lane / 4);
        const int token = Spread(2 * (lane % 4) + j % 2);
        shared[(warp * 8 + token) * R::kPitch + row] = sums[i][g][j];
      }
    __syncthreads();
    StoreGroup<T, 8 * kOctets>(p, first, count, 8 * g, [&](int token, int row) {
      float sum = shared[token * R::kPitch + row];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) sum += shared[(w * 8 + token) * R::kPitch + row];
      return sum;
    });
  }
}

template <class T, int kGroups, int kOctets, int kShared>
__global__ void __launch_bounds__(kThreads, 1) SkinnyKernel(const __grid_constant__ Params p) {
  using R = Ring<kGroups, kOctets, kShared>;
  extern __shared__ __align__(128) unsigned char shared[];
  LetNextStart();
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Slab slab(p.split);
  Copier<kGroups, kOctets> copier(p, slab, warp, lane);
  const Copier<kGroups, kOctets> beginning = copier;
  const unsigned ring = SharedAddress(shared) + warp * R::kUnits * R::kUnitBytes;
#pragma unroll 1
  for (int i = 0; i < R::kUnits; ++i) {
    if (copier.any()) {
      copier.CopyWeights(ring + i * R::kUnitBytes);
      copier.Advance();
    }
    CommitCopies();
  }
  WaitForPrevious();
  LoadFirstTokens<kGroups, kOctets, R>(beginning, ring);

  float* sums_of_warps = reinterpret_cast<float*>(shared + kWarps * R::kUnits * R::kUnitBytes);
  const int g = Spread(lane / 4);
  const unsigned lane_offset = static_cast<unsigned>(g * kRowBytes + ((lane % 4 ^ g) << 4));
  unsigned unit = ring;
  for (int pass = 0; pass < p.split.passes; ++pass) {
    float sums[R::kTiles][kGroups][4] = {};
#pragma unroll 1
    for (int chunk = warp; chunk < p.chunks; chunk += kWarps) {
      WaitForCopies<R::kUnits - 1>();
      __syncwarp();
      MultiplyUnit<T, kGroups, kOctets, R::kTiles>(unit, lane_offset, sums);
      __syncwarp();
      if (copier.any()) {
        copier.CopyWeights(unit);
        copier.CopyTokens(unit + R::kWeightBytes);
        copier.Advance();
      }
      CommitCopies();
      unit += R::kUnitBytes;
      if (unit == ring + R::kUnits * R::kUnitBytes) unit = ring;
    }
    EndPass<T, kGroups, kOctets, R>(p, slab.First(pass), slab.Count(pass), sums, sums_of_warps,
                                    warp, lane);
  }
}

struct Plan {
  int blocks, octets;  // octets: of rows in a pass
  Split split;
};

// Of a weight of n rows (with silu: pairs).
Plan PlanOf(std::int64_t n, bool silu, int groups, const GemmSkinnyDevice& device) {
  const int per_row = silu ? 2 : 1;
  Plan plan{};
  plan.blocks = static_cast<int>(std::min<std::int64_t>(n, device.multiprocessors));
  plan.split.least = static_cast<int>(n / plan.blocks);
  plan.split.more = static_cast<int>(n % plan.blocks);
  const int rows = plan.split.least + (plan.split.more > 0 ? 1 : 0);
  if (device.shared_bytes < kBigShared) {
    plan.octets = groups == 1 ? 4 : 2;
  } else {
    const int octets = CeilDiv(rows * per_row, 8);
    plan.octets = octets == 5 && !silu ? 5 : octets == 5 || octets == 6 ? 6 : 4;
  }
  plan.split.passes = CeilDiv(rows * per_row, 8 * plan.octets);
  plan.split.pass_rows = CeilDiv(rows, plan.split.passes);
  return plan;
}

template <class T, int kTokenGroups, int kRowOctets, int kSharedBytes>
struct Variant {
  static constexpr auto kKernel = SkinnyKernel<T, kTokenGroups, kRowOctets, kSharedBytes>;
  static constexpr int kBytes = Ring<kTokenGroups, kRowOctets, kSharedBytes>::kBytes;
};

// Calls f with the Variant.
template <class T, int kGroups, class F>
void WithOctets(bool big, int octets, F&& f) {
  if (!big) return f(Variant < T, kGroups, kGroups == 1 ? 4 : 2, kSmallShared > {});
  if (octets == 4) return f(Variant<T, kGroups, 4, kBigShared>{});
  if (octets == 5) return f(Variant<T, kGroups, 5, kBigShared>{});
  f(Variant<T, kGroups, 6, kBigShared>{});
}

template <class F>
void WithVariant(DType dtype, int groups, bool big, int octets, F&& f) {
  if (dtype == DType::kBF16) {
    groups == 1 ? WithOctets<BF16, 1>(big, octets, f) : WithOctets<BF16, 2>(big, octets, f);
  } else {
    groups == 1 ? WithOctets<F16, 1>(big, octets, f) : WithOctets<F16, 2>(big, octets, f);
  }
}

bool Aligned(const void* pointer, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0 && stride % 8 == 0;
}

}  // namespace

void PrepareGemmSkinny(const GemmSkinnyDevice& device) {
  const bool big = device.shared_bytes >= kBigShared;
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const int groups : {1, 2}) {
      for (const int octets : {4, 5, 6}) {
        WithVariant(dtype, groups, big, octets, [](auto variant) {
          AllowSharedMemory(decltype(variant)::kKernel, decltype(variant)::kBytes);
        });
      }
    }
  }
}

bool GemmSkinnyFeasible(const GemmSkinnyArgs& args) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  return (args.dtype == DType::kBF16 || args.dtype == DType::kF16) && args.m > 0 &&
         args.m <= kGemmSkinnyMaxRows && args.n > 0 && args.n < kMost && args.k > 0 &&
         args.k < kMost && Aligned(args.x, args.x_stride) && Aligned(args.weight, args.k);
}

void GemmSkinny(const GemmSkinnyArgs& args, const GemmSkinnyDevice& device, cudaStream_t stream) {
  const bool big = device.shared_bytes >= kBigShared;
  const int groups = args.m <= 8 ? 1 : 2;
  const Plan plan = PlanOf(args.n, args.silu, groups, device);
  Params params{};
  params.x = static_cast<const char*>(args.x);
  params.weight = static_cast<const char*>(args.weight);
  params.bias = args.bias;
  params.out = args.out;
  params.x_stride = 2 * args.x_stride;
  params.out_stride = args.out_stride;
  params.m = static_cast<int>(args.m);
  params.n = static_cast<int>(args.n);
  params.k = static_cast<int>(args.k);
  params.split = plan.split;
  params.chunks = CeilDiv(params.k, kChunk);
  params.silu = args.silu;
  params.out_float = args.out_dtype == DType::kF32;
  WithVariant(args.dtype, groups, big, plan.octets, [&](auto variant) {
    Launch(decltype(variant)::kKernel, static_cast<unsigned>(plan.blocks), kThreads,
           decltype(variant)::kBytes, stream, params);
  });
}

}  // namespace quire::cuda
