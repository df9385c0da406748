// Hopper's warpgroup matrix product: d [64, N] = a [64, 16] · b [N, 16]ᵀ + d for bfloat16 or
// float16 in shared memory and float32 in registers. N: multiples of 16 from 32 to 256, 136 and
// 152.
//
// a and b are tiles of rows of 64 elements (128 bytes) as the copy engine writes them with a
// swizzle of 128 bytes, beginning at a multiple of 1024 bytes. Thread t of the warpgroup holds d[4
// g + i]: row 16 (t / 32) + t % 32 / 4 + 8 (i / 2) and column 8 g + 2 (t % 4) + i % 2.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace quire::cuda {

// The descriptor of a tile; that of its k-th element is 2 k / 16 more.
__device__ __forceinline__ std::uint64_t TileDescriptor(std::uint32_t shared_address) {
  constexpr std::uint64_t kEightRows = 1024 >> 4;
  constexpr std::uint64_t kSwizzle128 = 1;
  return ((shared_address & 0x3FFFF) >> 4) | (std::uint64_t{1} << 16) | (kEightRows << 32) |
         (kSwizzle128 << 62);
}

__device__ __forceinline__ void WgmmaFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kPending committed groups are at work.
template <int kPending>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps uses of d where they are relative to waits.
template <int kCount>
__device__ __forceinline__ void WgmmaPin(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
// Lists of the registers of d: their operands' numbers, and the operands.
#define QUIRE_N1 "%0, %1, %2, %3, %4, %5, %6, %7"
#define QUIRE_N2 QUIRE_N1 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define QUIRE_N3 QUIRE_N2 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define QUIRE_N4 QUIRE_N3 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define QUIRE_N5 QUIRE_N4 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define QUIRE_N6 QUIRE_N5 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define QUIRE_N7 QUIRE_N6 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define QUIRE_N8 QUIRE_N7 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define QUIRE_N8H QUIRE_N8 ", %64, %65, %66, %67"
#define QUIRE_N9 QUIRE_N8H ", %68, %69, %70, %71"
#define QUIRE_N9H QUIRE_N9 ", %72, %73, %74, %75"
#define QUIRE_N10 QUIRE_N9H ", %76, %77, %78, %79"
#define QUIRE_N11 QUIRE_N10 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define QUIRE_N12 QUIRE_N11 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define QUIRE_N13 QUIRE_N12 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define QUIRE_N14 QUIRE_N13 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define QUIRE_N15 QUIRE_N14 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define QUIRE_N16 QUIRE_N15 ", %120, %121, %122, %123, %124, %125, %126, %127"
#define QUIRE_R(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define QUIRE_R1 QUIRE_R(0), QUIRE_R(4)
#define QUIRE_R2 QUIRE_R1, QUIRE_R(8), QUIRE_R(12)
#define QUIRE_R3 QUIRE_R2, QUIRE_R(16), QUIRE_R(20)
#define QUIRE_R4 QUIRE_R3, QUIRE_R(24), QUIRE_R(28)
#define QUIRE_R5 QUIRE_R4, QUIRE_R(32), QUIRE_R(36)
#define QUIRE_R6 QUIRE_R5, QUIRE_R(40), QUIRE_R(44)
#define QUIRE_R7 QUIRE_R6, QUIRE_R(48), QUIRE_R(52)
#define QUIRE_R8 QUIRE_R7, QUIRE_R(56), QUIRE_R(60)
#define QUIRE_R8H QUIRE_R8, QUIRE_R(64)
#define QUIRE_R9 QUIRE_R8H, QUIRE_R(68)
#define QUIRE_R9H QUIRE_R9, QUIRE_R(72)
#define QUIRE_R10 QUIRE_R9H, QUIRE_R(76)
#define QUIRE_R11 QUIRE_R10, QUIRE_R(80), QUIRE_R(84)
#define QUIRE_R12 QUIRE_R11, QUIRE_R(88), QUIRE_R(92)
#define QUIRE_R13 QUIRE_R12, QUIRE_R(96), QUIRE_R(100)
#define QUIRE_R14 QUIRE_R13, QUIRE_R(104), QUIRE_R(108)
#define QUIRE_R15 QUIRE_R14, QUIRE_R(112), QUIRE_R(116)
#define QUIRE_R16 QUIRE_R15, QUIRE_R(120), QUIRE_R(124)

#define QUIRE_WGMMA(n, type, list, a, b, ...)                                                    \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" list "}, " a \
               ", " b ", 1, 1, 1, 0, 0;"                                                         \
               : __VA_ARGS__                                                                     \
               : "l"(a_tile), "l"(b_tile))
#define QUIRE_WGMMA_CASE(n, list, a, b, ...)           \
  if constexpr (kN == n) {                             \
    if constexpr (std::is_same_v<T, __nv_bfloat16>)    \
      QUIRE_WGMMA(n, "bf16", list, a, b, __VA_ARGS__); \
    else                                               \
      QUIRE_WGMMA(n, "f16", list, a, b, __VA_ARGS__);  \
  }

// d [kN / 2].
template <class T, int kN>
__device__ __forceinline__ void Wgmma(float* d, std::uint64_t a_tile, std::uint64_t b_tile) {
  static_assert((kN % 16 == 0 && kN >= 32 && kN <= 256) || kN == 136 || kN == 152);
  QUIRE_WGMMA_CASE(32, QUIRE_N2, "%16", "%17", QUIRE_R2)
  QUIRE_WGMMA_CASE(48, QUIRE_N3, "%24", "%25", QUIRE_R3)
  QUIRE_WGMMA_CASE(64, QUIRE_N4, "%32", "%33", QUIRE_R4)
  QUIRE_WGMMA_CASE(80, QUIRE_N5, "%40", "%41", QUIRE_R5)
  QUIRE_WGMMA_CASE(96, QUIRE_N6, "%48", "%49", QUIRE_R6)
  QUIRE_WGMMA_CASE(112, QUIRE_N7, "%56", "%57", QUIRE_R7)
  QUIRE_WGMMA_CASE(128, QUIRE_N8, "%64", "%65", QUIRE_R8)
  QUIRE_WGMMA_CASE(136, QUIRE_N8H, "%68", "%69", QUIRE_R8H)
  QUIRE_WGMMA_CASE(144, QUIRE_N9, "%72", "%73", QUIRE_R9)
  QUIRE_WGMMA_CASE(152, QUIRE_N9H, "%76", "%77", QUIRE_R9H)
  QUIRE_WGMMA_CASE(160, QUIRE_N10, "%80", "%81", QUIRE_R10)
  QUIRE_WGMMA_CASE(176, QUIRE_N11, "%88", "%89", QUIRE_R11)
  QUIRE_WGMMA_CASE(192, QUIRE_N12, "%96", "%97", QUIRE_R12)
  QUIRE_WGMMA_CASE(208, QUIRE_N13, "%104", "%105", QUIRE_R13)
  QUIRE_WGMMA_CASE(224, QUIRE_N14, "%112", "%113", QUIRE_R14)
  QUIRE_WGMMA_CASE(240, QUIRE_N15, "%120", "%121", QUIRE_R15)
  QUIRE_WGMMA_CASE(256, QUIRE_N16, "%128", "%129", QUIRE_R16)
}

#undef QUIRE_WGMMA_CASE
#undef QUIRE_WGMMA

}  // namespace quire::cuda
