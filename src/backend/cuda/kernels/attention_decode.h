// Attention of few rows per sequence over long contexts (decode): see attention_decode.cu.
#pragma once

#include "backend/cuda/kernels/attention.h"

namespace quire::cuda {

constexpr int kDecodeRows = 16;      // packed rows of a piece at most
constexpr int kDecodeTileKeys = 16;  // begin of a piece is a multiple of it

bool AttentionDecodeSupports(DType dtype, int head_dim, int block_size);
// Floats of `partial` that a slot takes per kv head.
constexpr int AttentionDecodeSlotFloats(int head_dim) { return kDecodeRows * head_dim + 32; }
// Blocks of threads that run at once on one multiprocessor of the current device; also raises the
// kernels' limit of shared memory. To be called once before the first launch.
int AttentionDecodePrepare(DType dtype, int head_dim);
// pieces[w] is the first piece of worker w, of args.num_workers; the others follow by `next`.
void AttentionDecode(const AttentionArgs& args, cudaStream_t stream);

}  // namespace quire::cuda
