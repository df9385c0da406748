// What the attention kernels share: the arguments of a launch, and the pieces of work that the host
// has made of a step (attention_plan.h).
//
// The query heads of one kv head are computed together: "packed row" r of a sequence is token
// r / group and head kv_head · group + r % group, so that a tile of rows serves any group.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::cuda {

// Some packed rows of one sequence over some of its keys. Where a row's keys are spread over
// several pieces, each leaves its sums in a slot of `partial`, and the block of threads that ends
// last adds the slots up in their order. Worker w computes pieces[w] and those that follow it by
// `next`.
struct alignas(16) AttentionPiece {
  std::int32_t first_block = 0;  // of the sequence in `blocks`
  std::int32_t first_token = 0;  // row of q and out of the sequence's first token of this step
  std::int32_t position = 0;     // of that token; what is before it was stored by earlier steps
  std::int32_t first_row = 0;    // packed row
  std::int32_t num_rows = 0;     // 0: no work
  std::int32_t begin = 0;        // keys [begin, end); begin is a multiple of the tile's keys
  std::int32_t end = 0;
  std::int32_t first_slot = 0;  // of the row's slots
  std::int32_t slot = 0;        // this piece's, counted from first_slot
  std::int32_t num_slots = 1;   // 1: the rows' keys are all here, and no slot is used
  std::int32_t next = -1;       // the piece that the same worker computes then
  std::int32_t kv_head = 0;     // prefill; in decode a piece stands for all kv heads
};
static_assert(sizeof(AttentionPiece) == 48);

struct AttentionArgs {
  DType dtype = DType::kBF16;  // of q, cache and out
  int head_dim = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int group = 1;  // num_heads / num_kv_heads
  // Packed row r is of token r / group: the upper half of r · group_inverse, where the group is
  // more than 1 and r · group < 2^32.
  std::uint32_t group_inverse = 0;
  int block_size = 0;
  int block_shift = 0;  // log2(block_size)
  int window = 0;       // 0: none; else a token sees itself and window − 1 tokens before it
  float scale = 0;
  const void* q = nullptr;  // [tokens, num_heads, head_dim]
  std::int64_t q_stride = 0;
  void* out = nullptr;  // [tokens, num_heads, head_dim]
  std::int64_t out_stride = 0;
  const void* cache = nullptr;  // [blocks][2][num_kv_heads][block_size][head_dim]
  std::int64_t num_blocks = 0;
  const std::int32_t* blocks = nullptr;  // block ids of all sequences

  // Where the host has divided the work.
  const AttentionPiece* pieces = nullptr;
  int num_workers = 0;  // in decode per kv head
  float* partial = nullptr;
  std::int32_t* counters = nullptr;  // zero before and after a launch; indexed like slots

  // Where no plan is needed.
  int num_sequences = 0;
  int num_tokens = 0;
  const std::int32_t* query_start = nullptr;
  const std::int32_t* context_len = nullptr;
  const std::int32_t* block_start = nullptr;
};

}  // namespace quire::cuda
