// One CTA computes a tile of 64 rows × 64 outputs, each of its 256 threads 4 × 4 of them, in steps
// of 16 along k.
#include "backend/cuda/kernels/gemm_float32.h"

namespace quire::cuda {
namespace {

constexpr int kTile = 64;
constexpr int kStep = 16;
constexpr int kThreads = 256;
constexpr int kPerThread = 4;

// [kStep][kTile + 4]: columns of the tile, so that a thread's four operands are one load.
using Tile = float[kStep][kTile + 4];

__device__ void LoadTile(const float* from, std::int64_t stride, std::int64_t rows,
                         std::int64_t first_row, std::int64_t k, std::int64_t first_k, Tile& tile) {
  for (int i = threadIdx.x; i < kTile * kStep; i += kThreads) {
    const int row = i / kStep;
    const int column = i % kStep;
    const bool inside = first_row + row < rows && first_k + column < k;
    tile[column][row] = inside ? from[(first_row + row) * stride + first_k + column] : 0.0F;
  }
}

__global__ void __launch_bounds__(kThreads)
    GemmFloat32Kernel(const float* x, std::int64_t x_stride, const float* weight, const float* bias,
                      std::int64_t m, std::int64_t n, std::int64_t k, float* out,
                      std::int64_t out_stride) {
  __shared__ __align__(16) Tile rows;
  __shared__ __align__(16) Tile columns;
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.y) * kTile;
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const int row = threadIdx.x / (kTile / kPerThread) * kPerThread;
  const int column = threadIdx.x % (kTile / kPerThread) * kPerThread;
  float sum[kPerThread][kPerThread] = {};
  for (std::int64_t at = 0; at < k; at += kStep) {
    LoadTile(x, x_stride, m, first_row, k, at, rows);
    LoadTile(weight, k, n, first_column, k, at, columns);
    __syncthreads();
    for (int i = 0; i < kStep; ++i) {
      const float4 a = *reinterpret_cast<const float4*>(&rows[i][row]);
      const float4 b = *reinterpret_cast<const float4*>(&columns[i][column]);
      const float left[kPerThread] = {a.x, a.y, a.z, a.w};
      const float right[kPerThread] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int r = 0; r < kPerThread; ++r)
#pragma unroll
        for (int c = 0; c < kPerThread; ++c) sum[r][c] = fmaf(left[r], right[c], sum[r][c]);
    }
    __syncthreads();
  }
  for (int r = 0; r < kPerThread; ++r) {
    for (int c = 0; c < kPerThread; ++c) {
      const std::int64_t to_row = first_row + row + r;
      const std::int64_t to_column = first_column + column + c;
      if (to_row >= m || to_column >= n) continue;
      const float offset = bias == nullptr ? 0.0F : bias[to_column];
      out[to_row * out_stride + to_column] = sum[r][c] + offset;
    }
  }
}

}  // namespace

void GemmFloat32(const float* x, std::int64_t x_stride, const float* weight, const float* bias,
                 std::int64_t m, std::int64_t n, std::int64_t k, float* out,
                 std::int64_t out_stride, cudaStream_t stream) {
  if (m == 0 || n == 0) return;
  const dim3 grid(static_cast<unsigned>((n + kTile - 1) / kTile),
                  static_cast<unsigned>((m + kTile - 1) / kTile));
  GemmFloat32Kernel<<<grid, kThreads, 0, stream>>>(x, x_stride, weight, bias, m, n, k, out,
                                                   out_stride);
}

}  // namespace quire::cuda
