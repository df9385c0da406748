#include "topology/advice_split.h"

#include <algorithm>
#include <cmath>

namespace quire {
namespace {

bool SameKind(const GpuFacts& a, const GpuFacts& b) {
  const auto larger = static_cast<double>(std::max(a.memory_bytes, b.memory_bytes));
  const auto smaller = static_cast<double>(std::min(a.memory_bytes, b.memory_bytes));
  return a.name == b.name && a.compute_capability == b.compute_capability &&
         smaller >= 0.95 * larger;
}

int CeilDiv(int a, int b) { return (a + b - 1) / b; }

// Disjoint tensor-parallel groups of that size, as near to each other as they come.
std::vector<GpuGroup> TensorGroups(const std::vector<GpuGroup>& islands, int size) {
  std::vector<GpuGroup> groups;
  for (const GpuGroup& island : islands) {
    for (std::size_t at = 0; at + static_cast<std::size_t>(size) <= island.size();
         at += static_cast<std::size_t>(size))
      groups.emplace_back(island.begin() + static_cast<std::ptrdiff_t>(at),
                          island.begin() + static_cast<std::ptrdiff_t>(at) + size);
  }
  return groups;
}

std::vector<GpuGroup> Singles(const GpuGroup& group) {
  std::vector<GpuGroup> singles;
  for (const GpuFacts* gpu : group) singles.push_back({gpu});
  return singles;
}

// Owns the islands of a group, so that they are found once.
class SplitSearch {
 public:
  SplitSearch(const Topology& topology, const GpuGroup& group, const ModelNeeds& model)
      : model_(model),
        singles_(Singles(group)),
        nvlink_(Islands(topology, group, true)),
        any_(Islands(topology, group, false)),
        usable_(UsableBytes(group)) {}

  // One engine over `size` GPUs with as much tensor parallelism as the links carry.
  std::optional<ParallelSplit> OfSize(int size) const {
    for (int tensor = size; tensor >= 1; --tensor) {
      const int pipeline = size / tensor;
      if (size % tensor != 0 || (model_.num_heads > 0 && tensor > model_.num_heads) ||
          (model_.num_layers > 0 && pipeline > model_.num_layers) ||
          !FitOf(model_, usable_, tensor, pipeline).fits)
        continue;
      for (const auto* islands : {tensor > 1 ? &nvlink_ : &singles_, &any_}) {
        const std::vector<GpuGroup> groups = TensorGroups(*islands, tensor);
        const int data = static_cast<int>(groups.size()) / pipeline;
        if (data == 0) continue;
        ParallelSplit split{tensor, pipeline, data, {}};
        for (int i = 0; i < data * pipeline; ++i) {
          for (const GpuFacts* gpu : groups[static_cast<std::size_t>(i)])
            split.gpus.push_back(gpu->index);
        }
        return split;
      }
    }
    return std::nullopt;
  }

 private:
  const ModelNeeds& model_;
  const std::vector<GpuGroup> singles_, nvlink_, any_;
  const std::int64_t usable_;
};

}  // namespace

std::int64_t UsableBytes(const GpuFacts& gpu) {
  const auto usable =
      static_cast<std::int64_t>(kUsableMemory * static_cast<double>(gpu.memory_bytes));
  return gpu.memory_free_bytes > 0 ? std::min(usable, gpu.memory_free_bytes) : usable;
}

std::vector<GpuGroup> GroupsOfOneKind(const Topology& topology) {
  std::vector<GpuGroup> groups;
  for (const GpuFacts& gpu : topology.gpus) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const GpuGroup& known) {
      return SameKind(*known.front(), gpu);
    });
    if (group == groups.end()) {
      groups.push_back({&gpu});
    } else {
      group->push_back(&gpu);
    }
  }
  return groups;
}

std::int64_t UsableBytes(const GpuGroup& group) {
  std::int64_t least = group.empty() ? 0 : UsableBytes(*group.front());
  for (const GpuFacts* gpu : group) least = std::min(least, UsableBytes(*gpu));
  return least;
}

std::vector<int> IndexesOf(const GpuGroup& group) {
  std::vector<int> indexes;
  for (const GpuFacts* gpu : group) indexes.push_back(gpu->index);
  return indexes;
}

MemoryFit FitOf(const ModelNeeds& model, std::int64_t usable_bytes, int tensor, int pipeline) {
  // The stage and the rank that have the most decide.
  const double layers =
      model.num_layers > 0
          ? static_cast<double>(CeilDiv(model.num_layers, pipeline)) / model.num_layers
          : 1.0 / pipeline;
  const double heads =
      model.num_kv_heads > 0
          ? static_cast<double>(CeilDiv(model.num_kv_heads, tensor)) / model.num_kv_heads
          : 1.0 / tensor;
  const double weights = static_cast<double>(model.weight_bytes) * layers / tensor;
  const double kv_per_token = static_cast<double>(model.kv_bytes_per_token) * layers * heads;
  const double room = static_cast<double>(usable_bytes) - weights;
  const double needed =
      kv_per_token * static_cast<double>(std::max<std::int64_t>(model.context_tokens, 1));
  MemoryFit fit;
  fit.weight_bytes = std::llround(weights);
  fit.room_bytes = std::llround(room);
  fit.kv_tokens = kv_per_token > 0 && room > 0 ? static_cast<std::int64_t>(room / kv_per_token) : 0;
  fit.fits = room >= needed;
  fit.missing_bytes = fit.fits ? 0 : std::llround(needed - room);
  return fit;
}

bool IsTensorLink(const GpuPair& pair) {
  if (pair.link == LinkKind::kNvLink) return pair.peer_works.value_or(true);
  const bool lacks_peer =
      pair.peer_works ? !*pair.peer_works : !pair.driver_claims_peer.value_or(true);
  if (lacks_peer) return false;
  if (pair.copy_gb_per_s) return *pair.copy_gb_per_s >= kTensorGbPerS;
  switch (pair.link) {
    case LinkKind::kPix:
    case LinkKind::kPxb:
    case LinkKind::kPhb:
      return true;
    case LinkKind::kNode:  // CPUs differ: here the driver has to say yes
      return pair.peer_works.has_value() || pair.driver_claims_peer.has_value();
    default:
      return false;
  }
}

std::vector<GpuGroup> Islands(const Topology& topology, const GpuGroup& group, bool nvlink_only) {
  std::vector<GpuGroup> islands;
  for (const GpuFacts* gpu : group) {
    const auto reaches = [&](const GpuFacts* other) {
      const GpuPair* pair = topology.Pair(gpu->index, other->index);
      return pair != nullptr && IsTensorLink(*pair) &&
             (!nvlink_only || pair->link == LinkKind::kNvLink);
    };
    const auto island = std::find_if(islands.begin(), islands.end(), [&](const GpuGroup& members) {
      return std::all_of(members.begin(), members.end(), reaches);
    });
    if (island == islands.end()) {
      islands.push_back({gpu});
    } else {
      island->push_back(gpu);
    }
  }
  return islands;
}

std::optional<ParallelSplit> SplitOver(const Topology& topology, const GpuGroup& group,
                                       const ModelNeeds& model) {
  const SplitSearch search(topology, group, model);
  const int num_gpus = static_cast<int>(group.size());
  for (int size = 1; size <= num_gpus; ++size) {
    const auto smallest = search.OfSize(size);
    if (!smallest) continue;
    // A few more GPUs an engine where that leaves none idle.
    for (int even = size; even <= std::min(2 * size, num_gpus); ++even) {
      const auto split = num_gpus % even == 0 ? search.OfSize(even) : std::nullopt;
      if (split && split->data * even == num_gpus) return split;
    }
    return smallest;
  }
  return std::nullopt;
}

}  // namespace quire
