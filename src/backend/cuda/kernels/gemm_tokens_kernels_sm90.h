// The kernels of gemm_tokens_sm90.cuh by tile of tokens, compiled in a file for each type.
#pragma once

#include <cuda.h>

#include <array>
#include <cstddef>

namespace quire::cuda::tokens_gemm {

struct Params;

inline constexpr std::array kTiles = {32,  48,  64,  80,  96,  112, 128, 144, 160,
                                      176, 192, 208, 224, 240, 256, 272, 288, 304};

struct KernelEntry {
  void (*kernel)(CUtensorMap weight_map, CUtensorMap token_map, Params params);
  int shared_bytes;
};
using KernelTable = std::array<KernelEntry, kTiles.size()>;

extern const KernelTable kKernelsBF16;
extern const KernelTable kKernelsF16;

}  // namespace quire::cuda::tokens_gemm
