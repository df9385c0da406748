// Paged attention: which thread computes which rows over which keys.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/thread_pool.h"

namespace quire::cpu {

// The layout of a block: K of every head [kv_head][head_dim][block_size], then V of every head
// [kv_head][block_size][value_stride].
struct KvLayout {
  KvLayout(const KvLayerSpec& spec, int block_size);
  KvView View(const KvLayer& cache, int kv_head, const std::int32_t* block_table) const;

  std::int64_t value_stride = 0;
  std::int64_t head_key_bytes = 0;    // of one head's K in a block
  std::int64_t head_value_bytes = 0;  // of one head's V
  std::int64_t values_offset = 0;     // of the first head's V
  std::int64_t block_bytes = 0;
};

// Owns the scratch of attention; borrows the kernels and the threads.
class Attention {
 public:
  Attention(const CpuKernels& kernels, ThreadPool& pool) : kernels_(kernels), pool_(pool) {}

  void Run(const Tensor& q, const KvLayer& cache, const AttentionBatch& batch, float scale,
           const Tensor& out);

 private:
  // A tile of query rows of one kv head: queries [query, query + num_queries) × heads [head, head +
  // num_heads).
  struct Item {
    std::int32_t sequence = 0;
    std::int32_t kv_head = 0;
    std::int32_t query = 0;  // row of q
    std::int32_t num_queries = 0;
    std::int32_t head = 0;
    std::int32_t num_heads = 0;
    std::int32_t position = 0;   // of the first query
    std::int32_t key_begin = 0;  // keys that some row sees
    std::int32_t key_end = 0;
    std::int64_t state =
        0;  // first of its partial results, in partitions, where they are computed apart
    int num_rows() const { return num_queries * num_heads; }
    std::int64_t first_partition() const { return key_begin / kPartition; }
    std::int64_t num_partitions() const {
      return (key_end + kPartition - 1) / kPartition - first_partition();
    }
  };
  // One partition of an item.
  struct Part {
    std::int32_t item = 0;
    std::int32_t partition = 0;
  };
  struct Call;           // the arguments of Run and what follows from them
  struct ThreadScratch;  // one thread's rows

  void ListItems(const Call& call);
  void ListParts();
  void LoadTile(const Call& call, const Item& item, ThreadScratch& scratch) const;
  void AttendPart(const Call& call, const Item& item, std::int64_t partition,
                  const ThreadScratch& scratch, const SoftmaxState& state) const;
  void RunItem(const Call& call, const Item& item, ThreadScratch& scratch) const;
  void MergeParts(const Call& call, const Item& item) const;
  void MergeInto(const SoftmaxState& into, const SoftmaxState& from, int rows,
                 std::int64_t stride) const;
  void WriteOut(const Call& call, const Item& item, const SoftmaxState& state) const;
  SoftmaxState PartState(const Call& call, std::int64_t part) const;
  ThreadScratch ScratchOf(const Call& call, int thread) const;

  const CpuKernels& kernels_;
  ThreadPool& pool_;
  std::vector<Item> items_;
  std::vector<Part> parts_;
  Scratch thread_scratch_;
  Scratch part_scratch_;
};

}  // namespace quire::cpu
