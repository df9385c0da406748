// Paged attention of tiles of 64 or 128 packed rows, in tensor cores (mma.sync, sm_80 and later).
//
// q, out [tokens, num_heads, kDim]; cache [blocks][2][num_kv_heads][block_size][kDim]; bf16 or f16.
//
// A block of 4 warps walks its worker's list of pieces. The warps divide the rows of a piece and
// share its keys, which pass through two stages of shared memory in tiles. The order of summation
// of a row is: the tiles, ascending; the slots of its pieces.
#include "backend/cuda/kernels/attention_prefill.h"

#include <bit>

#include "backend/cuda/kernels/attention_rows.cuh"
#include "backend/cuda/kernels/launch.cuh"

namespace quire::cuda {
namespace {

using namespace attention;  // NOLINT: the kernels' own pieces

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;

template <int kDim>
struct Shape {
  static constexpr int kRowTiles = kDim == 256 ? 1 : 2;  // of 16 rows, per warp
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kKeys = kDim == 256 ? 32 : 64;
  static constexpr int kQueryBytes = kRows * kDim * 2;
  static constexpr int kTileBytes = kKeys * kDim * 2;  // of keys; as much of values
  static constexpr int kSharedBytes = kQueryBytes + 4 * kTileBytes;
  static constexpr int kKeyTiles = kKeys / 8;  // columns of the scores, 8 each
  static constexpr int kSlot = kSlotFloats<kRows, kDim>;
};

// Copies tiles of a piece's keys and values to shared memory, all threads together. Lane i of each
// warp holds the id of the block that has the i-th group of 8 keys of 256.
template <int kDim>
class Copier {
 public:
  using S = Shape<kDim>;

  __device__ Copier(const AttentionArgs& args, const AttentionPiece& piece)
      : args_(args),
        end_(piece.end),
        first_key_(FirstKey(args, piece)),
        table_(args.blocks + piece.first_block),
        group_(piece.begin),
        block_stride_(std::int64_t{2} * args.num_kv_heads * args.block_size * kDim),
        keys_(static_cast<const std::uint16_t*>(args.cache) +
              std::int64_t{piece.kv_head} * args.block_size * kDim),
        block_(LoadBlock(piece.begin)),
        next_block_(LoadBlock(piece.begin + 256)) {}

  // The tile's keys, then its values: in this order for ascending tiles.
  __device__ void CopyKeys(int tile, std::uint32_t to) {
    if (tile >= end_) return;
    if (tile - group_ >= 256) {
      group_ += 256;
      block_ = next_block_;
      next_block_ = LoadBlock(group_ + 256);
    }
    Copy(tile, to, 0);
  }
  __device__ void CopyValues(int tile, std::uint32_t to) const {
    if (tile < end_) Copy(tile, to, std::int64_t{args_.num_kv_heads} * args_.block_size * kDim);
  }

 private:
  __device__ int LoadBlock(int group) const {
    const int key = group + static_cast<int>(threadIdx.x) % 32 * 8;
    return key < end_ ? max(0, __ldg(table_ + (key >> args_.block_shift))) : 0;
  }

  __device__ void Copy(int tile, std::uint32_t to, std::int64_t offset) const {
    constexpr int kChunks = kDim / 8;  // of a row, 16 bytes each
    constexpr int kRowsAtOnce = kThreads / kChunks;
    const int chunk = threadIdx.x % kChunks;
#pragma unroll
    for (int i = 0; i < S::kKeys / kRowsAtOnce; ++i) {
      const int row = i * kRowsAtOnce + threadIdx.x / kChunks;
      const int key = tile + row;
      const std::int64_t id = __shfl_sync(~0U, block_, (key - group_) / 8);
      const std::uint16_t* from =
          keys_ + id * block_stride_ + offset + (key & (args_.block_size - 1)) * kDim + chunk * 8;
      CopyAsync(to + TileOffset<kDim>(row, chunk), from, key >= first_key_ && key < end_);
    }
  }

  const AttentionArgs& args_;
  const int end_, first_key_;
  const std::int32_t* const table_;
  int group_;  // first key of those whose blocks the lanes hold
  const std::int64_t block_stride_;
  const std::uint16_t* const keys_;  // the kv head's keys in block 0
  int block_, next_block_;
};

template <typename T, int kDim>
__device__ __forceinline__ void CopyQueries(const AttentionArgs& args, const AttentionPiece& piece,
                                            std::uint32_t to) {
  constexpr int kChunks = kDim / 8;
  constexpr int kRowsAtOnce = kThreads / kChunks;
  const int chunk = threadIdx.x % kChunks;
#pragma unroll 4
  for (int row = threadIdx.x / kChunks; row < Shape<kDim>::kRows; row += kRowsAtOnce) {
    const bool valid = row < piece.num_rows;
    const std::int64_t offset = RowOffset<kDim>(args, piece, piece.kv_head, args.q_stride,
                                                piece.first_row + (valid ? row : 0));
    CopyAsync(to + TileOffset<kDim>(row, chunk), static_cast<const T*>(args.q) + offset + chunk * 8,
              valid);
  }
}

// The running softmax of 16 rows; a thread holds parts of the rows g and g + 8.
template <int kDim>
struct Softmax {
  float max[2] = {-INFINITY, -INFINITY};  // of the scores · scale · log2(e)
  float sum[2] = {0, 0};                  // over this thread's columns
  float out[kDim / 8][4] = {};
};

template <typename T, int kDim>
__device__ __forceinline__ void Score(
    std::uint32_t q, std::uint32_t keys,
    float (&s)[Shape<kDim>::kRowTiles][Shape<kDim>::kKeyTiles][4]) {
  using S = Shape<kDim>;
  const int lane = threadIdx.x % 32, matrix = lane / 8;
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    Fragment4 a[S::kRowTiles];
#pragma unroll
    for (int m = 0; m < S::kRowTiles; ++m) {
      const int row = m * 16 + matrix % 2 * 8 + lane % 8;
      a[m] = LoadMatrices(q + TileOffset<kDim>(row, 2 * k + matrix / 2));
    }
#pragma unroll
    for (int n = 0; n < S::kKeyTiles / 2; ++n) {
      const int row = n * 16 + matrix / 2 * 8 + lane % 8;
      const Fragment4 b = LoadMatrices(keys + TileOffset<kDim>(row, 2 * k + matrix % 2));
#pragma unroll
      for (int m = 0; m < S::kRowTiles; ++m) {
        Multiply<T>(s[m][2 * n], a[m], b.x[0], b.x[1]);
        Multiply<T>(s[m][2 * n + 1], a[m], b.x[2], b.x[3]);
      }
    }
  }
}

template <typename T, int kDim>
__device__ __forceinline__ void AddValues(
    std::uint32_t values, const float (&p)[Shape<kDim>::kRowTiles][Shape<kDim>::kKeyTiles][4],
    Softmax<kDim> (&state)[Shape<kDim>::kRowTiles]) {
  using S = Shape<kDim>;
  const int lane = threadIdx.x % 32, matrix = lane / 8;
#pragma unroll
  for (int k = 0; k < S::kKeyTiles / 2; ++k) {
    Fragment4 a[S::kRowTiles];
#pragma unroll
    for (int m = 0; m < S::kRowTiles; ++m) a[m] = Operand<T>(p[m], k);
    const int row = k * 16 + matrix % 2 * 8 + lane % 8;
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      const Fragment4 b =
          LoadMatricesTransposed(values + TileOffset<kDim>(row, 2 * n + matrix / 2));
#pragma unroll
      for (int m = 0; m < S::kRowTiles; ++m) {
        Multiply<T>(state[m].out[2 * n], a[m], b.x[0], b.x[1]);
        Multiply<T>(state[m].out[2 * n + 1], a[m], b.x[2], b.x[3]);
      }
    }
  }
}

// Writes the rows of a piece, or a slot; in the latter case the last block adds the slots up.
template <typename T, int kDim>
__device__ __forceinline__ void Finish(const AttentionArgs& args, const AttentionPiece& piece,
                                       int warp_row,
                                       Softmax<kDim> (&state)[Shape<kDim>::kRowTiles]) {
  using S = Shape<kDim>;
  __shared__ bool is_last;
  const int row = warp_row + threadIdx.x % 32 / 4;
  float* slot = args.partial + std::int64_t{piece.first_slot + piece.slot} * S::kSlot;
#pragma unroll
  for (int m = 0; m < S::kRowTiles; ++m) {
    AddThreads(state[m].sum);
    if (piece.num_slots == 1) {
      WriteRows<T, kDim>(args, piece, piece.kv_head, row + m * 16, state[m].out, state[m].sum);
    } else {
      StoreRows<S::kRows, kDim>(slot, row + m * 16, state[m].out, state[m].max, state[m].sum);
    }
  }
  __syncthreads();  // shared memory may be written again
  if (piece.num_slots == 1) return;
  if (threadIdx.x == 0) is_last = CountPiece(args.counters + piece.first_slot, piece.num_slots);
  __syncthreads();
  if (!is_last) return;
  const float* slots = args.partial + std::int64_t{piece.first_slot} * S::kSlot;
  MergeSlots<T, S::kRows, kDim, kThreads>(args, piece, slots, S::kSlot, threadIdx.x);
}

template <typename T, int kDim>
__device__ __forceinline__ void ComputePiece(const AttentionArgs& args, const AttentionPiece& piece,
                                             std::uint32_t shared) {
  using S = Shape<kDim>;
  const int warp_row = threadIdx.x / 32 * S::kWarpRows;
  const std::uint32_t keys = shared + S::kQueryBytes, values = keys + 2 * S::kTileBytes;
  const float scale = args.scale * kLog2E;
  Copier<kDim> copier(args, piece);
  CopyQueries<T, kDim>(args, piece, shared);
  copier.CopyKeys(piece.begin, keys);
  CommitCopies();
  copier.CopyValues(piece.begin, values);
  CommitCopies();
  // Keys in front of full_end are seen by all rows, unless a window hides them.
  const int full_end = piece.position + TokenOf(args, piece.first_row) + 1;
  const int last_token = TokenOf(args, piece.first_row + piece.num_rows - 1);
  const int hidden = args.window > 0 ? piece.position + last_token + 1 - args.window : 0;
  Softmax<kDim> state[S::kRowTiles];
  int stage = 0;
  for (int tile = piece.begin; tile < piece.end; tile += S::kKeys, stage ^= 1) {
    WaitForCopies<1>();
    __syncthreads();
    copier.CopyKeys(tile + S::kKeys, keys + (stage ^ 1) * S::kTileBytes);
    CommitCopies();
    float s[S::kRowTiles][S::kKeyTiles][4] = {};
    Score<T, kDim>(shared + warp_row * kDim * 2, keys + stage * S::kTileBytes, s);
    const bool masked = tile + S::kKeys > full_end || tile < hidden;
#pragma unroll
    for (int m = 0; m < S::kRowTiles; ++m) {
      const auto bounds = [&] {
        return RowBounds(args, piece, warp_row + m * 16 + threadIdx.x % 32 / 4);
      };
      float weight[2];
      Normalize(s[m], scale, masked, tile, bounds, state[m].max, state[m].sum, weight);
      Rescale(state[m].out, weight);
    }
    WaitForCopies<1>();
    __syncthreads();
    copier.CopyValues(tile + S::kKeys, values + (stage ^ 1) * S::kTileBytes);
    CommitCopies();
    AddValues<T, kDim>(values + stage * S::kTileBytes, s, state);
  }
  Finish<T, kDim>(args, piece, warp_row, state);
}

template <typename T, int kDim>
__global__ void __launch_bounds__(kThreads, 2)
    PrefillKernel(const __grid_constant__ AttentionArgs args) {
  extern __shared__ __align__(1024) char shared[];
  AttentionPiece piece = LoadPiece(args.pieces, blockIdx.x);
  WaitForPrevious();
  while (piece.num_rows > 0) {
    if (piece.next < 0) LetNextStart();
    ComputePiece<T, kDim>(args, piece, SharedAddress(shared));
    if (piece.next < 0) break;
    piece = LoadPiece(args.pieces, piece.next);
  }
}

template <typename T>
auto* KernelOf(int head_dim) {
  return head_dim == 64 ? PrefillKernel<T, 64>
                        : (head_dim == 128 ? PrefillKernel<T, 128> : PrefillKernel<T, 256>);
}

auto* KernelOf(DType dtype, int head_dim) {
  return dtype == DType::kBF16 ? KernelOf<__nv_bfloat16>(head_dim) : KernelOf<__half>(head_dim);
}

int SharedBytes(int head_dim) {
  return head_dim == 64 ? Shape<64>::kSharedBytes
                        : (head_dim == 128 ? Shape<128>::kSharedBytes : Shape<256>::kSharedBytes);
}

}  // namespace

bool AttentionPrefillSupports(DType dtype, int head_dim, int block_size) {
  return (dtype == DType::kBF16 || dtype == DType::kF16) &&
         (head_dim == 64 || head_dim == 128 || head_dim == 256) && block_size >= 8 &&
         std::has_single_bit(static_cast<unsigned>(block_size));
}

AttentionTile AttentionPrefillTile(int head_dim) {
  if (head_dim == 64) return {Shape<64>::kRows, Shape<64>::kKeys, Shape<64>::kSlot, 1};
  if (head_dim == 128) return {Shape<128>::kRows, Shape<128>::kKeys, Shape<128>::kSlot, 1};
  return {Shape<256>::kRows, Shape<256>::kKeys, Shape<256>::kSlot, 1};
}

int AttentionPrefillPrepare(DType dtype, int head_dim) {
  auto* kernel = KernelOf(dtype, head_dim);
  const int shared = SharedBytes(head_dim);
  AllowSharedMemory(kernel, static_cast<std::size_t>(shared));
  int device = 0, processors = 0, blocks = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  const cudaError_t error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &blocks, kernel, kThreads, static_cast<std::size_t>(shared));
  return error == cudaSuccess ? blocks * processors : 0;
}

void AttentionPrefill(const AttentionArgs& args, cudaStream_t stream) {
  Launch(KernelOf(args.dtype, args.head_dim), dim3(static_cast<unsigned>(args.num_workers)),
         dim3(kThreads), static_cast<std::size_t>(SharedBytes(args.head_dim)), stream, args);
}

}  // namespace quire::cuda
