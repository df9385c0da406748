// Paged attention of tiles of 256 packed rows with Hopper's wgmma and TMA (sm_90a only).
//
// q, out [tokens, num_heads, kDim]; cache [blocks][2][num_kv_heads][block_size][kDim]; bf16 or f16.
//
// A worker is a cluster of two blocks of threads that walks a list of pieces. Each block computes
// 128 rows of a piece; the keys and values are read once and go to both. Of a block's three
// warpgroups the first copies, ahead of the others and over the ends of pieces: a warp keys and a
// warp values, up to 16 of one cache block at a time, and two warps the queries. The other two
// compute 64 rows each. The order of summation of a row is: the tiles, ascending; the slots of its
// pieces.
#include <algorithm>
#include <bit>

#include "backend/cuda/kernels/attention_prefill.h"
#include "backend/cuda/kernels/attention_rows.cuh"
#include "backend/cuda/kernels/attention_sm90.cuh"
#include "backend/cuda/kernels/launch.cuh"

namespace quire::cuda {
namespace {

using namespace attention;  // NOLINT: the kernels' own pieces

constexpr int kCluster = 2;  // blocks
constexpr int kGroupThreads = 128;
constexpr int kThreads = 3 * kGroupThreads;
constexpr int kQueryThreads = 64;  // that copy queries

template <int kDim>
struct Shape {
  static constexpr int kRows = 128;  // of a block
  static constexpr int kGroupRows = 64;
  static constexpr int kKeys = kDim == 256 ? 64 : 128;
  static constexpr int kColumnBytes = kKeys * 128;  // 64 columns of a tile of keys or values
  static constexpr int kTileBytes = kKeys * kDim * 2;
  static constexpr int kGroupBytes = kGroupRows * kDim * 2;  // of queries
  static constexpr int kStages = kDim == 64 ? 3 : 2;  // tiles of keys, and of values, under way
  static constexpr int kQueryStages = kDim == 256 ? 1 : 2;
  static constexpr int kKeyTiles = kKeys / 8;
  static constexpr int kSlot = kSlotFloats<kRows, kDim>;
};

// Ids of named barriers.
constexpr int kGroup = 1;    // + group: the threads of one group
constexpr int kCompute = 3;  // both groups that compute

template <int kDim>
struct Shared {
  using S = Shape<kDim>;
  char keys[S::kStages][S::kTileBytes];    // [kDim / 64][kKeys] rows of 128 bytes, swizzled
  char values[S::kStages][S::kTileBytes];  // [kKeys / unit][kDim / 64][unit] such rows
  char queries[S::kQueryStages][2 * S::kGroupBytes];  // [2 groups][kDim / 64][64] such rows
  AttentionPiece pieces[S::kQueryStages];             // this block's rows of them
  std::uint64_t keys_full[S::kStages], keys_empty[S::kStages];
  std::uint64_t values_full[S::kStages], values_empty[S::kStages];
  std::uint64_t queries_full[S::kQueryStages], queries_empty[S::kQueryStages];
  bool is_last;
};
template <int kDim>
constexpr int kSharedBytes = sizeof(Shared<kDim>) + 1024;  // so that it can be aligned

// A position in a ring of buffers, and the parity of its turn.
template <int kSize>
struct Turn {
  int index = 0, parity = 0;
  __device__ __forceinline__ void Next() {
    if (++index == kSize) {
      index = 0;
      parity ^= 1;
    }
  }
};

// Keys of a tile that are in memory, as a range of rows; the others are neither loaded nor seen.
struct TileRows {
  int begin, end;
  __device__ TileRows(int first_key, int end_key, int tile, int keys, int unit)
      : begin(first_key > tile ? (first_key - tile) / unit * unit : 0),
        end(min(keys, end_key - tile)) {}
};

// A block's rows of a piece, perhaps none.
template <int kDim>
__device__ __forceinline__ AttentionPiece RowsOf(const AttentionPiece& piece, int rank) {
  constexpr int kRows = Shape<kDim>::kRows;
  AttentionPiece rows = piece;
  rows.first_row += rank * kRows;
  rows.num_rows = min(max(rows.num_rows - rank * kRows, 0), kRows);
  return rows;
}

// Keys of one cache block that are copied at once.
__device__ __forceinline__ int UnitOf(const AttentionArgs& args) {
  return min(args.block_size, 16);
}

// One warp copies the keys, or the values, of all pieces: every kCluster-th unit of a tile, to all
// blocks of the cluster.
template <int kDim, bool kValues>
__device__ __forceinline__ void CopyTiles(const AttentionArgs& args, const CUtensorMap& map,
                                          Shared<kDim>& shared) {
  constexpr int kKeys = Shape<kDim>::kKeys;
  constexpr int kBoxes = kValues ? 1 : kDim / 64;  // of a unit
  const int unit = UnitOf(args), lane = threadIdx.x % 32, rank = ClusterRank();
  auto& empty = kValues ? shared.values_empty : shared.keys_empty;
  auto& full = kValues ? shared.values_full : shared.keys_full;
  auto& buffers = kValues ? shared.values : shared.keys;
  Turn<Shape<kDim>::kStages> turn;
  AttentionPiece piece = LoadPiece(args.pieces, blockIdx.x / kCluster);
  while (piece.num_rows > 0) {
    const int first_key = FirstKey(args, piece);
    // Lane i's row of the cache where the i-th unit of the tile lies.
    const auto row_at = [&](int tile) {
      const int key = tile + lane * unit;
      if (lane * unit >= kKeys || key >= piece.end) return 0;
      const int id = max(0, __ldg(args.blocks + piece.first_block + (key >> args.block_shift)));
      return ((id * 2 + (kValues ? 1 : 0)) * args.num_kv_heads + piece.kv_head) * args.block_size +
             (key & (args.block_size - 1));
    };
    int next_row = row_at(piece.begin);
    for (int tile = piece.begin; tile < piece.end; tile += kKeys) {
      const int cache_row = next_row;
      next_row = row_at(tile + kKeys);
      const TileRows rows(first_key, piece.end, tile, kKeys, unit);
      Wait(empty[turn.index], turn.parity ^ 1);
      const std::uint32_t to = SharedAddress(buffers[turn.index]);
      if (Elected()) {
        const int units = (rows.end - rows.begin + unit - 1) / unit;
        ArriveExpecting(full[turn.index], units * unit * kDim * 2);
      }
#pragma unroll 8
      for (int row = 0; row < kKeys; row += unit) {
        const int y = __shfl_sync(~0U, cache_row, row / unit);
        if (row < rows.begin || row >= rows.end || row / unit % kCluster != rank) continue;
        if (Elected()) {
#pragma unroll
          for (int i = 0; i < kBoxes; ++i) {
            const int offset = kValues ? row * kDim * 2 : i * Shape<kDim>::kColumnBytes + row * 128;
            LoadBox<kCluster>(map, y, i, to + offset, full[turn.index]);
          }
        }
      }
      turn.Next();
    }
    if (piece.next < 0) return;
    piece = LoadPiece(args.pieces, piece.next);
  }
}

// Two warps: the queries of this block's rows of each piece, and the piece; at the end one with −1
// rows.
template <typename T, int kDim>
__device__ __forceinline__ void CopyQueries(const AttentionArgs& args, Shared<kDim>& shared) {
  using S = Shape<kDim>;
  constexpr int kChunks = kDim / 8;  // of a row, 16 bytes each
  const int thread = threadIdx.x - 64, rank = ClusterRank();
  Turn<S::kQueryStages> turn;
  AttentionPiece piece = LoadPiece(args.pieces, blockIdx.x / kCluster);
  for (bool more = piece.num_rows > 0;; turn.Next()) {
    Wait(shared.queries_empty[turn.index], turn.parity ^ 1);
    AttentionPiece rows = RowsOf<kDim>(piece, rank);
    if (!more) rows.num_rows = -1;
    if (thread == 0) shared.pieces[turn.index] = rows;
    const std::uint32_t to = SharedAddress(shared.queries[turn.index]);
    for (int i = thread; more && i < S::kRows * kChunks; i += kQueryThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      const bool valid = row < rows.num_rows;
      const std::int64_t offset = RowOffset<kDim>(args, rows, rows.kv_head, args.q_stride,
                                                  rows.first_row + (valid ? row : 0));
      CopyAsync(to + row / 64 * S::kGroupBytes + chunk / 8 * (64 * 128) +
                    TileOffset<64>(row % 64, chunk % 8),
                static_cast<const T*>(args.q) + (valid ? offset : 0) + chunk * 8, valid);
    }
    CommitCopies();
    WaitForCopies<0>();
    FenceAsyncProxy();
    Arrive(shared.queries_full[turn.index]);
    if (!more) return;
    more = piece.next >= 0;
    if (more) {
      piece = LoadPiece(args.pieces, piece.next);
    } else {
      LetNextStart();
    }
  }
}

// What one warpgroup knows while it computes the rows of a piece.
template <typename T, int kDim>
class Computer {
 public:
  using S = Shape<kDim>;

  __device__ __forceinline__ Computer(const AttentionArgs& args, Shared<kDim>& shared)
      : args_(args),
        shared_(shared),
        group_(threadIdx.x / kGroupThreads - 1),
        row_(group_ * S::kGroupRows + threadIdx.x % kGroupThreads / 32 * 16 + threadIdx.x % 32 / 4),
        rank_(ClusterRank()),
        unit_(UnitOf(args)),
        scale_(args.scale * kLog2E) {}

  // The scores of the next tile of keys, left under way.
  __device__ __forceinline__ void StartScores(std::uint32_t queries, float (&s)[S::kKeyTiles][4]) {
    const Descriptor a(queries, 1024, 16);
    const Descriptor b(SharedAddress(shared_.keys[keys_.index]), 1024, 16);
    FenceWgmma();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      MultiplyShared<T, S::kKeyTiles>(s, a.At(k / 4 * (64 * 128) + k % 4 * 32),
                                      b.At(k / 4 * S::kColumnBytes + k % 4 * 32), k > 0);
    }
    CommitWgmma();
  }

  // out += p · values of the next tile, left under way.
  __device__ __forceinline__ void StartOutput(const Fragment4 (&p)[S::kKeys / 16],
                                              float (&out)[kDim / 8][4]) {
    const Descriptor b(SharedAddress(shared_.values[values_.index]),
                       unit_ == 16 ? 1024 : 8 * kDim * 2, unit_ * 128);
    FenceWgmma();
#pragma unroll
    for (int k = 0; k < S::kKeys / 16; ++k) {
      MultiplyRegisters<T, kDim / 8>(out, p[k], b.At(k * (16 * kDim * 2)));
    }
    CommitWgmma();
  }

  __device__ __forceinline__ void Compute(const AttentionPiece& piece, std::uint32_t queries,
                                          std::uint64_t& queries_empty) {
    float out[kDim / 8][4] = {};
    float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    if (piece.begin < piece.end) {
      Loop(piece, queries + group_ * S::kGroupBytes, queries_empty, out, max, sum);
    } else {
      Arrive(queries_empty);
    }
    Finish(piece, out, max, sum);
  }

 private:
  // Gives a buffer back to all who copy into it.
  __device__ __forceinline__ void Release(std::uint64_t& barrier) const {
    __syncwarp();
    if (threadIdx.x % 32 < kCluster) ArriveAt(barrier, threadIdx.x % 32);
  }

  // Zeros for the values of the next tile that no row may see, once they are there: a product with
  // the probability 0 is not 0 for all bits.
  __device__ __forceinline__ void ClearUnseen(int tile, const AttentionPiece& piece,
                                              int first_key) const {
    if (tile >= first_key && tile + S::kKeys <= piece.end) return;
    Wait(shared_.values_full[values_.index], values_.parity);
    char* values = shared_.values[values_.index];
    for (int i = threadIdx.x % kGroupThreads; i < S::kKeys * (kDim / 8); i += kGroupThreads) {
      const int row = i / (kDim / 8), chunk = i % (kDim / 8);
      if (tile + row >= first_key && tile + row < piece.end) continue;
      *reinterpret_cast<uint4*>(values + (row & -unit_) * kDim * 2 + chunk / 8 * unit_ * 128 +
                                (row & (unit_ - 1)) * 128 + chunk % 8 * 16) = uint4{};
    }
    FenceAsyncProxy();
    SyncThreads(kGroup + group_, kGroupThreads);
  }

  __device__ __forceinline__ void EndScores(float (&s)[S::kKeyTiles][4], bool is_last,
                                            std::uint64_t& queries_empty) {
    Pin(s);
    Release(shared_.keys_empty[keys_.index]);
    keys_.Next();
    if (is_last) Arrive(queries_empty);
  }

  __device__ __forceinline__ void EndOutput(float (&out)[kDim / 8][4]) {
    WaitForWgmma<0>();
    Pin(out);
    Release(shared_.values_empty[values_.index]);
    values_.Next();
  }

  // Two products are under way at a time: the scores of a tile, and the output of the one before.
  __device__ __forceinline__ void Loop(const AttentionPiece& piece, std::uint32_t queries,
                                       std::uint64_t& queries_empty, float (&out)[kDim / 8][4],
                                       float (&max)[2], float (&sum)[2]) {
    const auto bounds = [&] { return RowBounds(args_, piece, row_); };
    const int first_key = FirstKey(args_, piece);
    // Keys in front of full_end are seen by all rows, unless a window hides them.
    const int full_end = piece.position + TokenOf(args_, piece.first_row) + 1;
    const int last_token = TokenOf(args_, piece.first_row + piece.num_rows - 1);
    const int hidden = args_.window > 0 ? piece.position + last_token + 1 - args_.window : 0;
    const auto is_masked = [&](int tile) { return tile + S::kKeys > full_end || tile < hidden; };
    float s[S::kKeyTiles][4], weight[2];
    Fragment4 p[S::kKeys / 16];
    int tile = piece.begin;
    Wait(shared_.keys_full[keys_.index], keys_.parity);
    StartScores(queries, s);
    WaitForWgmma<0>();
    EndScores(s, tile + S::kKeys >= piece.end, queries_empty);
    Normalize(s, scale_, is_masked(tile), tile, bounds, max, sum, weight);
#pragma unroll
    for (int k = 0; k < S::kKeys / 16; ++k) p[k] = Operand<T>(s, k);
    for (tile += S::kKeys; tile < piece.end; tile += S::kKeys) {
      ClearUnseen(tile - S::kKeys, piece, first_key);
      Wait(shared_.keys_full[keys_.index], keys_.parity);
      StartScores(queries, s);
      Wait(shared_.values_full[values_.index], values_.parity);
      StartOutput(p, out);
      WaitForWgmma<1>();
      EndScores(s, tile + S::kKeys >= piece.end, queries_empty);
      Normalize(s, scale_, is_masked(tile), tile, bounds, max, sum, weight);
      // Never true. The assembler would else move the wait in front of the exponentials, which are
      // to be computed while the output is under way; it moves nothing over a branch.
      if (sum[0] < 0 || sum[1] < 0) __nanosleep(20);
      EndOutput(out);
      if (__any_sync(~0U, weight[0] != 1.0F || weight[1] != 1.0F)) Rescale(out, weight);
#pragma unroll
      for (int k = 0; k < S::kKeys / 16; ++k) p[k] = Operand<T>(s, k);
    }
    ClearUnseen(tile - S::kKeys, piece, first_key);
    Wait(shared_.values_full[values_.index], values_.parity);
    StartOutput(p, out);
    EndOutput(out);
  }

  __device__ __forceinline__ void Finish(const AttentionPiece& piece, float (&out)[kDim / 8][4],
                                         float (&max)[2], float (&sum)[2]) {
    AddThreads(sum);
    if (piece.num_slots == 1) {
      WriteRows<T, kDim>(args_, piece, piece.kv_head, row_, out, sum);
      return;
    }
    constexpr int kStride = kCluster * S::kSlot;
    float* slots = args_.partial + std::int64_t{piece.first_slot} * kStride + rank_ * S::kSlot;
    StoreRows<S::kRows, kDim>(slots + piece.slot * kStride, row_, out, max, sum);
    SyncThreads(kCompute, 2 * kGroupThreads);
    const int thread = threadIdx.x - kGroupThreads;
    if (thread == 0) {
      shared_.is_last =
          CountPiece(args_.counters + piece.first_slot * kCluster + rank_, piece.num_slots);
    }
    SyncThreads(kCompute, 2 * kGroupThreads);
    if (shared_.is_last) {
      MergeSlots<T, S::kRows, kDim, 2 * kGroupThreads>(args_, piece, slots, kStride, thread);
    }
  }

  const AttentionArgs& args_;
  Shared<kDim>& shared_;
  const int group_, row_;  // row: of the tile, the first of the two that this thread holds parts of
  const int rank_, unit_;
  const float scale_;
  Turn<S::kStages> keys_, values_;
};

template <int kDim>
__device__ __forceinline__ void InitBarriers(Shared<kDim>& shared) {
  constexpr int kWarps = 2 * kGroupThreads / 32;  // that compute
  for (int i = 0; i < Shape<kDim>::kStages; ++i) {
    InitBarrier(shared.keys_full[i], 1);
    InitBarrier(shared.values_full[i], 1);
    InitBarrier(shared.keys_empty[i], kCluster * kWarps);
    InitBarrier(shared.values_empty[i], kCluster * kWarps);
  }
  for (int i = 0; i < Shape<kDim>::kQueryStages; ++i) {
    InitBarrier(shared.queries_full[i], kQueryThreads);
    InitBarrier(shared.queries_empty[i], 2 * kGroupThreads);
  }
  FenceBarrierInit();
}

template <typename T, int kDim>
__global__ void __cluster_dims__(kCluster, 1, 1) __launch_bounds__(kThreads, 1)
    PrefillSm90Kernel(const __grid_constant__ AttentionArgs args,
                      const __grid_constant__ CUtensorMap keys,
                      const __grid_constant__ CUtensorMap values) {
  extern __shared__ char dynamic[];
  auto& shared =
      *reinterpret_cast<Shared<kDim>*>(dynamic + (1024 - SharedAddress(dynamic) % 1024) % 1024);
  if (threadIdx.x == 0) {
    PrefetchMap(keys);
    PrefetchMap(values);
    InitBarriers(shared);
  }
  SyncCluster();
  WaitForPrevious();
  if (threadIdx.x < kGroupThreads) {
    LowerRegisters<40>();
    if (threadIdx.x < 32) {
      CopyTiles<kDim, false>(args, keys, shared);
    } else if (threadIdx.x < 64) {
      CopyTiles<kDim, true>(args, values, shared);
    } else {
      CopyQueries<T, kDim>(args, shared);
    }
  } else {
    RaiseRegisters<232>();
    Computer<T, kDim> computer(args, shared);
    Turn<Shape<kDim>::kQueryStages> turn;
    for (;;) {
      Wait(shared.queries_full[turn.index], turn.parity);
      const AttentionPiece piece = shared.pieces[turn.index];
      if (piece.num_rows < 0) break;
      computer.Compute(piece, SharedAddress(shared.queries[turn.index]),
                       shared.queries_empty[turn.index]);
      turn.Next();
    }
  }
  SyncCluster();  // until then the other block may still write to this one's shared memory
}

template <typename T>
auto* KernelOf(int head_dim) {
  return head_dim == 64 ? PrefillSm90Kernel<T, 64>
                        : (head_dim == 128 ? PrefillSm90Kernel<T, 128> : PrefillSm90Kernel<T, 256>);
}

auto* KernelOf(DType dtype, int head_dim) {
  return dtype == DType::kBF16 ? KernelOf<__nv_bfloat16>(head_dim) : KernelOf<__half>(head_dim);
}

int SharedBytes(int head_dim) {
  return head_dim == 64 ? kSharedBytes<64>
                        : (head_dim == 128 ? kSharedBytes<128> : kSharedBytes<256>);
}

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// The driver's function; null where the driver is too old.
EncodeTiled Encoder() {
  static const EncodeTiled function = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                               12000, cudaEnableDefault, &result);
    return error == cudaSuccess && result == cudaDriverEntryPointSuccess
               ? reinterpret_cast<EncodeTiled>(found)
               : nullptr;
  }();
  return function;
}

// The cache as a matrix [head_dim / 64][rows][64], to be read in boxes of the rows of one unit and
// `slices` slices.
CUtensorMap CacheMap(const AttentionArgs& args, int slices) {
  CUtensorMap map{};
  const auto head_dim = static_cast<cuuint64_t>(args.head_dim);
  const cuuint64_t rows = static_cast<cuuint64_t>(args.num_blocks) * 2 *
                          static_cast<cuuint64_t>(args.num_kv_heads * args.block_size);
  const cuuint64_t sizes[3] = {64, rows, head_dim / 64};
  const cuuint64_t strides[2] = {head_dim * 2, 128};  // bytes
  const cuuint32_t box[3] = {64, static_cast<cuuint32_t>(std::min(args.block_size, 16)),
                             static_cast<cuuint32_t>(slices)};
  const cuuint32_t steps[3] = {1, 1, 1};
  Encoder()(&map,
            args.dtype == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                       : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
            3, const_cast<void*>(args.cache), sizes, strides, box, steps,
            CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
            CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return map;
}

}  // namespace

bool AttentionPrefillSm90Supports(DType dtype, int head_dim, int block_size) {
  return (dtype == DType::kBF16 || dtype == DType::kF16) &&
         (head_dim == 64 || head_dim == 128 || head_dim == 256) && block_size >= 8 &&
         std::has_single_bit(static_cast<unsigned>(block_size));
}

AttentionTile AttentionPrefillSm90Tile(int head_dim) {
  const auto tile = [](int rows, int keys, int slot) {
    return AttentionTile{kCluster * rows, keys, kCluster * slot, kCluster};
  };
  if (head_dim == 64) return tile(Shape<64>::kRows, Shape<64>::kKeys, Shape<64>::kSlot);
  if (head_dim == 128) return tile(Shape<128>::kRows, Shape<128>::kKeys, Shape<128>::kSlot);
  return tile(Shape<256>::kRows, Shape<256>::kKeys, Shape<256>::kSlot);
}

int AttentionPrefillSm90Prepare(DType dtype, int head_dim) {
  if (Encoder() == nullptr) return 0;
  auto* kernel = KernelOf(dtype, head_dim);
  AllowSharedMemory(kernel, static_cast<std::size_t>(SharedBytes(head_dim)));
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {kCluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(kCluster);
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = static_cast<std::size_t>(SharedBytes(head_dim));
  config.attrs = &attribute;
  config.numAttrs = 1;
  int clusters = 0;
  const cudaError_t error = cudaOccupancyMaxActiveClusters(&clusters, kernel, &config);
  return error == cudaSuccess ? clusters : 0;
}

void AttentionPrefillSm90(const AttentionArgs& args, cudaStream_t stream) {
  Launch(KernelOf(args.dtype, args.head_dim),
         dim3(static_cast<unsigned>(args.num_workers * kCluster)), dim3(kThreads),
         static_cast<std::size_t>(SharedBytes(args.head_dim)), stream, args, CacheMap(args, 1),
         CacheMap(args, args.head_dim / 64));
}

}  // namespace quire::cuda
