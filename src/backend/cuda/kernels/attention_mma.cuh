// Pieces of the tensor-core attention kernels for sm_80 and later: asynchronous copies, ldmatrix,
// mma.m16n8k16, and the layout of their operands.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace quire::cuda::attention {

constexpr float kLog2E = 1.4426950408889634F;

template <typename T>
__device__ __forceinline__ std::uint32_t Pack(float low, float high);
template <>
__device__ __forceinline__ std::uint32_t Pack<__nv_bfloat16>(float low, float high) {
  std::uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
template <>
__device__ __forceinline__ std::uint32_t Pack<__half>(float low, float high) {
  std::uint32_t packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ std::uint32_t SharedAddress(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// 16 bytes, or 16 zero bytes where `valid` is not.
__device__ __forceinline__ void CopyAsync(std::uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

struct Fragment4 {
  std::uint32_t x[4];
};
__device__ __forceinline__ Fragment4 LoadMatrices(std::uint32_t address) {
  Fragment4 f;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f.x[0]), "=r"(f.x[1]), "=r"(f.x[2]), "=r"(f.x[3])
               : "r"(address)
               : "memory");
  return f;
}
__device__ __forceinline__ Fragment4 LoadMatricesTransposed(std::uint32_t address) {
  Fragment4 f;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f.x[0]), "=r"(f.x[1]), "=r"(f.x[2]), "=r"(f.x[3])
               : "r"(address)
               : "memory");
  return f;
}

// c [16, 8] += a [16, 16] · b [16, 8]. A thread with g = lane / 4 and t = lane % 4 holds of c the
// elements (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1).
template <typename T>
__device__ __forceinline__ void Multiply(float (&c)[4], const Fragment4& a, std::uint32_t b0,
                                         std::uint32_t b1);
template <>
__device__ __forceinline__ void Multiply<__nv_bfloat16>(float (&c)[4], const Fragment4& a,
                                                        std::uint32_t b0, std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void Multiply<__half>(float (&c)[4], const Fragment4& a,
                                                 std::uint32_t b0, std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b0), "r"(b1));
}

// A tile in shared memory is rows of kDim 16-bit elements, their 16-byte chunks swizzled so that
// the same chunk of 8 rows lies in 8 different groups of banks.
template <int kDim>
__device__ __forceinline__ std::uint32_t TileOffset(int row, int chunk) {
  return static_cast<std::uint32_t>(row * (kDim * 2) + ((chunk ^ (row & 7)) << 4));
}

// exp2(m − max) with no NaN where both are −∞.
__device__ __forceinline__ float Weight(float m, float max) {
  return m == -INFINITY ? 0.0F : Exp2(m - max);
}

}  // namespace quire::cuda::attention
