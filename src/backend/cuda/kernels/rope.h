// What q, k and v go through between their projection and attention: norms of heads, rotary
// embedding, and the store into the cache.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::cuda {

// q [tokens, num_heads, head_dim], k and v [tokens, num_kv_heads, head_dim]; heads are dense within
// a row, rows lie strides (in elements) apart. head_dim is even and at most 256.
struct QkvRows {
  DType dtype = DType::kBF16;
  void* q = nullptr;
  std::int64_t q_stride = 0;
  void* k = nullptr;
  std::int64_t k_stride = 0;
  const void* v = nullptr;
  std::int64_t v_stride = 0;
  std::int64_t tokens = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
};

// Pairs (x[i], x[i + rotary_dim/2]), i < rotary_dim/2 ≤ head_dim/2, turn (GPT-NeoX); the rest of a
// head stays.
struct Rotation {
  const std::int32_t* positions = nullptr;  // [tokens]
  const float* cos_sin = nullptr;           // [positions, rotary_dim]: cosines, then sines; dense
  int rotary_dim = 0;
};

// RMS norms of each head of q and k, where the pointers are not null. float32 [head_dim].
struct HeadNorms {
  const float* q_norm = nullptr;
  const float* k_norm = nullptr;
  float eps = 0;
};

// One layer's cache: [num_blocks][2 (k, v)][num_kv_heads][block_size][head_dim].
struct KvBlocks {
  DType dtype = DType::kBF16;
  void* data = nullptr;
  int block_size = 16;
  const std::int32_t* kv_slots = nullptr;  // [tokens] block · block_size + offset; < 0: no store
};

// Rotates q and k in place.
void Rope(const QkvRows& rows, const Rotation& rotation, cudaStream_t stream);

// Stores k and v (q is not looked at).
void StoreKv(const QkvRows& rows, const KvBlocks& cache, cudaStream_t stream);

// Norms (if any), rotation and store in one kernel; q and k change in place.
void RotateAndStoreKv(const QkvRows& rows, const HeadNorms& norms, const Rotation& rotation,
                      const KvBlocks& cache, cudaStream_t stream);

}  // namespace quire::cuda
