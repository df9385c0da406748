// What timing products needs: a cold cache, and data that is not zeros.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace quire::cuda {

// Reads all of `data`, so that the L2 cache holds nothing else. `sink`: 4 bytes.
void ReadAll(const void* data, std::size_t bytes, void* sink, cudaStream_t stream);

// [count] pseudorandom values between −1 and 1. float32, bfloat16 or float16.
void FillNoise(DType dtype, void* data, std::int64_t count, cudaStream_t stream);

}  // namespace quire::cuda
