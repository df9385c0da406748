// What kernels share: launching with programmatic dependence, element types, 16-byte vectors, and
// reductions in a fixed order.
//
// A kernel launched by Launch() may begin while its predecessor on the stream still runs. So every
// kernel calls WaitForPrevious() in every thread before it reads what a kernel wrote, or writes
// what a kernel reads; ahead of it only weights and tables may be read. LetNextStart() lets the
// successor begin once all blocks called it or ended; its WaitForPrevious() still waits for our
// very end.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "backend/cuda/kernels/launch.h"
#include "tensor/dtype.h"

namespace quire::cuda {

// -- launching ------------------------------------------------------------------------------------

// A failure stays the runtime's last error, which the back end asks for.
template <class... Params, class... Args>
void Launch(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Args... args) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = LaunchesOverlap() ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
}

// Before the first launch with more than 48 KB of dynamic shared memory.
template <class Kernel>
void AllowSharedMemory(Kernel* kernel, std::size_t bytes) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(bytes));
}

__device__ __forceinline__ void WaitForPrevious() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

__device__ __forceinline__ void LetNextStart() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

template <class T>
__host__ __device__ constexpr T CeilDiv(T a, T b) {
  return (a + b - 1) / b;
}

// -- element types --------------------------------------------------------------------------------

using BF16 = __nv_bfloat16;
using F16 = __half;

template <class T>
struct TypeTag {
  using Type = T;
};

// Calls f(TypeTag<float>) or that of BF16 or F16: f is a generic lambda.
template <class F>
void WithFloatType(DType dtype, F&& f) {
  if (dtype == DType::kBF16) return f(TypeTag<BF16>{});
  if (dtype == DType::kF16) return f(TypeTag<F16>{});
  f(TypeTag<float>{});
}

__device__ __forceinline__ float ToFloat(float x) { return x; }
__device__ __forceinline__ float ToFloat(BF16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float ToFloat(F16 x) { return __half2float(x); }

// Rounds to nearest even.
template <class T>
__device__ __forceinline__ T FromFloat(float x) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else if constexpr (std::is_same_v<T, BF16>) {
    return __float2bfloat16_rn(x);
  } else {
    return __float2half_rn(x);
  }
}

// -- vectors --------------------------------------------------------------------------------------

// N elements that are loaded and stored at once.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T at[N];
};

// Elements in 16 bytes.
template <class T>
inline constexpr int kVectorSize = 16 / static_cast<int>(sizeof(T));

template <int N, class T>
__device__ __forceinline__ Vector<T, N> LoadVector(const T* from) {
  return *reinterpret_cast<const Vector<T, N>*>(from);
}

template <int N, class T>
__device__ __forceinline__ void StoreVector(T* to, const Vector<T, N>& vector) {
  *reinterpret_cast<Vector<T, N>*>(to) = vector;
}

// Whether rows that begin at `data` and lie `stride` elements apart can be moved in vectors of N.
template <class T>
bool FitsVectors(const T* data, std::int64_t stride, int n) {
  return reinterpret_cast<std::uintptr_t>(data) % (sizeof(T) * static_cast<std::size_t>(n)) == 0 &&
         stride % n == 0;
}

// -- reductions -----------------------------------------------------------------------------------

// The sum over a warp, in every lane; the order depends on lanes alone.
__device__ __forceinline__ float WarpSum(float x) {
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xFFFFFFFFU, x, offset);
  return x;
}

// The sum over a block, in every thread; blockDim.x is a multiple of 32. shared: [warps of the
// block], free for another use after the next __syncthreads().
__device__ __forceinline__ float BlockSum(float x, float* shared) {
  x = WarpSum(x);
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (warps == 1) return x;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  return WarpSum(lane < warps ? shared[lane] : 0.0F);
}

}  // namespace quire::cuda
