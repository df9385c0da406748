// The kernels of gemm_tokens_sm90.cuh for float16.
#include <utility>

#include "backend/cuda/kernels/gemm_tokens_kernels_sm90.h"
#include "backend/cuda/kernels/gemm_tokens_sm90.cuh"

namespace quire::cuda::tokens_gemm {

template <std::size_t... kIndex>
KernelTable MakeTable(std::index_sequence<kIndex...>) {
  return {{{Kernel<F16, kTiles[kIndex]>, TileShape<kTiles[kIndex]>::kSharedBytes}...}};
}

const KernelTable kKernelsF16 = MakeTable(std::make_index_sequence<kTiles.size()>());

}  // namespace quire::cuda::tokens_gemm
