// RMS norms; see norm.h. A row is held in registers: P vectors of N elements a thread. The sum of
// squares is taken within a thread, then a warp, then over warps, in an order given by the width.
#include "backend/cuda/kernels/norm.h"

#include <algorithm>

#include "backend/cuda/kernels/launch.cuh"

namespace quire::cuda {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMost = 16;            // elements of a row that a thread holds
constexpr int kWarpRows = 8;         // narrow rows of a block, a warp each
constexpr int kMaxWarpVectors = 64;  // of a narrow row

template <class T>
struct NormArgs {
  const T* x;
  std::int64_t x_stride;
  T* residual;  // or null
  std::int64_t residual_stride;
  const float* weight;
  float eps;
  T* out;
  std::int64_t out_stride;
  std::int64_t rows, parts;
  int width;
};

// kNarrow: a warp has a row of its own; else a block has.
template <class T, int N, int P, bool kNarrow>
__global__ void __launch_bounds__(kNarrow ? 32 * kWarpRows : kMaxThreads)
    NormKernel(NormArgs<T> args) {
  __shared__ float shared[32];
  const int threads = kNarrow ? 32 : static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x) % threads;
  const std::int64_t index =
      kNarrow ? std::int64_t{blockIdx.x} * kWarpRows + threadIdx.x / 32 : std::int64_t{blockIdx.x};
  const bool any = index < args.rows * args.parts;
  const std::int64_t row = any ? index / args.parts : 0;
  const std::int64_t first = any ? index % args.parts * args.width : 0;

  // Weights are written by no kernel: few enough of them are loaded while the predecessor runs.
  constexpr bool kWeightsFirst = P * N <= 8;
  Vector<float, N> weights[kWeightsFirst ? P : 1];
  if constexpr (kWeightsFirst) {
#pragma unroll
    for (int p = 0; p < P; ++p) {
      const int column = (p * threads + thread) * N;
      if (column < args.width) weights[p] = LoadVector<N>(args.weight + column);
    }
  }
  WaitForPrevious();
  LetNextStart();
  if (!any) return;

  Vector<float, N> values[P];
  float squares = 0.0F;
#pragma unroll
  for (int p = 0; p < P; ++p) {
    const int column = (p * threads + thread) * N;
    if (column >= args.width) continue;
    const Vector<T, N> x = LoadVector<N>(args.x + row * args.x_stride + first + column);
    Vector<T, N> sum = x;
    if (args.residual != nullptr) {
      T* residual = args.residual + row * args.residual_stride + column;
      sum = LoadVector<N>(residual);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        sum.at[i] = FromFloat<T>(ToFloat(sum.at[i]) + ToFloat(x.at[i]));
      }
      StoreVector(residual, sum);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      values[p].at[i] = ToFloat(sum.at[i]);
      squares += values[p].at[i] * values[p].at[i];
    }
  }
  const float total = kNarrow ? WarpSum(squares) : BlockSum(squares, shared);
  const float factor = 1.0F / sqrtf(total / static_cast<float>(args.width) + args.eps);
#pragma unroll
  for (int p = 0; p < P; ++p) {
    const int column = (p * threads + thread) * N;
    if (column >= args.width) continue;
    const Vector<float, N> weight =
        kWeightsFirst ? weights[kWeightsFirst ? p : 0] : LoadVector<N>(args.weight + column);
    Vector<T, N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      out.at[i] = FromFloat<T>(values[p].at[i] * factor * weight.at[i]);
    }
    StoreVector(args.out + row * args.out_stride + first + column, out);
  }
}

template <class T, int N>
void LaunchNorm(const NormArgs<T>& args, cudaStream_t stream) {
  const int vectors = CeilDiv(args.width, N);
  const std::int64_t rows = args.rows * args.parts;
  if (vectors <= kMaxWarpVectors) {
    const auto blocks = static_cast<unsigned>(CeilDiv<std::int64_t>(rows, kWarpRows));
    const auto kernel = vectors <= 32 ? NormKernel<T, N, 1, true> : NormKernel<T, N, 2, true>;
    return Launch(kernel, blocks, 32 * kWarpRows, 0, stream, args);
  }
  const auto blocks = static_cast<unsigned>(rows);
  const int threads = std::min(kMaxThreads, CeilDiv(vectors, 32) * 32);
  if (vectors <= kMaxThreads) {
    Launch(NormKernel<T, N, 1, false>, blocks, threads, 0, stream, args);
  } else if (vectors <= kMost * kMaxThreads / N) {
    Launch(NormKernel<T, N, kMost / N, false>, blocks, threads, 0, stream, args);
  }
}

template <class T>
void Norm(const NormArgs<T>& args, cudaStream_t stream) {
  if (args.rows <= 0 || args.parts <= 0) return;
  constexpr int kN = kVectorSize<T>;
  const bool aligned =
      args.width % kN == 0 && FitsVectors(args.x, args.x_stride, kN) &&
      FitsVectors(args.out, args.out_stride, kN) && FitsVectors(args.weight, 0, 4) &&
      (args.residual == nullptr || FitsVectors(args.residual, args.residual_stride, kN));
  if (aligned) {
    LaunchNorm<T, kN>(args, stream);
  } else {
    LaunchNorm<T, 1>(args, stream);
  }
}

}  // namespace

void RmsNorm(DType dtype, const void* x, std::int64_t x_stride, const float* weight, float eps,
             void* out, std::int64_t out_stride, std::int64_t rows, std::int64_t parts,
             std::int64_t width, cudaStream_t stream) {
  WithFloatType(dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    Norm<T>({static_cast<const T*>(x), x_stride, nullptr, 0, weight, eps, static_cast<T*>(out),
             out_stride, rows, parts, static_cast<int>(width)},
            stream);
  });
}

void AddRmsNorm(DType dtype, const void* x, std::int64_t x_stride, void* residual,
                std::int64_t residual_stride, const float* weight, float eps, void* out,
                std::int64_t out_stride, std::int64_t rows, std::int64_t width,
                cudaStream_t stream) {
  WithFloatType(dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    Norm<T>({static_cast<const T*>(x), x_stride, static_cast<T*>(residual), residual_stride, weight,
             eps, static_cast<T*>(out), out_stride, rows, 1, static_cast<int>(width)},
            stream);
  });
}

}  // namespace quire::cuda
