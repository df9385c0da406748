// Products of up to 512 tokens with a weight on Hopper: out [m, n] = x [m, k] Wᵀ + b, where weights
// are on the 64-row side of wgmma, so that 300 tokens cost 304. See gemm_tokens_sm90.cuh.
//
// Bits: how an element's sum is cut into parts, at multiples of 64 of k, and the order in which
// parts are added depend on n, k and the number of clusters alone. So with one number of clusters
// (the default depends on n, k and the GPU) a row's bits are the same whatever m, the tile of
// tokens and the other rows are. GemmTokensOrder() is that number: equal for equal bits.
//
// Launches that share a workspace must be on one stream. Blocks wait for each other: all of a
// launch must fit on the GPU, so no kernel that waits for a later one may hold multiprocessors
// beside it. The weight is read before the kernel ahead on the stream is done: that one must not
// write it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace quire::cuda {

struct GemmTokensArgs {
  const void* x = nullptr;       // [m, k], rows x_stride elements apart
  const void* weight = nullptr;  // [n, k] dense; with silu [2 n, k]: gate, then up
  const void* bias = nullptr;    // [n] ([2 n] with silu) of the weight's type, or null
  void* out = nullptr;           // [m, n], rows out_stride elements apart
  std::int64_t x_stride = 0, out_stride = 0;
  std::int64_t m = 0, n = 0, k = 0;
  DType dtype = DType::kBF16;      // bfloat16 or float16
  DType out_dtype = DType::kBF16;  // dtype or float32
  bool silu = false;               // out = silu(x gateᵀ) · x upᵀ, of dtype
  void* workspace = nullptr;       // GemmTokensWorkspaceBytes(); zeros before the first launch
};

// How a product is computed. Only `clusters` changes bits.
struct GemmTokensVariant {
  int tokens = 0;    // of a tile: a multiple of 16 from 32 to 256, 272, 288 or 304
  int clusters = 0;  // pairs of blocks that share the work; 0: GemmTokensClusters()
};

// Of the current device, which must be a Hopper.
std::size_t GemmTokensWorkspaceBytes();
// As many as run at once, unless that cuts a tile's k into too many parts.
int GemmTokensClusters(std::int64_t n, std::int64_t k, bool silu);
// The smallest tile that holds m tokens in one pass or, beyond 304, in two.
GemmTokensVariant GemmTokensChoice(const GemmTokensArgs& args);
// n and k are multiples of 8; rows of x, out and W begin at multiples of 16 bytes; one or two tiles
// of at most 512 tokens together hold m.
bool GemmTokensFeasible(const GemmTokensVariant& variant, const GemmTokensArgs& args);
int GemmTokensOrder(const GemmTokensVariant& variant, const GemmTokensArgs& args);
// Needs a feasible variant. A failure stays the runtime's last error.
void GemmTokens(const GemmTokensVariant& variant, const GemmTokensArgs& args, cudaStream_t stream);

}  // namespace quire::cuda
