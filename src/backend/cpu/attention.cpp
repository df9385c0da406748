#include "backend/cpu/attention.h"

#include <algorithm>
#include <limits>

namespace quire::cpu {
namespace {

constexpr std::int64_t kSerialWork = 1 << 15;  // multiplications not worth a second thread

std::int64_t RoundUp(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// Floats of a SoftmaxState of kMaxTileRows rows.
std::int64_t StateFloats(std::int64_t value_stride) { return kMaxTileRows * (2 + value_stride); }

SoftmaxState StateAt(float* floats) {
  return {floats, floats + kMaxTileRows, floats + 2 * kMaxTileRows};
}

}  // namespace

KvLayout::KvLayout(const KvLayerSpec& spec, int block_size) {
  const auto size = static_cast<std::int64_t>(SizeOf(spec.dtype));
  value_stride = RoundUp(spec.head_dim, 16);
  head_key_bytes = std::int64_t{spec.head_dim} * block_size * size;
  head_value_bytes = value_stride * block_size * size;
  values_offset = spec.num_kv_heads * head_key_bytes;
  block_bytes = RoundUp(values_offset + spec.num_kv_heads * head_value_bytes, 64);
}

KvView KvLayout::View(const KvLayer& cache, int kv_head, const std::int32_t* block_table) const {
  KvView view;
  const char* data = static_cast<const char*>(cache.data);
  view.keys = data + kv_head * head_key_bytes;
  view.values = data + values_offset + kv_head * head_value_bytes;
  view.block_bytes = block_bytes;
  view.block_table = block_table;
  view.block_size = cache.block_size;
  view.head_dim = cache.spec.head_dim;
  view.value_stride = static_cast<int>(value_stride);
  view.dtype = cache.spec.dtype;
  return view;
}

struct Attention::Call {
  const Tensor& q;
  const KvLayer& cache;
  const AttentionBatch& batch;
  float scale;
  const Tensor& out;
  KvLayout layout;
  int group;  // query heads of a kv head

  std::int64_t scratch_floats() const {
    const std::int64_t rows = kMaxTileRows;
    return 2 * StateFloats(layout.value_stride) + rows * cache.spec.head_dim + rows * kChunk +
           2 * rows;
  }
};

struct Attention::ThreadScratch {
  SoftmaxState part;
  SoftmaxState total;
  float* q;
  float* scores;
  std::int32_t* key_begin;
  std::int32_t* key_end;
};

Attention::ThreadScratch Attention::ScratchOf(const Call& call, int thread) const {
  // Sized by Run before any thread comes here.
  auto* floats = static_cast<float*>(thread_scratch_.data()) + thread * call.scratch_floats();
  ThreadScratch scratch;
  scratch.part = StateAt(floats);
  floats += StateFloats(call.layout.value_stride);
  scratch.total = StateAt(floats);
  floats += StateFloats(call.layout.value_stride);
  scratch.q = floats;
  floats += std::int64_t{kMaxTileRows} * call.cache.spec.head_dim;
  scratch.scores = floats;
  floats += kMaxTileRows * kChunk;
  scratch.key_begin = reinterpret_cast<std::int32_t*>(floats);
  scratch.key_end = scratch.key_begin + kMaxTileRows;
  return scratch;
}

SoftmaxState Attention::PartState(const Call& call, std::int64_t part) const {
  return StateAt(static_cast<float*>(part_scratch_.data()) +
                 part * StateFloats(call.layout.value_stride));
}

void Attention::ListItems(const Call& call) {
  items_.clear();
  const auto* query_start = call.batch.query_start.data<std::int32_t>();
  const auto* context_len = call.batch.context_len.data<std::int32_t>();
  const int window = call.cache.spec.sliding_window;
  const int heads_per_tile = std::min(call.group, kMaxTileRows);
  const int queries_per_tile = std::max(1, kMaxTileRows / heads_per_tile);
  for (int s = 0; s < call.batch.num_sequences; ++s) {
    const int count = query_start[s + 1] - query_start[s];
    for (int first = 0; first < count; first += queries_per_tile) {
      Item item;
      item.sequence = s;
      item.query = query_start[s] + first;
      item.num_queries = std::min(queries_per_tile, count - first);
      item.position = context_len[s] - count + first;
      item.key_end = item.position + item.num_queries;
      item.key_begin = window > 0 ? std::max(0, item.position + 1 - window) : 0;
      for (int kv_head = 0; kv_head < call.cache.spec.num_kv_heads; ++kv_head) {
        item.kv_head = kv_head;
        for (int head = 0; head < call.group; head += heads_per_tile) {
          item.head = kv_head * call.group + head;
          item.num_heads = std::min(heads_per_tile, call.group - head);
          items_.push_back(item);
        }
      }
    }
  }
}

void Attention::ListParts() {
  parts_.clear();
  for (std::size_t i = 0; i < items_.size(); ++i) {
    items_[i].state = static_cast<std::int64_t>(parts_.size());
    for (std::int64_t p = 0; p < items_[i].num_partitions(); ++p) {
      parts_.push_back({static_cast<std::int32_t>(i),
                        static_cast<std::int32_t>(items_[i].first_partition() + p)});
    }
  }
}

void Attention::LoadTile(const Call& call, const Item& item, ThreadScratch& scratch) const {
  const int head_dim = call.cache.spec.head_dim;
  const int window = call.cache.spec.sliding_window;
  int row = 0;
  for (int i = 0; i < item.num_queries; ++i) {
    const float* q = call.q.data<float>() + (item.query + i) * call.q.row_stride() +
                     std::int64_t{item.head} * head_dim;
    const int key_end = item.position + i + 1;
    for (int h = 0; h < item.num_heads; ++h, ++row) {
      kernels_.scale(q + std::int64_t{h} * head_dim, call.scale, head_dim,
                     scratch.q + std::int64_t{row} * head_dim);
      scratch.key_end[row] = key_end;
      scratch.key_begin[row] = window > 0 ? std::max(0, key_end - window) : 0;
    }
  }
}

void Attention::AttendPart(const Call& call, const Item& item, std::int64_t partition,
                           const ThreadScratch& scratch, const SoftmaxState& state) const {
  AttendArgs args;
  args.q = scratch.q;
  args.rows = item.num_rows();
  args.key_begin = scratch.key_begin;
  args.key_end = scratch.key_end;
  args.begin = std::max<std::int64_t>(item.key_begin, partition * kPartition);
  args.end = std::min<std::int64_t>(item.key_end, (partition + 1) * kPartition);
  args.kv = call.layout.View(call.cache, item.kv_head,
                             call.batch.blocks.data<std::int32_t>() +
                                 call.batch.block_start.data<std::int32_t>()[item.sequence]);
  args.scores = scratch.scores;
  args.state = state;
  kernels_.attend(args);
}

void Attention::MergeInto(const SoftmaxState& into, const SoftmaxState& from, int rows,
                          std::int64_t stride) const {
  for (int r = 0; r < rows; ++r) {
    kernels_.merge(into.max + r, into.sum + r, into.values + r * stride, from.max + r, from.sum + r,
                   from.values + r * stride, stride);
  }
}

void Attention::WriteOut(const Call& call, const Item& item, const SoftmaxState& state) const {
  const int head_dim = call.cache.spec.head_dim;
  int row = 0;
  for (int i = 0; i < item.num_queries; ++i) {
    float* out = call.out.data<float>() + (item.query + i) * call.out.row_stride() +
                 std::int64_t{item.head} * head_dim;
    for (int h = 0; h < item.num_heads; ++h, ++row) {
      kernels_.scale(state.values + row * call.layout.value_stride, 1.0F / state.sum[row], head_dim,
                     out + std::int64_t{h} * head_dim);
    }
  }
}

void Attention::RunItem(const Call& call, const Item& item, ThreadScratch& scratch) const {
  LoadTile(call, item, scratch);
  AttendPart(call, item, item.first_partition(), scratch, scratch.total);
  for (std::int64_t p = 1; p < item.num_partitions(); ++p) {
    AttendPart(call, item, item.first_partition() + p, scratch, scratch.part);
    MergeInto(scratch.total, scratch.part, item.num_rows(), call.layout.value_stride);
  }
  WriteOut(call, item, scratch.total);
}

void Attention::MergeParts(const Call& call, const Item& item) const {
  const SoftmaxState total = PartState(call, item.state);
  for (std::int64_t p = 1; p < item.num_partitions(); ++p) {
    MergeInto(total, PartState(call, item.state + p), item.num_rows(), call.layout.value_stride);
  }
  WriteOut(call, item, total);
}

void Attention::Run(const Tensor& q, const KvLayer& cache, const AttentionBatch& batch, float scale,
                    const Tensor& out) {
  const auto num_heads = static_cast<int>(q.row_size() / cache.spec.head_dim);
  const Call call{q,
                  cache,
                  batch,
                  scale,
                  out,
                  KvLayout(cache.spec, cache.block_size),
                  num_heads / cache.spec.num_kv_heads};
  const std::int64_t threads = pool_.num_threads();
  thread_scratch_.Get<float>(threads * call.scratch_floats());
  ListItems(call);
  const auto num_items = static_cast<std::int64_t>(items_.size());
  std::int64_t work = 0;
  for (const Item& item : items_) {
    work += std::int64_t{item.num_rows()} * (item.key_end - item.key_begin) * cache.spec.head_dim;
  }
  if (work <= kSerialWork || num_items >= 4 * threads || batch.max_context_len <= kPartition ||
      threads == 1) {
    // From the back: the last tiles of a prompt see the most keys.
    pool_.ParallelFor(num_items, work <= kSerialWork ? num_items : 1,
                      [&](std::int64_t begin, std::int64_t end, int thread) {
                        ThreadScratch scratch = ScratchOf(call, thread);
                        for (std::int64_t i = begin; i < end; ++i) {
                          RunItem(call, items_[static_cast<std::size_t>(num_items - 1 - i)],
                                  scratch);
                        }
                      });
    return;
  }
  // Few rows and many keys: the partitions of a row on different threads, merged in the same order
  // as above.
  ListParts();
  const auto num_parts = static_cast<std::int64_t>(parts_.size());
  part_scratch_.Get<float>(num_parts * StateFloats(call.layout.value_stride));
  pool_.ParallelFor(num_parts, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    ThreadScratch scratch = ScratchOf(call, thread);
    for (std::int64_t i = begin; i < end; ++i) {
      const Part& part = parts_[static_cast<std::size_t>(i)];
      const Item& item = items_[static_cast<std::size_t>(part.item)];
      LoadTile(call, item, scratch);
      AttendPart(call, item, part.partition, scratch, PartState(call, i));
    }
  });
  pool_.ParallelFor(num_items, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i)
      MergeParts(call, items_[static_cast<std::size_t>(i)]);
  });
}

}  // namespace quire::cpu
