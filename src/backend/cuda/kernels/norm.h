// RMS norms: one block a row, summed in an order that depends on the width alone. Strides are in
// elements.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::cuda {

// out = x / sqrt(mean(x²) + eps) · weight over the last dimension of [rows, parts, width]: part p
// of row r begins at r · stride + p · width. out may be x. weight: float32 [width]. Any width.
void RmsNorm(DType dtype, const void* x, std::int64_t x_stride, const float* weight, float eps,
             void* out, std::int64_t out_stride, std::int64_t rows, std::int64_t parts,
             std::int64_t width, cudaStream_t stream);

// residual += x, rounded to dtype; out = the RMS norm of that. All [rows, width]; out may be x.
void AddRmsNorm(DType dtype, const void* x, std::int64_t x_stride, void* residual,
                std::int64_t residual_stride, const float* weight, float eps, void* out,
                std::int64_t out_stride, std::int64_t rows, std::int64_t width,
                cudaStream_t stream);

}  // namespace quire::cuda
