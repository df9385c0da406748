// The host's side of gemm_tokens_sm90.cuh: tensor maps, the split of the work, the choice of
// kernel.
#include "backend/cuda/kernels/gemm_tokens_sm90.h"

#include <cuda.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <tuple>

#include "backend/cuda/kernels/gemm_tokens_kernels_sm90.h"
#include "backend/cuda/kernels/gemm_tokens_sm90.cuh"

namespace quire::cuda {
namespace {

using tokens_gemm::kBlockK;
using tokens_gemm::kBlockRows;
using tokens_gemm::kMaxParts;
using tokens_gemm::kTileRows;
using tokens_gemm::kTiles;
using tokens_gemm::Split;

constexpr int kMaxPasses = 2;
constexpr int kMaxTokens = 512;  // of all passes' tiles

std::size_t TileIndex(int tokens) {
  return static_cast<std::size_t>(std::find(kTiles.begin(), kTiles.end(), tokens) - kTiles.begin());
}

const tokens_gemm::KernelEntry& EntryOf(DType dtype, int tokens) {
  static const bool allowed = [] {
    for (const auto* kernels : {&tokens_gemm::kKernelsBF16, &tokens_gemm::kKernelsF16})
      for (const auto& entry : *kernels)
        AllowSharedMemory(entry.kernel, static_cast<std::size_t>(entry.shared_bytes));
    return true;
  }();
  static_cast<void>(allowed);
  const auto& table = dtype == DType::kBF16 ? tokens_gemm::kKernelsBF16 : tokens_gemm::kKernelsF16;
  return table[TileIndex(tokens)];
}

// Clusters that run at once on the current device: a pair of multiprocessors each.
int Pairs() {
  static const int pairs = [] {
    const tokens_gemm::KernelEntry& entry = EntryOf(DType::kBF16, kTiles.back());
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {2, 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(2);
    config.blockDim = dim3(tokens_gemm::kThreads);
    config.dynamicSmemBytes = static_cast<std::size_t>(entry.shared_bytes);
    config.attrs = &attribute;
    config.numAttrs = 1;
    int clusters = 0;
    return cudaOccupancyMaxActiveClusters(&clusters, entry.kernel, &config) == cudaSuccess
               ? clusters
               : 0;
  }();
  return pairs;
}

// -- tensor maps ---------------------------------------------------------------------------------

using Encode = decltype(&cuTensorMapEncodeTiled);

Encode EncodeFunction() {
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault,
                                     &result);
#else
    cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &result);
#endif
    return result == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(function) : nullptr;
  }();
  return encode;
}

// A matrix [rows, k] of which tiles are loaded, `box_rows` at once; or, with `halves`, [2 rows, k]
// of which 8 rows of the first half and 8 of the second are loaded in turn.
struct MapKey {
  const void* data;
  std::int64_t rows, k, stride;
  int box_rows;
  bool halves, bf16;

  auto Tied() const { return std::tie(data, rows, k, stride, box_rows, halves, bf16); }
  friend bool operator<(const MapKey& a, const MapKey& b) { return a.Tied() < b.Tied(); }
};

// A failure leaves the map zero, and the launch fails.
CUtensorMap MakeMap(const MapKey& key) {
  const auto k = static_cast<cuuint64_t>(key.k);
  const auto rows = static_cast<cuuint64_t>(key.rows);
  const auto row_bytes = static_cast<cuuint64_t>(key.stride) * 2;
  const auto box_rows = static_cast<cuuint32_t>(key.box_rows);
  const cuuint64_t plain_sizes[] = {k, rows};
  const cuuint64_t plain_strides[] = {row_bytes};
  const cuuint32_t plain_box[] = {kBlockK, box_rows};
  const cuuint64_t halves_sizes[] = {k, 8, 2, (rows + 7) / 8};
  const cuuint64_t halves_strides[] = {row_bytes, rows * row_bytes, 8 * row_bytes};
  const cuuint32_t halves_box[] = {kBlockK, 8, 2, box_rows / 16};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  CUtensorMap map{};
  const Encode encode = EncodeFunction();
  if (encode == nullptr) return map;
  encode(&map, key.bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
         key.halves ? 4 : 2, const_cast<void*>(key.data), key.halves ? halves_sizes : plain_sizes,
         key.halves ? halves_strides : plain_strides, key.halves ? halves_box : plain_box, steps,
         CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
         CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return map;
}

CUtensorMap CachedMap(const MapKey& key) {
  constexpr std::size_t kMaxMaps = 16384;
  static std::mutex mutex;
  static std::map<MapKey, CUtensorMap> maps;
  const std::lock_guard lock(mutex);
  const auto known = maps.find(key);
  if (known != maps.end()) return known->second;
  if (maps.size() >= kMaxMaps) maps.clear();
  return maps.emplace(key, MakeMap(key)).first->second;
}

// -- the split -----------------------------------------------------------------------------------

Split MakeSplit(std::int64_t n, std::int64_t k, bool silu, int clusters) {
  Split split{};
  split.k_blocks = static_cast<unsigned>(CeilDiv<std::int64_t>(k, kBlockK));
  split.tiles = static_cast<unsigned>(CeilDiv<std::int64_t>(silu ? 2 * n : n, kTileRows));
  split.clusters = static_cast<unsigned>(clusters);
  return split;
}

// Whether no tile is cut into more than kMaxParts, whatever its place among the ranges is.
bool PartsFit(const Split& split) {
  const unsigned shortest = split.tiles * split.Unit() / split.clusters;
  return shortest > 0 && (split.Unit() - 2) / shortest + 2 <= kMaxParts;
}

std::int64_t Passes(const GemmTokensVariant& variant, const GemmTokensArgs& args) {
  return CeilDiv<std::int64_t>(args.m, variant.tokens);
}

bool Aligned(const void* data, std::int64_t stride, std::int64_t size) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride * size % 16 == 0;
}

}  // namespace

// Partial sums: of each block, for its first and its last tile, in both passes; then counters, two
// for each warpgroup of each pass.
constexpr std::size_t kPartialFloats =
    std::size_t{2} * kMaxPasses * 256 * kBlockRows;  // of a block
constexpr std::size_t kCounterBytes = std::size_t{2} * kMaxPasses * 2 * sizeof(unsigned);

std::size_t GemmTokensWorkspaceBytes() {
  const auto blocks = static_cast<std::size_t>(Pairs()) * 2;
  return blocks * (kPartialFloats * sizeof(float) + kCounterBytes);
}

int GemmTokensClusters(std::int64_t n, std::int64_t k, bool silu) {
  constexpr unsigned kMinBlocks = 2 * tokens_gemm::kTileCost;  // of k for a cluster
  Split split = MakeSplit(n, k, silu, 1);
  split.clusters = std::clamp(split.tiles * split.Unit() / kMinBlocks, 1U,
                              static_cast<unsigned>(std::max(1, Pairs())));
  while (!PartsFit(split)) --split.clusters;
  return static_cast<int>(split.clusters);
}

GemmTokensVariant GemmTokensChoice(const GemmTokensArgs& args) {
  const std::int64_t passes = CeilDiv<std::int64_t>(args.m, kTiles.back());
  const std::int64_t tokens = CeilDiv(args.m, passes);
  GemmTokensVariant variant;
  for (const int tile : kTiles) {
    variant.tokens = tile;
    if (tile >= tokens) break;
  }
  return variant;
}

bool GemmTokensFeasible(const GemmTokensVariant& variant, const GemmTokensArgs& args) {
  const bool sixteen = args.dtype == DType::kBF16 || args.dtype == DType::kF16;
  if (!sixteen || TileIndex(variant.tokens) == kTiles.size() || EncodeFunction() == nullptr)
    return false;
  if (args.out_dtype != args.dtype && (args.silu || args.out_dtype != DType::kF32)) return false;
  const std::int64_t passes = Passes(variant, args);
  if (args.m < 1 || passes > kMaxPasses || passes * variant.tokens > kMaxTokens) return false;
  if (args.n % 8 != 0 || args.k % 8 != 0 || args.n < 8 || args.k < 8) return false;
  if (!Aligned(args.x, args.x_stride, 2) || !Aligned(args.weight, args.k, 2) ||
      !Aligned(args.out, args.out_stride, static_cast<std::int64_t>(SizeOf(args.out_dtype))))
    return false;
  const Split split = MakeSplit(args.n, args.k, args.silu, GemmTokensOrder(variant, args));
  const std::uint64_t blocks = std::uint64_t{split.tiles} * split.Unit();
  return split.clusters >= 1 && static_cast<int>(split.clusters) <= Pairs() &&
         split.clusters <= blocks && blocks * (split.clusters + 1) < (std::uint64_t{1} << 32) &&
         PartsFit(split);
}

int GemmTokensOrder(const GemmTokensVariant& variant, const GemmTokensArgs& args) {
  return variant.clusters > 0 ? variant.clusters : GemmTokensClusters(args.n, args.k, args.silu);
}

void GemmTokens(const GemmTokensVariant& variant, const GemmTokensArgs& args, cudaStream_t stream) {
  const bool bf16 = args.dtype == DType::kBF16;
  const CUtensorMap weight_map =
      CachedMap({args.weight, args.n, args.k, args.k, kBlockRows, args.silu, bf16});
  const CUtensorMap token_map =
      CachedMap({args.x, args.m, args.k, args.x_stride, variant.tokens / 2, false, bf16});
  tokens_gemm::Params params{};
  params.out = args.out;
  params.bias = args.bias;
  params.partials = static_cast<float*>(args.workspace);
  params.counters = reinterpret_cast<unsigned*>(
      params.partials + static_cast<std::size_t>(Pairs()) * 2 * kPartialFloats);
  params.out_stride = args.out_stride;
  params.m = static_cast<int>(args.m);
  params.n = static_cast<int>(args.n);
  params.passes = static_cast<unsigned>(Passes(variant, args));
  params.split = MakeSplit(args.n, args.k, args.silu, GemmTokensOrder(variant, args));
  params.out_float = args.out_dtype == DType::kF32;
  params.silu = args.silu;
  // Weights that all passes have read are not needed again in this step.
  params.weight_policy = params.passes == 1 ? kEvictFirst : kEvictNormal;
  params.token_policy = kEvictLast;
  const tokens_gemm::KernelEntry& entry = EntryOf(args.dtype, variant.tokens);
  Launch(entry.kernel, dim3(params.split.clusters * 2), dim3(tokens_gemm::kThreads),
         static_cast<std::size_t>(entry.shared_bytes), stream, weight_map, token_map, params);
}

}  // namespace quire::cuda
