// Paged attention of up to 16 packed rows over a range of keys, in tensor cores (sm_80 and later).
//
// q, out [tokens, num_heads, kDim]; cache [blocks][2][num_kv_heads][block_size][kDim]; bf16 or f16.
//
// Worker w of kv head h is a block of threads that walks the list of pieces which begins with
// pieces[w]. Its warps share the keys of a piece in tiles of 16: each has its own ring of tiles in
// shared memory and its own running maximum, sum and output, so nothing but the end of a piece
// makes them wait for each other, and the copies run ahead over the ends of pieces. The order of
// summation of a row is: the tiles of each warp, ascending; the warps; the slots of its pieces.
#include "backend/cuda/kernels/attention_decode.h"

#include <bit>

#include "backend/cuda/kernels/attention_rows.cuh"
#include "backend/cuda/kernels/launch.cuh"

namespace quire::cuda {
namespace {

using namespace attention;  // NOLINT: the kernels' own pieces

constexpr int kTile = kDecodeTileKeys;

template <int kDim>
struct Shape {
  static constexpr int kWarps = kDim == 256 ? 2 : 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kTileBytes = kTile * kDim * 2;  // of K; as much of V
  static constexpr int kStageBytes = 2 * kTileBytes;   // as much as a warp's output in float32
  static constexpr int kRingBytes = 24 * 1024 * 4 / kWarps;
  static constexpr int kStages = kRingBytes / kStageBytes;
  static constexpr int kSharedBytes = kRingBytes * kWarps;
  static constexpr int kColumnTiles = kDim / 8;           // of the output, 8 columns each
  static constexpr int kSteps = kDim / 16;                // of the product q · k
  static constexpr int kMyTiles = kColumnTiles / kWarps;  // a warp's share once a piece is merged
};

// A warp's walk over the tiles that it must copy, ahead of those that it computes.
template <int kDim>
class Loader {
 public:
  using S = Shape<kDim>;

  __device__ Loader(const AttentionArgs& args, int kv_head, const AttentionPiece& first,
                    std::uint32_t ring)
      : args_(args),
        ring_(ring),
        lane_(threadIdx.x % 32),
        warp_(threadIdx.x / 32),
        shift_(args.block_shift),
        block_stride_(std::int64_t{2} * args.num_kv_heads * args.block_size * kDim),
        value_offset_(std::int64_t{args.num_kv_heads} * args.block_size * kDim),
        cache_(static_cast<const std::uint16_t*>(args.cache) +
               std::int64_t{kv_head} * args.block_size * kDim) {
    Enter(first);
    Skip();
  }

  // Whether the next tile's keys were stored by earlier steps, so that it may be read before the
  // kernels in front of this one are done.
  __device__ bool NextIsOld() const {
    return tile_ < piece_.end && tile_ + kTile <= piece_.position;
  }

  // Starts to copy the next tile into `stage`, if there is one; always one group of copies.
  __device__ void Copy(int stage) {
    if (tile_ < piece_.end) {
      CopyTile(ring_ + stage * S::kStageBytes);
      tile_ += S::kWarps * kTile;
      index_ = (index_ + 1) % 32;
      if (tile_ < piece_.end) {
        if (index_ == 0) LoadBlocks();
      } else {
        Skip();
      }
    }
    CommitCopies();
  }

 private:
  __device__ void Enter(const AttentionPiece& piece) {
    piece_ = piece;
    tile_ = piece.begin + warp_ * kTile;
    index_ = 0;
    first_key_ = FirstKey(args_, piece);
    if (tile_ < piece.end) LoadBlocks();
  }

  // To the next piece that has a tile for this warp.
  __device__ void Skip() {
    while (tile_ >= piece_.end && piece_.next >= 0) Enter(LoadPiece(args_.pieces, piece_.next));
  }

  // Lane i takes the ids of the blocks of this warp's i-th tile from here on.
  __device__ void LoadBlocks() {
    const int key = tile_ + lane_ * S::kWarps * kTile;
    const std::int32_t* table = args_.blocks + piece_.first_block;
    block_[0] = block_[1] = 0;
    if (key < piece_.end) block_[0] = max(0, __ldg(table + (key >> shift_)));
    if (args_.block_size == 8) {
      if (key + 8 < piece_.end) block_[1] = max(0, __ldg(table + key / 8 + 1));
    } else {
      block_[1] = block_[0];
    }
  }

  __device__ void CopyTile(std::uint32_t to) const {
    constexpr int kChunks = kDim / 8;              // of a row, 16 bytes each
    constexpr int kCopies = kTile * kChunks / 32;  // by each lane
    const std::uint16_t* from[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int id = __shfl_sync(~0U, block_[half], index_);
      const int offset = args_.block_size == 8 ? -8 * half : tile_ & (args_.block_size - 1);
      from[half] = cache_ + id * block_stride_ + offset * kDim + lane_ * 8;
    }
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int row = (i * 32 + lane_) / kChunks;
      const int chunk = (i * 32 + lane_) % kChunks;
      const bool valid = tile_ + row >= first_key_ && tile_ + row < piece_.end;
      const std::uint16_t* key = from[i >= kCopies / 2 ? 1 : 0] + i * 256;
      const std::uint32_t at = to + TileOffset<kDim>(row, chunk);
      CopyAsync(at, key, valid);
      CopyAsync(at + S::kTileBytes, key + value_offset_, valid);
    }
  }

  const AttentionArgs& args_;
  const std::uint32_t ring_;
  const int lane_, warp_, shift_;
  const std::int64_t block_stride_, value_offset_;
  const std::uint16_t* const cache_;  // the kv head's keys in block 0
  AttentionPiece piece_;
  int tile_ = 0;   // first key of the next tile
  int index_ = 0;  // of the tile among those whose ids the lanes hold
  int first_key_ = 0;
  int block_[2] = {0, 0};
};

// A warp's running softmax of 16 rows; a thread holds parts of the rows g and g + 8.
template <int kDim>
struct Softmax {
  float max[2];  // of the scores · scale · log2(e)
  float sum[2];  // over this thread's columns
  float out[Shape<kDim>::kColumnTiles][4];

  __device__ void Clear() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      max[r] = -INFINITY;
      sum[r] = 0;
    }
#pragma unroll
    for (auto& tile : out) tile[0] = tile[1] = tile[2] = tile[3] = 0;
  }
};

// Rows g and g + 8 of q as operands; zeros behind the piece's last row.
template <typename T, int kDim>
__device__ __forceinline__ void LoadQueries(const AttentionArgs& args, const AttentionPiece& piece,
                                            int kv_head, Fragment4 (&q)[Shape<kDim>::kSteps]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    const bool valid = row < piece.num_rows;
    const auto* from = reinterpret_cast<const std::uint32_t*>(
        static_cast<const T*>(args.q) +
        RowOffset<kDim>(args, piece, kv_head, args.q_stride, piece.first_row + row) + lane % 4 * 2);
#pragma unroll
    for (int k = 0; k < Shape<kDim>::kSteps; ++k) {
      q[k].x[half] = valid ? from[k * 8] : 0;
      q[k].x[half + 2] = valid ? from[k * 8 + 4] : 0;
    }
  }
}

// Scores of one tile, [16 rows, 16 keys] in two halves, to probabilities relative to state.max.
template <int kDim>
__device__ __forceinline__ void Normalize(float (&s)[2][4], float scale, int tile,
                                          const RowBounds& bounds, Softmax<kDim>& state) {
  const int key = tile + threadIdx.x % 4 * 2;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float max = state.max[r];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& x = s[i / 2][2 * r + i % 2];
      const int k = key + i / 2 * 8 + i % 2;
      x = k < bounds.end[r] && k >= bounds.first[r] ? x * scale : -INFINITY;
      max = fmaxf(max, x);
    }
    max = fmaxf(max, __shfl_xor_sync(~0U, max, 1));
    max = fmaxf(max, __shfl_xor_sync(~0U, max, 2));
    const float weight = Weight(state.max[r], max);
    state.max[r] = max;
    const float base = max == -INFINITY ? 0 : max;
    state.sum[r] *= weight;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& x = s[i / 2][2 * r + i % 2];
      x = Exp2(x - base);
      state.sum[r] += x;
    }
#pragma unroll
    for (auto& tile_out : state.out) {
      tile_out[2 * r] *= weight;
      tile_out[2 * r + 1] *= weight;
    }
  }
}

template <typename T, int kDim>
__device__ __forceinline__ void ComputeTile(std::uint32_t stage, float scale, int tile,
                                            const Fragment4 (&q)[Shape<kDim>::kSteps],
                                            const RowBounds& bounds, Softmax<kDim>& state) {
  const int lane = threadIdx.x % 32;
  const int matrix = lane / 8;
  float s[2][4] = {}, odd[2][4] = {};  // of the even and the odd steps: shorter chains
  const int key_row = matrix / 2 * 8 + lane % 8;
#pragma unroll
  for (int k = 0; k < Shape<kDim>::kSteps; ++k) {
    const Fragment4 b = LoadMatrices(stage + TileOffset<kDim>(key_row, 2 * k + matrix % 2));
    Multiply<T>(k % 2 == 0 ? s[0] : odd[0], q[k], b.x[0], b.x[1]);
    Multiply<T>(k % 2 == 0 ? s[1] : odd[1], q[k], b.x[2], b.x[3]);
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) s[i / 4][i % 4] += odd[i / 4][i % 4];
  Normalize<kDim>(s, scale, tile, bounds, state);
  const Fragment4 p = {{Pack<T>(s[0][0], s[0][1]), Pack<T>(s[0][2], s[0][3]),
                        Pack<T>(s[1][0], s[1][1]), Pack<T>(s[1][2], s[1][3])}};
  const std::uint32_t values = stage + Shape<kDim>::kTileBytes;
  const int value_row = matrix % 2 * 8 + lane % 8;
#pragma unroll
  for (int n = 0; n < kDim / 16; ++n) {
    const Fragment4 b =
        LoadMatricesTransposed(values + TileOffset<kDim>(value_row, 2 * n + matrix / 2));
    Multiply<T>(state.out[2 * n], p, b.x[0], b.x[1]);
    Multiply<T>(state.out[2 * n + 1], p, b.x[2], b.x[3]);
  }
}

// What the warps tell each other at the end of a piece.
template <int kDim>
struct Exchange {
  float max[Shape<kDim>::kWarps][16];
  float sum[Shape<kDim>::kWarps][16];
  std::int32_t stage[Shape<kDim>::kWarps];  // where the warp's output lies, or −1: it had no tile
  bool is_last;
};

// A thread's share of a piece's result: rows g and g + 8, kMyTiles tiles of columns.
template <int kDim>
struct Share {
  float max[2], sum[2];
  float4 out[Shape<kDim>::kMyTiles];
};

template <int kDim>
__device__ __forceinline__ void Accumulate(float4& out, const float4& from, float w0, float w1) {
  out.x += w0 * from.x;
  out.y += w0 * from.y;
  out.z += w1 * from.z;
  out.w += w1 * from.w;
}

// Adds the warps' states up. `stage`: the warp's tile computed last, or −1; its place in the ring
// is free, and is used for its output.
template <int kDim>
__device__ __forceinline__ Share<kDim> MergeWarps(Softmax<kDim>& state, char* rings, int stage,
                                                  Exchange<kDim>& exchange) {
  using S = Shape<kDim>;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    state.sum[r] += __shfl_xor_sync(~0U, state.sum[r], 1);
    state.sum[r] += __shfl_xor_sync(~0U, state.sum[r], 2);
    if (lane % 4 == 0) {
      exchange.max[warp][lane / 4 + 8 * r] = state.max[r];
      exchange.sum[warp][lane / 4 + 8 * r] = state.sum[r];
    }
  }
  if (lane == 0) exchange.stage[warp] = stage;
  if (stage >= 0) {
    auto* to = reinterpret_cast<float4*>(rings + warp * S::kRingBytes + stage * S::kStageBytes);
#pragma unroll
    for (int n = 0; n < S::kColumnTiles; ++n) {
      to[n * 32 + lane] =
          make_float4(state.out[n][0], state.out[n][1], state.out[n][2], state.out[n][3]);
    }
  }
  __syncthreads();
  Share<kDim> share = {};
  float weight[S::kWarps][2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + 8 * r;
    share.max[r] = exchange.max[0][row];
#pragma unroll
    for (int w = 1; w < S::kWarps; ++w) share.max[r] = fmaxf(share.max[r], exchange.max[w][row]);
#pragma unroll
    for (int w = 0; w < S::kWarps; ++w) {
      weight[w][r] = Weight(exchange.max[w][row], share.max[r]);
      share.sum[r] += weight[w][r] * exchange.sum[w][row];
    }
  }
#pragma unroll
  for (int w = 0; w < S::kWarps; ++w) {
    if (exchange.stage[w] < 0) continue;
    const auto* from = reinterpret_cast<const float4*>(rings + w * S::kRingBytes +
                                                       exchange.stage[w] * S::kStageBytes);
#pragma unroll
    for (int n = 0; n < S::kMyTiles; ++n) {
      Accumulate<kDim>(share.out[n], from[(warp * S::kMyTiles + n) * 32 + lane], weight[w][0],
                       weight[w][1]);
    }
  }
  __syncthreads();  // the ring and the exchange may be written again
  return share;
}

// A slot: [2 halves of the rows][kColumnTiles][32 lanes] float2, then 16 maxima and 16 sums.
template <int kDim>
__device__ __forceinline__ void StoreSlot(const Share<kDim>& share, float* slot, int num_rows) {
  using S = Shape<kDim>;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  auto* to = reinterpret_cast<float2*>(slot) + warp * S::kMyTiles * 32 + lane;
#pragma unroll
  for (int n = 0; n < S::kMyTiles; ++n) {
    to[n * 32] = make_float2(share.out[n].x, share.out[n].y);
    if (num_rows > 8) {
      to[(S::kColumnTiles + n) * 32] = make_float2(share.out[n].z, share.out[n].w);
    }
  }
  if (warp == 0 && lane % 4 == 0) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      slot[16 * kDim + lane / 4 + 8 * r] = share.max[r];
      slot[16 * kDim + 16 + lane / 4 + 8 * r] = share.sum[r];
    }
  }
}

// Adds the slots' rows g + 8 · r up in their order. Eight slots are loaded at a time.
template <int kDim>
__device__ __forceinline__ void AddSlotRows(const float* slots, std::int64_t stride, int num_slots,
                                            int r, Share<kDim>& share) {
  using S = Shape<kDim>;
  constexpr int kBatch = 8;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row = lane / 4 + 8 * r;
  const std::int64_t offset = ((r * S::kColumnTiles + warp * S::kMyTiles) * 32 + lane) * 2;
  float max = -INFINITY, sum = 0;
  float2 out[S::kMyTiles] = {};
  for (int first = 0; first < num_slots; first += kBatch) {
    float slot_max[kBatch], slot_sum[kBatch];
    float2 x[kBatch][S::kMyTiles];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const bool valid = first + i < num_slots;
      const float* slot = slots + (valid ? first + i : first) * stride;
      slot_max[i] = __ldcg(slot + 16 * kDim + row);
      slot_sum[i] = __ldcg(slot + 16 * kDim + 16 + row);
      if (!valid) slot_max[i] = -INFINITY;  // its weight is 0
#pragma unroll
      for (int n = 0; n < S::kMyTiles; ++n) {
        x[i][n] = __ldcg(reinterpret_cast<const float2*>(slot + offset) + n * 32);
      }
    }
    float both = max;
#pragma unroll
    for (const float m : slot_max) both = fmaxf(both, m);
    const float old_weight = Weight(max, both);
    max = both;
    sum *= old_weight;
#pragma unroll
    for (float2& o : out) o = make_float2(o.x * old_weight, o.y * old_weight);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const float weight = Weight(slot_max[i], both);
      sum += weight * slot_sum[i];
#pragma unroll
      for (int n = 0; n < S::kMyTiles; ++n) {
        out[n].x += weight * x[i][n].x;
        out[n].y += weight * x[i][n].y;
      }
    }
  }
  share.sum[r] = sum;
#pragma unroll
  for (int n = 0; n < S::kMyTiles; ++n) {
    (r == 0 ? share.out[n].x : share.out[n].z) = out[n].x;
    (r == 0 ? share.out[n].y : share.out[n].w) = out[n].y;
  }
}

template <typename T, int kDim>
__device__ __forceinline__ void WriteOut(const AttentionArgs& args, const AttentionPiece& piece,
                                         int kv_head, const Share<kDim>& share) {
  using S = Shape<kDim>;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + 8 * r;
    if (row >= piece.num_rows) continue;
    const float inverse = Inverse(share.sum[r]);
    auto* to = reinterpret_cast<std::uint32_t*>(
        static_cast<T*>(args.out) +
        RowOffset<kDim>(args, piece, kv_head, args.out_stride, piece.first_row + row) +
        lane % 4 * 2);
#pragma unroll
    for (int n = 0; n < S::kMyTiles; ++n) {
      const float4& out = share.out[n];
      to[(warp * S::kMyTiles + n) * 4] = r == 0 ? Pack<T>(out.x * inverse, out.y * inverse)
                                                : Pack<T>(out.z * inverse, out.w * inverse);
    }
  }
}

// Stores the piece's share and, in the last block of threads of its rows, adds all shares up.
// Returns whether `share` is the rows' whole result now.
template <int kDim>
__device__ __forceinline__ bool MergePieces(const AttentionArgs& args, const AttentionPiece& piece,
                                            int kv_head, Share<kDim>& share,
                                            Exchange<kDim>& exchange) {
  constexpr std::int64_t kSlotFloats = AttentionDecodeSlotFloats(kDim);
  const std::int64_t stride = kSlotFloats * args.num_kv_heads;
  float* slots = args.partial + piece.first_slot * stride + kv_head * kSlotFloats;
  StoreSlot<kDim>(share, slots + piece.slot * stride, piece.num_rows);
  __syncthreads();
  if (threadIdx.x == 0) {
    exchange.is_last =
        CountPiece(args.counters + piece.first_slot * args.num_kv_heads + kv_head, piece.num_slots);
  }
  __syncthreads();
  if (!exchange.is_last) return false;
  AddSlotRows<kDim>(slots, stride, piece.num_slots, 0, share);
  if (piece.num_rows > 8) AddSlotRows<kDim>(slots, stride, piece.num_slots, 1, share);
  return true;
}

template <typename T, int kDim>
__global__ void __launch_bounds__(Shape<kDim>::kThreads, 2)
    DecodeKernel(const __grid_constant__ AttentionArgs args) {
  using S = Shape<kDim>;
  extern __shared__ __align__(1024) char rings[];
  __shared__ Exchange<kDim> exchange;
  const int kv_head = blockIdx.x % args.num_kv_heads;
  const int warp = threadIdx.x / 32;
  const std::uint32_t ring = SharedAddress(rings) + warp * S::kRingBytes;

  AttentionPiece piece = LoadPiece(args.pieces, blockIdx.x / args.num_kv_heads);
  Loader<kDim> loader(args, kv_head, piece, ring);
  int copied = 0;
  for (; copied < S::kStages && loader.NextIsOld(); ++copied) loader.Copy(copied);
  WaitForPrevious();
  for (; copied < S::kStages; ++copied) loader.Copy(copied);

  const float scale = args.scale * kLog2E;
  int stage = 0;
  while (piece.num_rows > 0) {
    Fragment4 q[S::kSteps];
    LoadQueries<T, kDim>(args, piece, kv_head, q);
    const RowBounds bounds(args, piece, threadIdx.x % 32 / 4);
    Softmax<kDim> state;
    state.Clear();
    int last_stage = -1;
    for (int tile = piece.begin + warp * kTile; tile < piece.end; tile += S::kWarps * kTile) {
      if (last_stage >= 0) loader.Copy(last_stage);
      WaitForCopies<S::kStages - 1>();
      __syncwarp();
      ComputeTile<T, kDim>(ring + stage * S::kStageBytes, scale, tile, q, bounds, state);
      __syncwarp();
      last_stage = stage;
      stage = stage + 1 == S::kStages ? 0 : stage + 1;
    }
    if (piece.next < 0) LetNextStart();
    Share<kDim> share = MergeWarps<kDim>(state, rings, last_stage, exchange);
    if (last_stage >= 0) loader.Copy(last_stage);
    if (piece.num_slots == 1 || MergePieces<kDim>(args, piece, kv_head, share, exchange)) {
      WriteOut<T, kDim>(args, piece, kv_head, share);
    }
    if (piece.next < 0) break;
    piece = LoadPiece(args.pieces, piece.next);
  }
}

template <typename T>
auto* KernelOf(int head_dim) {
  return head_dim == 64 ? DecodeKernel<T, 64>
                        : (head_dim == 128 ? DecodeKernel<T, 128> : DecodeKernel<T, 256>);
}

auto* KernelOf(DType dtype, int head_dim) {
  return dtype == DType::kBF16 ? KernelOf<__nv_bfloat16>(head_dim) : KernelOf<__half>(head_dim);
}

int ThreadsOf(int head_dim) {
  return head_dim == 256 ? Shape<256>::kThreads : Shape<128>::kThreads;
}
constexpr int kSharedBytes = Shape<128>::kSharedBytes;
static_assert(kSharedBytes == Shape<64>::kSharedBytes && kSharedBytes == Shape<256>::kSharedBytes);

}  // namespace

bool AttentionDecodeSupports(DType dtype, int head_dim, int block_size) {
  return (dtype == DType::kBF16 || dtype == DType::kF16) &&
         (head_dim == 64 || head_dim == 128 || head_dim == 256) && block_size >= 8 &&
         std::has_single_bit(static_cast<unsigned>(block_size));
}

int AttentionDecodePrepare(DType dtype, int head_dim) {
  auto* kernel = KernelOf(dtype, head_dim);
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes) !=
      cudaSuccess) {
    return 0;
  }
  int blocks = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, ThreadsOf(head_dim), kSharedBytes);
  return blocks;
}

void AttentionDecode(const AttentionArgs& args, cudaStream_t stream) {
  Launch(KernelOf(args.dtype, args.head_dim), dim3(args.num_workers * args.num_kv_heads),
         dim3(ThreadsOf(args.head_dim)), kSharedBytes, stream, args);
}

}  // namespace quire::cuda
