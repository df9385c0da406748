// out [m, n] = x [m, k] Wᵀ + bias in float32, W [n, k]. Each element is one sum over k in order,
// whatever m is: a row's bits do not depend on the other rows.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace quire::cuda {

// x and out have rows `x_stride` and `out_stride` elements apart; bias [n] or null.
void GemmFloat32(const float* x, std::int64_t x_stride, const float* weight, const float* bias,
                 std::int64_t m, std::int64_t n, std::int64_t k, float* out,
                 std::int64_t out_stride, cudaStream_t stream);

}  // namespace quire::cuda
