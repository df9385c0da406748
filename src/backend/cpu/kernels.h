// The table of kernels that one instruction set provides. Kernels are plain functions of pointers
// and sizes; each works on one thread's share. Every row's arithmetic is the same whatever rows
// share a call.
//
// Include nothing here that defines inline functions which a kernel file would call: the linker
// keeps one copy of such a function, and that copy may hold instructions which this CPU lacks.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::cpu {

// The x of a GEMM is repacked as [k_blocks][rows][kXRowBytes]: a row's share of one block of K lies
// dense, and rows are a constant apart, so that a kernel reaches all rows of its tile from one
// pointer. The pad spreads the rows over the cache's sets.
constexpr std::int64_t kXBlockBytes = 1024;
constexpr std::int64_t kXRowBytes = kXBlockBytes + 64;

struct GemmArgs {
  const void* x = nullptr;       // packed as above
  std::int64_t rows = 0;         // rows of the packed x
  const void* weight = nullptr;  // [panels][k][panel_width], or [panels][k / 2][panel_width][2]
  std::int64_t k = 0;            // in_features, rounded up to k_multiple
  std::int64_t out_features = 0;
  const float* bias = nullptr;  // [out_features] or null
  float* out = nullptr;
  std::int64_t out_stride = 0;
};

// How one weight dtype is multiplied.
struct GemmKernel {
  int panel_width = 0;  // columns of out that a panel makes
  int max_tile_rows = 0;
  int k_multiple = 1;
  bool pairs = false;     // the weight's layout keeps k and k + 1 together
  DType x = DType::kF32;  // of the packed x
  // Packs rows [first, last) of x [rows, k] as `x`, zero up to padded_k.
  void (*pack_x)(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t k,
                 std::int64_t padded_k, std::int64_t first, std::int64_t last,
                 void* packed) = nullptr;
  // out[rows, panels' columns] for rows and panels [first, last).
  void (*compute)(const GemmArgs& args, std::int64_t first_panel, std::int64_t last_panel,
                  std::int64_t first_row, std::int64_t last_row) = nullptr;
};

// Attention: keys are read in subtiles of 16 tokens, softmax advances in chunks of 64, and
// partitions of 512 are summed apart and merged in order: always, at absolute positions, so that a
// row's bits depend on nothing but its own keys.
constexpr std::int64_t kSubtile = 16;
constexpr std::int64_t kChunk = 64;
constexpr std::int64_t kPartition = 512;
constexpr int kMaxTileRows = 64;

// Where one kv head of a sequence lies in the cache: K of a block is [head_dim][block_size], V is
// [block_size][value_stride].
struct KvView {
  const char* keys = nullptr;    // of block 0 and this head
  const char* values = nullptr;  // likewise
  std::int64_t block_bytes = 0;
  const std::int32_t* block_table = nullptr;
  int block_size = 0;
  int head_dim = 0;
  int value_stride = 0;  // head_dim rounded up to 16
  DType dtype = DType::kF32;
};

// Softmax of some rows over a range of keys, not yet divided by `sum`.
struct SoftmaxState {
  float* max = nullptr;     // [rows]
  float* sum = nullptr;     // [rows]
  float* values = nullptr;  // [rows, value_stride]
};

struct AttendArgs {
  const float* q = nullptr;  // [rows, head_dim], scaled
  int rows = 0;
  const std::int32_t* key_begin = nullptr;  // [rows] the keys that a row sees: [key_begin, key_end)
  const std::int32_t* key_end = nullptr;
  std::int64_t begin = 0;  // keys of this call: within one partition
  std::int64_t end = 0;
  KvView kv;
  float* scores = nullptr;  // scratch [rows, kChunk]
  SoftmaxState state;       // written
};

struct CpuKernels {
  const char* name = nullptr;   // as in CpuBackendOptions
  const char* title = nullptr;  // for people
  GemmKernel f32, bf16, f16;

  void (*to_float)(DType from, const void* source, std::int64_t n, float* out) = nullptr;
  void (*from_float)(DType to, const float* source, std::int64_t n, void* out) = nullptr;
  // out[i * stride] = x[i] as `to`: one token's key in a block.
  void (*store_keys)(DType to, const float* x, std::int64_t n, std::int64_t stride,
                     void* out) = nullptr;
  void (*add)(float* x, const float* y, std::int64_t n) = nullptr;
  void (*rms_norm)(const float* x, const float* weight, float eps, std::int64_t n,
                   float* out) = nullptr;
  // Rotates the pairs (x[i], x[i + half]).
  void (*rope)(float* x, const float* cosines, const float* sines, std::int64_t half) = nullptr;
  void (*silu_and_mul)(const float* gate, const float* up, std::int64_t n, float* out) = nullptr;

  void (*attend)(const AttendArgs& args) = nullptr;
  // into ⊕= from, for one row of `value_stride` values.
  void (*merge)(float* max, float* sum, float* values, const float* from_max, const float* from_sum,
                const float* from_values, std::int64_t value_stride) = nullptr;
  void (*scale)(const float* x, float factor, std::int64_t n, float* out) = nullptr;

  // The greatest of x; NaN where x holds one.
  float (*max)(const float* x, std::int64_t n) = nullptr;
  // out[i] = exp((x[i] - shift) * factor); returns the sum. out may be null.
  double (*exp_sum)(const float* x, float shift, float factor, std::int64_t n,
                    float* out) = nullptr;
};

extern const CpuKernels kPortableKernels;
extern const CpuKernels kAvx2Kernels;
extern const CpuKernels kAvx512Kernels;
extern const CpuKernels kAvx512Bf16Kernels;
extern const CpuKernels kAmxKernels;

}  // namespace quire::cpu
