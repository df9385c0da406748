// Attention of many rows per sequence on tensor cores: see attention_prefill.cu and
// attention_prefill_sm90.cu. Pieces of both name their kv head.
#pragma once

#include "backend/cuda/kernels/attention.h"

namespace quire::cuda {

// What a prefill kernel takes for a head_dim: the rows and keys of its tiles, and what a slot takes
// of `partial` and of `counters`.
struct AttentionTile {
  int rows = 0, keys = 0;
  int slot_floats = 0, slot_counters = 0;
};

// -- mma.sync, sm_80 and later
bool AttentionPrefillSupports(DType dtype, int head_dim, int block_size);
AttentionTile AttentionPrefillTile(int head_dim);
// How many workers the current device has; 0 where it cannot run the kernel. Also raises the
// kernel's limit of shared memory: to be called before the first launch.
int AttentionPrefillPrepare(DType dtype, int head_dim);
void AttentionPrefill(const AttentionArgs& args, cudaStream_t stream);

// -- wgmma and TMA, sm_90a
bool AttentionPrefillSm90Supports(DType dtype, int head_dim, int block_size);
AttentionTile AttentionPrefillSm90Tile(int head_dim);
int AttentionPrefillSm90Prepare(DType dtype, int head_dim);
void AttentionPrefillSm90(const AttentionArgs& args, cudaStream_t stream);

}  // namespace quire::cuda
