// Products of 1 to 16 tokens with a weight, at the speed at which memory gives the weight:
// out [m, n] = x [m, k] Wᵀ + b. See gemm_skinny.cu.
//
// Bits: the order in which an element is summed depends on k alone, not on m, n, the GPU or
// the other rows (kGemmSkinnyOrder names it).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::cuda {

constexpr std::int64_t kGemmSkinnyMaxRows = 16;
constexpr const char* kGemmSkinnyOrder = "mma-8x64";

struct GemmSkinnyArgs {
  const void* x = nullptr;       // [m, k], rows x_stride elements apart
  const void* weight = nullptr;  // [n, k] dense; with silu [2 n, k]: gate, then up
  const void* bias = nullptr;    // [n] ([2 n] with silu) of the weight's type, or null
  void* out = nullptr;           // [m, n], rows out_stride elements apart
  std::int64_t x_stride = 0, out_stride = 0;
  std::int64_t m = 0, n = 0, k = 0;
  DType dtype = DType::kBF16;      // bfloat16 or float16
  DType out_dtype = DType::kBF16;  // dtype or float32
  bool silu = false;               // out = silu(x gateᵀ) · x upᵀ, of dtype
};

// What a launch may use of a device.
struct GemmSkinnyDevice {
  int multiprocessors = 0;
  int shared_bytes = 0;  // that a block may have: 99 KB will do, 227 KB is what Hopper has
};

// Once for each device, which must be the current one.
void PrepareGemmSkinny(const GemmSkinnyDevice& device);
// Rows of x and W must begin at multiples of 16 bytes.
bool GemmSkinnyFeasible(const GemmSkinnyArgs& args);
void GemmSkinny(const GemmSkinnyArgs& args, const GemmSkinnyDevice& device, cudaStream_t stream);

}  // namespace quire::cuda
