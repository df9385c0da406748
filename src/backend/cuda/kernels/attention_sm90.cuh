// Hopper's tensor cores and copy engine in PTX: mbarriers, TMA loads, named barriers, and wgmma of
// 64 rows with the accumulator in registers. sm_90a only.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "backend/cuda/kernels/attention_mma.cuh"

namespace quire::cuda::attention {

// -- barriers ---------------------------------------------------------------------------------

__device__ __forceinline__ void InitBarrier(std::uint64_t& barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(&barrier)),
               "r"(count));
}
__device__ __forceinline__ void FenceBarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void Arrive(std::uint64_t& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(&barrier))
               : "memory");
}
// Arrives at the same barrier of block `rank` of the cluster.
__device__ __forceinline__ void ArriveAt(std::uint64_t& barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}\n" ::"r"(SharedAddress(&barrier)),
      "r"(rank)
      : "memory");
}
// Arrives, and lets the barrier wait for `bytes` of copies too.
__device__ __forceinline__ void ArriveExpecting(std::uint64_t& barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(&barrier)),
      "r"(bytes)
      : "memory");
}
// Waits for the end of the phase with this parity.
__device__ __forceinline__ void Wait(std::uint64_t& barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(SharedAddress(&barrier)),
      "r"(parity)
      : "memory");
}
__device__ __forceinline__ void SyncThreads(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void ArriveThreads(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ int ClusterRank() {
  int rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// All threads of all blocks of the cluster.
__device__ __forceinline__ void SyncCluster() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}
// Makes what this thread wrote to shared memory visible to wgmma and TMA.
__device__ __forceinline__ void FenceAsyncProxy() {
  asm volatile("fence.proxy.async;" ::: "memory");
}

template <int kRegisters>
__device__ __forceinline__ void RaiseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void LowerRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// -- copies -----------------------------------------------------------------------------------

// One lane of the warp, the same each time. The compiler knows that it is alone, so that what it
// does with uniform registers needs no loop over lanes.
__device__ __forceinline__ bool Elected() {
  int elected = 0;
  asm volatile(
      "{\n"
      ".reg .pred one;\n"
      "elect.sync _|one, 0xFFFFFFFF;\n"
      "@one mov.s32 %0, 1;\n"
      "}\n"
      : "+r"(elected));
  return elected != 0;
}

// A box of a matrix [z][rows][64] that is 64 columns wide, from row y of slice z on, to the same
// place in the first kBlocks blocks of the cluster.
template <int kBlocks>
__device__ __forceinline__ void LoadBox(const CUtensorMap& map, int y, int z, std::uint32_t to,
                                        std::uint64_t& barrier) {
  if constexpr (kBlocks == 1) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, "
        "{%2, %3, %4}], [%5];" ::"r"(to),
        "l"(&map), "r"(0), "r"(y), "r"(z), "r"(SharedAddress(&barrier))
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".multicast::cluster [%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(to),
        "l"(&map), "r"(0), "r"(y), "r"(z), "r"(SharedAddress(&barrier)),
        "h"(static_cast<std::uint16_t>((1 << kBlocks) - 1))
        : "memory");
  }
}
__device__ __forceinline__ void PrefetchMap(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// -- wgmma ------------------------------------------------------------------------------------

// Where an operand lies: a matrix of 128-byte rows, 128-byte swizzle, whose groups of 8 rows lie
// `group_stride` bytes apart. `column_stride`: bytes between two such matrices side by side, where
// the operand's rows run along the product's inner dimension and are longer than 64 elements.
class Descriptor {
 public:
  __device__ __forceinline__ Descriptor(std::uint32_t address, int group_stride, int column_stride)
      : low_(__shfl_sync(~0U, (address & 0x3FFFF) >> 4 | (column_stride >> 4) << 16, 0)),
        high_(__shfl_sync(~0U, 1U << 30 | group_stride >> 4, 0)) {}
  // Of what lies so many bytes behind it.
  __device__ __forceinline__ std::uint64_t At(int bytes) const {
    return std::uint64_t{high_} << 32 | (low_ + (bytes >> 4));
  }

 private:
  std::uint32_t low_, high_;
};

__device__ __forceinline__ void FenceWgmma() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void CommitWgmma() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void WaitForWgmma() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving uses of registers over a wait.
template <int kTiles>
__device__ __forceinline__ void Pin(float (&c)[kTiles][4]) {
#pragma unroll
  for (auto& tile : c) {
#pragma unroll
    for (float& x : tile) asm volatile("" : "+f"(x)::"memory");
  }
}

// clang-format off
// Operands of the asm statements below: registers and elements of the accumulator.
#define QUIRE_ROW(i) "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
#define QUIRE_REGISTERS_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define QUIRE_ELEMENTS_64 \
  QUIRE_ROW(0), QUIRE_ROW(1), QUIRE_ROW(2), QUIRE_ROW(3), QUIRE_ROW(4), QUIRE_ROW(5), \
  QUIRE_ROW(6), QUIRE_ROW(7)
#define QUIRE_REGISTERS_128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define QUIRE_ELEMENTS_128 \
  QUIRE_ROW(0), QUIRE_ROW(1), QUIRE_ROW(2), QUIRE_ROW(3), QUIRE_ROW(4), QUIRE_ROW(5), \
  QUIRE_ROW(6), QUIRE_ROW(7), QUIRE_ROW(8), QUIRE_ROW(9), QUIRE_ROW(10), QUIRE_ROW(11), \
  QUIRE_ROW(12), QUIRE_ROW(13), QUIRE_ROW(14), QUIRE_ROW(15)
#define QUIRE_REGISTERS_256 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define QUIRE_ELEMENTS_256 \
  QUIRE_ROW(0), QUIRE_ROW(1), QUIRE_ROW(2), QUIRE_ROW(3), QUIRE_ROW(4), QUIRE_ROW(5), \
  QUIRE_ROW(6), QUIRE_ROW(7), QUIRE_ROW(8), QUIRE_ROW(9), QUIRE_ROW(10), QUIRE_ROW(11), \
  QUIRE_ROW(12), QUIRE_ROW(13), QUIRE_ROW(14), QUIRE_ROW(15), QUIRE_ROW(16), QUIRE_ROW(17), \
  QUIRE_ROW(18), QUIRE_ROW(19), QUIRE_ROW(20), QUIRE_ROW(21), QUIRE_ROW(22), QUIRE_ROW(23), \
  QUIRE_ROW(24), QUIRE_ROW(25), QUIRE_ROW(26), QUIRE_ROW(27), QUIRE_ROW(28), QUIRE_ROW(29), \
  QUIRE_ROW(30), QUIRE_ROW(31)
// c [64, N] (+)= a [64, 16] · b [N, 16]ᵀ, both in shared memory with rows along the inner dimension.
#define QUIRE_WGMMA_SS(N, TYPE, A, B, P)                                                        \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" P ", 0;\n"                                 \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {"             \
               QUIRE_REGISTERS_##N "}, %" A ", %" B ", p, 1, 1, 0, 0;\n}\n"                    \
               : QUIRE_ELEMENTS_##N                                                             \
               : "l"(a), "l"(b), "r"(accumulate ? 1 : 0))
// c [64, N] += a [64, 16] · b [16, N], a in registers.
#define QUIRE_WGMMA_RS(N, TYPE, A0, A1, A2, A3, B)                                              \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"                                       \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {"             \
               QUIRE_REGISTERS_##N "}, {%" A0 ", %" A1 ", %" A2 ", %" A3 "}, %" B               \
               ", p, 1, 1, 1;\n}\n"                                                            \
               : QUIRE_ELEMENTS_##N                                                             \
               : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "l"(b))
// clang-format on

template <typename T>
constexpr bool kIsBF16 = std::is_same_v<T, __nv_bfloat16>;

// c [64, 8 · kTiles] (+)= a · bᵀ: 16 columns of both, from descriptors.
template <typename T, int kTiles>
__device__ __forceinline__ void MultiplyShared(float (&c)[kTiles][4], std::uint64_t a,
                                               std::uint64_t b, bool accumulate) {
  static_assert(kTiles == 8 || kTiles == 16);
  if constexpr (kTiles == 8 && kIsBF16<T>) {
    QUIRE_WGMMA_SS(64, "bf16", "32", "33", "34");
  } else if constexpr (kTiles == 8) {
    QUIRE_WGMMA_SS(64, "f16", "32", "33", "34");
  } else if constexpr (kIsBF16<T>) {
    QUIRE_WGMMA_SS(128, "bf16", "64", "65", "66");
  } else {
    QUIRE_WGMMA_SS(128, "f16", "64", "65", "66");
  }
}

// c [64, 8 · kTiles] += a [64, 16] · b [16, 8 · kTiles].
template <typename T, int kTiles>
__device__ __forceinline__ void MultiplyRegisters(float (&c)[kTiles][4], const Fragment4& a,
                                                  std::uint64_t b) {
  static_assert(kTiles == 8 || kTiles == 16 || kTiles == 32);
  if constexpr (kTiles == 8 && kIsBF16<T>) {
    QUIRE_WGMMA_RS(64, "bf16", "32", "33", "34", "35", "36");
  } else if constexpr (kTiles == 8) {
    QUIRE_WGMMA_RS(64, "f16", "32", "33", "34", "35", "36");
  } else if constexpr (kTiles == 16 && kIsBF16<T>) {
    QUIRE_WGMMA_RS(128, "bf16", "64", "65", "66", "67", "68");
  } else if constexpr (kTiles == 16) {
    QUIRE_WGMMA_RS(128, "f16", "64", "65", "66", "67", "68");
  } else if constexpr (kIsBF16<T>) {
    QUIRE_WGMMA_RS(256, "bf16", "128", "129", "130", "131", "132");
  } else {
    QUIRE_WGMMA_RS(256, "f16", "128", "129", "130", "131", "132");
  }
}

#undef QUIRE_ROW
#undef QUIRE_REGISTERS_64
#undef QUIRE_ELEMENTS_64
#undef QUIRE_REGISTERS_128
#undef QUIRE_ELEMENTS_128
#undef QUIRE_REGISTERS_256
#undef QUIRE_ELEMENTS_256
#undef QUIRE_WGMMA_SS
#undef QUIRE_WGMMA_RS

}  // namespace quire::cuda::attention
