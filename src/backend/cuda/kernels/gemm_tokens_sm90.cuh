// out [m, n] = x [m, k] Wᵀ for decode batches on Hopper: the kernel behind gemm_tokens_sm90.h.
//
// The weight's rows are the 64-row side of wgmma and tokens its other side, a multiple of 16, so
// that 300 tokens cost 304. Two blocks of a cluster take 128 rows each of a tile of 256 and all
// tokens of a pass (at most 304; more tokens are two passes); each loads its own rows and half of
// the tokens, which both get. In a block one thread copies (TMA, a ring of stages of 64 elements of
// k) and two warpgroups multiply, 64 rows each.
//
// The k blocks of all tiles, one after another, are cut into equal ranges, one for each cluster of
// a grid that fits the GPU. Where ranges are at least as long as tiles, a tile is cut in two at
// most: the cluster of its second part comes to it first and leaves its sums in memory, and that of
// the first part starts from them. Else every cluster but a tile's last, which goes on to other
// tiles, sums a share of the tile's tokens over all parts, in the order of k.
//
// Seen on an H200: the main loop runs at 98 % of wgmma's rate; results and partial sums take 3,000
// to 11,000 cycles a tile, in which nothing is multiplied. From 128 tokens on power is the limit.
#pragma once

#include "backend/cuda/kernels/launch.cuh"
#include "backend/cuda/kernels/tma_sm90.cuh"
#include "backend/cuda/kernels/wgmma_sm90.cuh"

namespace quire::cuda {
namespace tokens_gemm {

constexpr int kBlockK = 64;      // elements of k in a stage: 128 bytes a row
constexpr int kBlockRows = 128;  // of a block; a tile is two
constexpr int kTileRows = 2 * kBlockRows;
constexpr int kChunk = 16;         // tokens that are written at once
constexpr int kMaxParts = 8;       // of a tile's k
constexpr unsigned kTileCost = 4;  // k blocks that could be multiplied while a tile is finished
constexpr int kThreads = 384;
constexpr int kSharedLimit = 227 * 1024;
constexpr int kBufferBytes = 2048;  // for results: each warpgroup has two
constexpr int kBarrierBytes = 256;

// A token tile's stages in shared memory.
template <int kTokens>
struct TileShape {
  static constexpr int kWgmmas = kTokens > 256 ? 2 : 1;  // side by side
  static constexpr int kWgmmaTokens = kTokens / kWgmmas;
  static constexpr int kWeightBytes = kBlockRows * kBlockK * 2;
  static constexpr int kStageBytes = kWeightBytes + kTokens * kBlockK * 2;
  static constexpr int kOtherBytes = 4 * kBufferBytes + kBarrierBytes;
  static constexpr int kStages = (kSharedLimit - kOtherBytes) / kStageBytes;
  static constexpr int kStaging = kStages * kStageBytes;  // offset
  static constexpr int kBarriers = kStaging + 4 * kBufferBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes + kOtherBytes;
  static_assert(kTokens % 16 == 0 && kStages * 16 <= kBarrierBytes);
};

// How the k blocks of all tiles are dealt to clusters: independent of the number of tokens. To each
// tile's k blocks kTileCost are added in front, which nothing is done for.
struct Split {
  unsigned k_blocks, tiles, clusters;

  __host__ __device__ unsigned Unit() const { return k_blocks + kTileCost; }
  __host__ __device__ unsigned Begin(unsigned cluster) const {
    return cluster * (tiles * Unit()) / clusters;
  }
  // The cluster whose range holds the position.
  __host__ __device__ unsigned Holder(unsigned position) const {
    return ((position + 1) * clusters - 1) / (tiles * Unit());
  }
  // Whether ranges are at least as long as tiles.
  __host__ __device__ bool Long() const { return tiles >= clusters; }
};

struct Params {
  void* out;           // [m, n]
  const void* bias;    // [n] ([2 n] with silu) of the weight's type, or null
  float* partials;     // a slot is [warpgroup][tokens / 8][thread] of 4 floats
  unsigned* counters;  // zero between launches
  std::int64_t out_stride;
  int m, n;
  unsigned passes;
  Split split;
  bool out_float, silu;
  std::uint64_t weight_policy, token_policy;
};

// A part of a tile's k.
struct Segment {
  unsigned tile, begin, end;
};

// A cluster's range, from which segments are taken.
struct Range {
  const Split& split;
  unsigned tile, begin, left;

  __device__ Range(const Split& split, unsigned cluster) : split(split) {
    const unsigned position = split.Begin(cluster);
    tile = position / split.Unit();
    begin = position % split.Unit();
    left = split.Begin(cluster + 1) - position;
  }
  __device__ bool Take(Segment* segment) {
    while (left > 0) {
      const unsigned end = min(split.Unit(), begin + left);
      *segment = {tile++, max(begin, kTileCost) - kTileCost, max(end, kTileCost) - kTileCost};
      left -= end - begin;
      begin = 0;
      if (segment->begin < segment->end) return true;
    }
    return false;
  }
};

// A place in the ring of stages.
template <int kTokens>
struct Ring {
  std::uint32_t shared, stage = 0, phase = 0;

  __device__ void Advance() {
    if (++stage == TileShape<kTokens>::kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
  __device__ std::uint32_t Weights() const {
    return shared + stage * TileShape<kTokens>::kStageBytes;
  }
  __device__ std::uint32_t Tokens() const { return Weights() + TileShape<kTokens>::kWeightBytes; }
  __device__ std::uint32_t Full() const {
    return shared + TileShape<kTokens>::kBarriers + 16 * stage;
  }
  __device__ std::uint32_t Empty() const { return Full() + 8; }
};

// -- the thread that copies -----------------------------------------------------------------------

// The k blocks of all of a cluster's segments and passes in order.
struct Steps {
  Range range;
  Segment segment{};
  unsigned pass = 0, block = 0, passes;
  bool left;

  __device__ Steps(const Split& split, unsigned cluster, unsigned passes)
      : range(split, cluster), passes(passes) {
    left = range.Take(&segment);
    block = segment.begin;
  }
  __device__ void Advance() {
    if (++block < segment.end) return;
    if (++pass == passes) {
      pass = 0;
      left = range.Take(&segment);
    }
    block = segment.begin;
  }
};

template <int kTokens>
__device__ __forceinline__ void LoadWeights(const CUtensorMap* map, const Params& p,
                                            const Ring<kTokens>& ring, const Steps& at,
                                            unsigned rank) {
  BarrierExpect(ring.Full(), TileShape<kTokens>::kStageBytes);
  const int k = static_cast<int>(at.block * kBlockK);
  const int block = static_cast<int>(at.segment.tile * 2 + rank);
  if (p.silu)  // 8 rows of gate, 8 of up, and so on
    TensorLoad(map, ring.Weights(), ring.Full(), k, 0, 0, block * (kBlockRows / 16),
               p.weight_policy);
  else
    TensorLoad(map, ring.Weights(), ring.Full(), k, block * kBlockRows, p.weight_policy);
}

template <int kTokens>
__device__ __forceinline__ void LoadTokens(const CUtensorMap* map, const Params& p,
                                           const Ring<kTokens>& ring, const Steps& at,
                                           unsigned rank) {
  constexpr int kHalf = kTokens / 2;
  TensorLoadMulticast(map, ring.Tokens() + rank * (kHalf * kBlockK * 2), ring.Full(),
                      static_cast<int>(at.block * kBlockK),
                      static_cast<int>(at.pass * kTokens + rank * kHalf), 3, p.token_policy);
}

// Weights do not depend on the kernel before: as many as fit are on their way before it ends.
template <int kTokens>
__device__ __forceinline__ void Copy(const CUtensorMap* weight_map, const CUtensorMap* token_map,
                                     const Params& p, std::uint32_t shared, unsigned cluster,
                                     unsigned rank) {
  int early = 0;
  {
    Ring<kTokens> ring{shared};
    Steps at(p.split, cluster, p.passes);
    for (; early < TileShape<kTokens>::kStages && at.left; ++early) {
      LoadWeights(weight_map, p, ring, at, rank);
      ring.Advance();
      at.Advance();
    }
  }
  WaitForPrevious();
  Ring<kTokens> ring{shared};
  for (Steps at(p.split, cluster, p.passes); at.left; at.Advance()) {
    if (early > 0) {
      --early;
    } else {
      BarrierWait(ring.Empty(), ring.phase ^ 1);
      LoadWeights(weight_map, p, ring, at, rank);
    }
    LoadTokens(token_map, p, ring, at, rank);
    ring.Advance();
  }
  // This block's shared memory must be there until the other's last arrival.
  for (int i = 0; i < TileShape<kTokens>::kStages; ++i, ring.Advance())
    BarrierWait(ring.Empty(), ring.phase ^ 1);
}

// -- writing results ------------------------------------------------------------------------------

enum class Output { kSixteenBits, kFloat, kSilu };

// Writes what a warpgroup holds: 64 rows of the weight (with silu, 32 of gate and 32 of up), some
// tokens at a time, which pass through two buffers in shared memory in turn.
template <class T, Output kOutput>
struct Writer {
  static constexpr int kSize = kOutput == Output::kFloat ? 4 : 2;
  static constexpr int kColumns = kOutput == Output::kSilu ? 32 : 64;  // of out
  static constexpr int kTokenBytes = kColumns * kSize;
  static constexpr int kUnit = kOutput == Output::kFloat ? 8 : 16;  // tokens in a buffer
  static constexpr int kLanes = kTokenBytes / 16;                   // threads that store a token
  static_assert(kUnit * kTokenBytes <= kBufferBytes);

  std::uint32_t put, get;  // shared memory: where the thread leaves values and takes 16 bytes
  char* to;                // where those go, for token 0
  int tokens;              // that the thread stores, from its own on
  int barrier;
  float bias[2] = {0, 0};

  // Pieces of 16 bytes are permuted within a token's, against bank conflicts.
  static __device__ std::uint32_t Place(int token, int piece) {
    if constexpr (kOutput == Output::kFloat) piece ^= token & 6;
    if constexpr (kOutput == Output::kSixteenBits) piece ^= token & 7;
    if constexpr (kOutput == Output::kSilu) piece ^= token >> 1 & 3;
    return static_cast<std::uint32_t>(token * kTokenBytes + piece * 16);
  }

  __device__ Writer(const Params& p, std::uint32_t staging, int block, int warpgroup) {
    unsigned thread_id;  // read again for every tile: else much derived of it is kept in registers
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread_id));
    const int thread = static_cast<int>(thread_id % 128);
    const int warp = thread / 32;
    const int lane = thread % 32;
    const int first_column = (block * 2 + warpgroup) * kColumns;
    if constexpr (kOutput == Output::kFloat)
      put = staging + Place(lane % 4 * 2, warp * 4 + lane / 16) + lane / 4 % 4 * 4;
    else if constexpr (kOutput == Output::kSixteenBits)
      put = staging + Place(lane % 8 + lane / 16 * 8, warp * 2 + lane / 8 % 2);
    else
      put = staging + Place(lane % 16, warp);
    const int column = first_column + thread % kLanes * (16 / kSize);
    const int token = thread / kLanes;
    get = staging + Place(token % kUnit, thread % kLanes);
    to = static_cast<char*>(p.out) + (token * p.out_stride + column) * kSize;
    tokens = column < p.n && token < kUnit ? p.m - token : 0;
    barrier = 1 + warpgroup;
    SetBias(p, first_column + (kOutput == Output::kSilu ? 8 : 16) * warp + lane / 4);
    Sync();  // the last tile's buffers have been read
  }
  __device__ void SetBias(const Params& p, int first) {
    if (p.bias == nullptr || first >= p.n) return;
    const int second = first + (kOutput == Output::kSilu ? p.n : 8);
    bias[0] = ToFloat(static_cast<const T*>(p.bias)[first]);
    if (kOutput == Output::kSilu || second < p.n)
      bias[1] = ToFloat(static_cast<const T*>(p.bias)[second]);
  }
  __device__ void Sync() const { NamedSync(barrier, 128); }

  static __device__ std::uint32_t Pack(float low, float high) {
    const Vector<T, 2> pair{FromFloat<T>(low), FromFloat<T>(high)};
    return *reinterpret_cast<const std::uint32_t*>(&pair);
  }
  __device__ float SiluMul(float gate, float up) const {
    gate += bias[0];
    return __fdividef(gate, 1.0F + __expf(-gate)) * (up + bias[1]);
  }

  // Leaves v [kUnit / 2], as Wgmma leaves sums of kUnit tokens, in buffer `unit` % 2.
  __device__ __forceinline__ void Put(const float* v, unsigned unit) const {
    const std::uint32_t at = put + unit % 2 * kBufferBytes;
    if constexpr (kOutput == Output::kFloat) {
      const std::uint32_t second = at ^ 32;  // 8 rows on
      SharedStore(at, v[0] + bias[0]);
      SharedStore(at + kTokenBytes, v[1] + bias[0]);
      SharedStore(second, v[2] + bias[1]);
      SharedStore(second + kTokenBytes, v[3] + bias[1]);
    } else if constexpr (kOutput == Output::kSixteenBits) {
      asm volatile(
          "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at),
          "r"(Pack(v[0] + bias[0], v[1] + bias[0])), "r"(Pack(v[2] + bias[1], v[3] + bias[1])),
          "r"(Pack(v[4] + bias[0], v[5] + bias[0])), "r"(Pack(v[6] + bias[1], v[7] + bias[1]))
          : "memory");
    } else {
      asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(at),
                   "r"(Pack(SiluMul(v[0], v[2]), SiluMul(v[1], v[3]))),
                   "r"(Pack(SiluMul(v[4], v[6]), SiluMul(v[5], v[7])))
                   : "memory");
    }
  }
  // Stores what the warpgroup left in buffer `unit` % 2: tokens from `token` on.
  __device__ __forceinline__ void Store(const Params& p, int token, unsigned unit) const {
    const uint4 value = SharedLoad(get + unit % 2 * kBufferBytes);
    if (token < tokens) *reinterpret_cast<uint4*>(to + token * (p.out_stride * kSize)) = value;
  }

  // Sums [kTokens / 2] of `left` tokens at most, from `token` on. A buffer is filled while the
  // other is stored.
  template <int kTokens>
  __device__ __forceinline__ void Write(const Params& p, const float (&sums)[kTokens / 2],
                                        int token, int left) const {
    Put(sums, 0);
#pragma unroll
    for (int unit = 0; unit < kTokens / kUnit; ++unit) {
      if (unit * kUnit >= left) continue;
      Sync();
      if (unit + 1 < kTokens / kUnit) Put(sums + (unit + 1) * (kUnit / 2), unit + 1);
      Store(p, token + unit * kUnit, unit);
    }
  }
};

// Calls f(Output tag) with what the call asks for.
template <class F>
__device__ __forceinline__ void WithOutput(const Params& p, F&& f) {
  if (p.silu) {
    f(std::integral_constant<Output, Output::kSilu>{});
  } else if (p.out_float) {
    f(std::integral_constant<Output, Output::kFloat>{});
  } else {
    f(std::integral_constant<Output, Output::kSixteenBits>{});
  }
}

// -- tiles whose k is cut -------------------------------------------------------------------------

// The clusters that share a tile, and a warpgroup's ways to them.
template <int kTokens>
struct Parts {
  static constexpr unsigned kWarpgroupFloats = 64 * kTokens;
  const Params& p;
  unsigned first = 0, count = 1, index = 0, pass, rank, warpgroup;

  __device__ Parts(const Params& p, const Segment& segment, unsigned cluster, unsigned pass,
                   unsigned rank, unsigned warpgroup)
      : p(p), pass(pass), rank(rank), warpgroup(warpgroup) {
    if (segment.end - segment.begin == p.split.k_blocks) return;
    const unsigned begin = segment.tile * p.split.Unit();
    first = p.split.Holder(begin + kTileCost);
    count = p.split.Holder(begin + p.split.Unit() - 1) - first + 1;
    index = cluster - first;
  }
  // Where in `partials` the sums of part `part` are: this thread's at [g * 512], g counting 8
  // tokens.
  __device__ unsigned Slot(unsigned part) const {
    const unsigned block = (first + part) * 2 + rank;
    const unsigned slot = (block * 2 + (part + 1 == count ? 0 : 1)) * p.passes + pass;
    return (slot * 2 + warpgroup) * kWarpgroupFloats + threadIdx.x % 128 * 4;
  }
  // How many parts are there, and how many of their readers have seen it.
  __device__ unsigned* Counter() const {
    return p.counters + (((first * 2 + rank) * 2 + warpgroup) * p.passes + pass) * 2;
  }
  // Whether this is the first of two parts, and the second is done.
  __device__ bool Continues() const { return count == 2 && index == 0 && p.split.Long(); }
  __device__ void Sync() const { NamedSync(static_cast<int>(1 + warpgroup), 128); }

  __device__ __forceinline__ void Give(const float (&sums)[kTokens / 2]) const {
    float* to = p.partials + Slot(index);
#pragma unroll
    for (int g = 0; g < kTokens / 8; ++g)
      __stcg(reinterpret_cast<float4*>(to + g * 512),
             make_float4(sums[4 * g], sums[4 * g + 1], sums[4 * g + 2], sums[4 * g + 3]));
    Sync();
    if (threadIdx.x % 128 == 0)
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(Counter()) : "memory");
  }
  __device__ __forceinline__ void Await(unsigned parts, unsigned readers) const {
    if (threadIdx.x % 128 == 0) {
      unsigned seen = 0;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                     : "=r"(seen)
                     : "l"(Counter())
                     : "memory");
      } while (seen < parts);
      if (readers == 1 || atomicAdd(Counter() + 1, 1) == readers - 1) {
        Counter()[0] = 0;
        Counter()[1] = 0;
      }
    }
    Sync();
  }
};

// What the first of two parts starts from: the second one's sums.
template <int kTokens>
__device__ __forceinline__ void StartFromSecond(const Parts<kTokens>& parts,
                                                float (&sums)[kTokens / 2]) {
  parts.Await(1, 1);
  const float* from = parts.p.partials + parts.Slot(1);
#pragma unroll
  for (int g = 0; g < kTokens / 8; ++g) {
    const float4 four = __ldcg(reinterpret_cast<const float4*>(from + g * 512));
    sums[4 * g] = four.x;
    sums[4 * g + 1] = four.y;
    sums[4 * g + 2] = four.z;
    sums[4 * g + 3] = four.w;
  }
}

// Sums and writes this cluster's share of the tokens, in the order of k.
template <int kTokens, class Writer>
__device__ __forceinline__ void WriteShare(const Parts<kTokens>& parts, const Writer& writer) {
  const unsigned readers = parts.count - 1;
  parts.Await(parts.count, readers);
  constexpr unsigned kChunks = kTokens / kChunk;
  const unsigned end = (parts.index + 1) * kChunks / readers;
  unsigned from[kMaxParts];
#pragma unroll
  for (unsigned part = 0; part < kMaxParts; ++part)
    from[part] = parts.Slot(min(part, parts.count - 1));
  for (unsigned chunk = parts.index * kChunks / readers; chunk < end; ++chunk) {
    const int token = static_cast<int>(parts.pass * kTokens + chunk * kChunk);
    if (token >= parts.p.m) break;
    float4 terms[kMaxParts][2];
#pragma unroll
    for (unsigned part = 0; part < kMaxParts; ++part)
      if (part < parts.count)
        for (int g = 0; g < 2; ++g)
          terms[part][g] = __ldcg(reinterpret_cast<const float4*>(parts.p.partials + from[part] +
                                                                  (chunk * 2 + g) * 512));
    float sums[8] = {terms[0][0].x, terms[0][0].y, terms[0][0].z, terms[0][0].w,
                     terms[0][1].x, terms[0][1].y, terms[0][1].z, terms[0][1].w};
#pragma unroll
    for (unsigned part = 1; part < kMaxParts; ++part) {
      if (part >= parts.count) continue;
#pragma unroll
      for (int g = 0; g < 2; ++g) {
        sums[4 * g] += terms[part][g].x;
        sums[4 * g + 1] += terms[part][g].y;
        sums[4 * g + 2] += terms[part][g].z;
        sums[4 * g + 3] += terms[part][g].w;
      }
    }
    constexpr unsigned kUnits = kChunk / Writer::kUnit;
#pragma unroll
    for (unsigned i = 0; i < kUnits; ++i) {
      const unsigned unit = chunk * kUnits + i;
      writer.Put(sums + i * (Writer::kUnit / 2), unit);
      writer.Sync();
      writer.Store(parts.p, token + static_cast<int>(i) * Writer::kUnit, unit);
    }
  }
}

// -- the warpgroups that multiply -----------------------------------------------------------------

// This warp has read a stage: both blocks of the cluster may copy to it again.
__device__ __forceinline__ void Release(std::uint32_t empty) {
  const unsigned lane = threadIdx.x % 32;
  if (lane < 2) BarrierArrive(empty, lane);
}

// sums += the products of the next `blocks` stages.
template <class T, int kTokens>
__device__ __forceinline__ void Multiply(float (&sums)[kTokens / 2], Ring<kTokens>& ring,
                                         unsigned blocks, unsigned warpgroup) {
  using Shape = TileShape<kTokens>;
  std::uint32_t last = 0;
  WgmmaPin(sums);
#pragma unroll 1
  for (unsigned block = 0; block < blocks; ++block) {
    BarrierWait(ring.Full(), ring.phase);
    const std::uint64_t rows = TileDescriptor(ring.Weights() + warpgroup * (64 * kBlockK * 2));
    const std::uint64_t tokens = TileDescriptor(ring.Tokens());
    WgmmaFence();
#pragma unroll
    for (unsigned step = 0; step < kBlockK / 16; ++step)
#pragma unroll
      for (unsigned i = 0; i < Shape::kWgmmas; ++i)
        Wgmma<T, Shape::kWgmmaTokens>(
            sums + i * (Shape::kWgmmaTokens / 2), rows + 2 * step,
            tokens + 2 * step + ((i * Shape::kWgmmaTokens * kBlockK * 2) >> 4));
    WgmmaCommit();
    WgmmaWait<1>();
    if (block > 0) Release(last);
    last = ring.Empty();
    ring.Advance();
  }
  WgmmaWait<0>();
  Release(last);
  WgmmaPin(sums);
}

// Writes a pass of a segment, or what of it falls to this cluster.
template <class T, int kTokens>
__device__ __forceinline__ void Finish(const float (&sums)[kTokens / 2],
                                       const Parts<kTokens>& parts, unsigned tile,
                                       std::uint32_t staging) {
  const Params& p = parts.p;
  const int block = static_cast<int>(tile * 2 + parts.rank);
  const int warpgroup = static_cast<int>(parts.warpgroup);
  const bool share = parts.count > 1 && !parts.Continues();
  if (share) {
    parts.Give(sums);
    if (parts.index + 1 == parts.count) return;
  }
  WithOutput(p, [&](auto output) {
    const Writer<T, decltype(output)::value> writer(p, staging, block, warpgroup);
    const int token = static_cast<int>(parts.pass) * kTokens;
    if (share)
      WriteShare(parts, writer);
    else
      writer.template Write<kTokens>(p, sums, token, p.m - token);
  });
}

template <class T, int kTokens>
__device__ __forceinline__ void Compute(const Params& p, std::uint32_t shared, unsigned cluster,
                                        unsigned rank, unsigned warpgroup) {
  float sums[kTokens / 2];
  Ring<kTokens> ring{shared};
  const std::uint32_t staging =
      shared + TileShape<kTokens>::kStaging + warpgroup * 2 * kBufferBytes;
  Range range(p.split, cluster);
  Segment segment;
  while (range.Take(&segment)) {
    for (unsigned pass = 0; pass < p.passes; ++pass) {
      const Parts<kTokens> parts(p, segment, cluster, pass, rank, warpgroup);
      const unsigned blocks = segment.end - segment.begin;
      // Two loops: where paths to one loop join, the compiler makes products wait for each other.
      if (parts.Continues()) {
        StartFromSecond(parts, sums);
        Multiply<T, kTokens>(sums, ring, blocks, warpgroup);
      } else {
#pragma unroll
        for (float& sum : sums) sum = 0;
        Multiply<T, kTokens>(sums, ring, blocks, warpgroup);
      }
      Finish<T, kTokens>(sums, parts, segment.tile, staging);
    }
  }
}

template <class T, int kTokens>
__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(kThreads, 1)
    Kernel(const __grid_constant__ CUtensorMap weight_map,
           const __grid_constant__ CUtensorMap token_map, const __grid_constant__ Params p) {
  using Shape = TileShape<kTokens>;
  extern __shared__ __align__(1024) unsigned char shared[];
  const unsigned rank = ClusterRank();
  const unsigned cluster = blockIdx.x / 2;
  const unsigned warpgroup = threadIdx.x / 128;
  if (threadIdx.x == 0) {
    TensorMapPrefetch(&weight_map);
    TensorMapPrefetch(&token_map);
    Ring<kTokens> ring{SharedAddress(shared)};
    for (int i = 0; i < Shape::kStages; ++i, ring.Advance()) {
      BarrierInit(ring.Full(), 1);
      BarrierInit(ring.Empty(), 2 * 8);  // warps that release
    }
    BarrierInitFence();
  }
  ClusterSync();
  LetNextStart();
  if (warpgroup == 2) {
    FewerRegisters<24>();
    if (threadIdx.x == 256)
      Copy<kTokens>(&weight_map, &token_map, p, SharedAddress(shared), cluster, rank);
  } else {
    MoreRegisters<240>();
    WaitForPrevious();
    Compute<T, kTokens>(p, SharedAddress(shared), cluster, rank, warpgroup);
  }
}

}  // namespace tokens_gemm
}  // namespace quire::cuda
