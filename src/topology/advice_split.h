// What fits where, and which GPUs a tensor-parallel group may be made of.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "topology/advice.h"

namespace quire {

// Of a GPU's memory; the rest is for activations, CUDA and graphs (as --gpu-memory-utilization).
inline constexpr double kUsableMemory = 0.9;
// From so many GB/s on, a measured copy between two GPUs is fast enough for tensor parallelism.
inline constexpr double kTensorGbPerS = 10;

// Bytes that weights and KV cache may take: at most what is free; 0 where it is not known.
std::int64_t UsableBytes(const GpuFacts& gpu);

// GPUs of one kind, which alone may share a model: the slowest sets the pace.
using GpuGroup = std::vector<const GpuFacts*>;
std::vector<GpuGroup> GroupsOfOneKind(const Topology& topology);
// Of the GPU that has the least.
std::int64_t UsableBytes(const GpuGroup& group);
std::vector<int> IndexesOf(const GpuGroup& group);

struct MemoryFit {
  bool fits = false;               // a sequence of the context's length at least
  std::int64_t weight_bytes = 0;   // of the rank that has the most
  std::int64_t room_bytes = 0;     // for its KV cache; negative: not even the weights fit
  std::int64_t kv_tokens = 0;      // in all of the model's KV cache
  std::int64_t missing_bytes = 0;  // on that rank, if it does not fit
};
MemoryFit FitOf(const ModelNeeds& model, std::int64_t usable_bytes, int tensor, int pipeline);

// Whether sums over these two GPUs, twice a layer, are fast enough.
bool IsTensorLink(const GpuPair& pair);
// Sets of GPUs of which each reaches each: over NVLink only, or over any tensor link.
std::vector<GpuGroup> Islands(const Topology& topology, const GpuGroup& group, bool nvlink_only);

struct ParallelSplit {
  int tensor = 1, pipeline = 1, data = 1;
  std::vector<int> gpus;  // engine after engine, stage after stage
};
// The best split of the model over the group's GPUs; nothing: it does not fit them.
std::optional<ParallelSplit> SplitOver(const Topology& topology, const GpuGroup& group,
                                       const ModelNeeds& model);

}  // namespace quire
