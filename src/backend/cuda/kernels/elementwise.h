// Operators that treat elements or whole rows alike. Strides are in elements, from a row to the
// next; within a row elements are dense. No function does anything where there are no rows.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::cuda {

// out [tokens, width] = table [table_rows, width] at ids − first_row, zero outside of the table.
// table and out: float32, bfloat16 or float16 each.
void Embed(DType table_dtype, const void* table, std::int64_t table_stride, std::int64_t table_rows,
           const std::int32_t* ids, std::int64_t first_row, std::int64_t tokens, std::int64_t width,
           DType out_dtype, void* out, std::int64_t out_stride, cudaStream_t stream);

// ids[i] = last_token[slots[i]] where slots[i] ≥ 0.
void TakeLastTokens(const std::int32_t* last_token, const std::int32_t* slots, std::int64_t tokens,
                    std::int32_t* ids, cudaStream_t stream);

// out[i] = x[rows[i]], i < count; elements of any dtype.
void GatherRows(DType dtype, const void* x, std::int64_t x_stride, const std::int32_t* rows,
                std::int64_t count, std::int64_t width, void* out, std::int64_t out_stride,
                cudaStream_t stream);

// x += y. [rows, width]
void Add(DType dtype, void* x, std::int64_t x_stride, const void* y, std::int64_t y_stride,
         std::int64_t rows, std::int64_t width, cudaStream_t stream);

// out [rows, width] = silu(gate_up[:, :width]) · gate_up[:, width:2·width].
void SiluAndMul(DType dtype, const void* gate_up, std::int64_t stride, std::int64_t rows,
                std::int64_t width, void* out, std::int64_t out_stride, cudaStream_t stream);

// out [rows, width] = x as another float type (or the same).
void ConvertRows(DType from, const void* x, std::int64_t x_stride, DType to, void* out,
                 std::int64_t out_stride, std::int64_t rows, std::int64_t width,
                 cudaStream_t stream);

// out[r] += bias for all rows. bias: float32 [width].
void AddBias(DType dtype, void* out, std::int64_t out_stride, const float* bias, std::int64_t rows,
             std::int64_t width, cudaStream_t stream);

// Block `to` of `data` becomes a copy of block `from`. block_bytes: a multiple of 4.
void CopyBlock(void* data, std::int64_t block_bytes, std::int32_t from, std::int32_t to,
               cudaStream_t stream);

}  // namespace quire::cuda
