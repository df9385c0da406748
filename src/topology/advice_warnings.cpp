#include "topology/advice_warnings.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "topology/picture_parts.h"

namespace quire {
namespace {

constexpr double kSharedLanes = 0.65;  // of the speed alone, when all copy at once
constexpr double kFarNode = 0.8;       // of the near node's speed
constexpr double kSlowLink = 0.6;      // of what the link can in theory
constexpr double kBusyPower = 0.5;     // of the limit: the GPU is at work

bool IsAmong(const GpuGroup& used, int index) {
  return std::any_of(used.begin(), used.end(),
                     [&](const GpuFacts* gpu) { return gpu->index == index; });
}

const HostCopies* CopiesOf(const Topology& topology, int gpu) {
  for (const HostCopies& copies : topology.host_copies) {
    if (copies.gpu == gpu) return &copies;
  }
  return nullptr;
}

std::string PairList(const std::vector<const GpuPair*>& pairs) {
  std::set<int> gpus;
  for (const GpuPair* pair : pairs) gpus.insert({pair->a, pair->b});
  const std::string list = ListOfGpus({gpus.begin(), gpus.end()});
  const std::size_t all = gpus.size() * (gpus.size() - 1) / 2;
  if (pairs.size() == 1) return "GPUs " + list;
  if (pairs.size() == all) return "any two of GPUs " + list;
  return fmt::format("{} pairs of GPUs {}", pairs.size(), list);
}

void WarnOfPeers(const Topology& topology, const GpuGroup& used, const ParallelSplit& split,
                 std::vector<std::string>& warnings) {
  std::vector<const GpuPair*> refused, unknown;
  std::map<std::string, std::vector<const GpuPair*>> failed;
  for (const GpuPair& pair : topology.pairs) {
    if (!IsAmong(used, pair.a) || !IsAmong(used, pair.b)) continue;
    if (pair.peer_works && !*pair.peer_works && pair.driver_claims_peer.value_or(false)) {
      failed[pair.peer_failure].push_back(&pair);
    } else if (LacksPeer(pair)) {
      refused.push_back(&pair);
    } else if (!pair.peer_works && !pair.driver_claims_peer && pair.link != LinkKind::kNvLink) {
      unknown.push_back(&pair);
    }
  }
  for (const auto& [why, pairs] : failed) {
    warnings.push_back(fmt::format(
        "The driver claims peer access between {}, but the test of it failed{}: they exchange "
        "through host memory. Usual causes are the IOMMU, ACS on the PCIe bridges, or the driver.",
        PairList(pairs), why.empty() ? "" : " (" + why + ")"));
  }
  if (!refused.empty()) {
    const bool geforce = used.front()->name.find("GeForce") != std::string::npos;
    warnings.push_back(fmt::format(
        "No peer access between {}{}: what they exchange goes through host memory.",
        PairList(refused), geforce ? " (NVIDIA's driver gives GeForce cards none over PCIe)" : ""));
  }
  if (!unknown.empty() && split.tensor > 1) {
    warnings.push_back(
        fmt::format("Whether peer access works between {} is not known yet; without it, -pp is "
                    "the better way to split.",
                    PairList(unknown)));
  }
}

// Of each engine whose GPUs do not meet over NVLink.
void WarnOfNodes(const Topology& topology, const GpuGroup& used, const ParallelSplit& split,
                 std::vector<std::string>& warnings) {
  const auto per_engine = static_cast<std::size_t>(split.tensor * split.pipeline);
  for (std::size_t at = 0; per_engine > 1 && at + per_engine <= split.gpus.size();
       at += per_engine) {
    std::set<int> nodes;
    bool nvlink = true;
    for (std::size_t i = at; i < at + per_engine; ++i) {
      nodes.insert(topology.Gpu(split.gpus[i])->numa_node);
      const GpuPair* pair = i == at ? nullptr : topology.Pair(split.gpus[at], split.gpus[i]);
      if (i > at) nvlink = nvlink && pair != nullptr && pair->link == LinkKind::kNvLink;
    }
    nodes.erase(-1);
    if (nodes.size() < 2 || nvlink) continue;
    const std::vector<int> gpus(split.gpus.begin() + static_cast<std::ptrdiff_t>(at),
                                split.gpus.begin() + static_cast<std::ptrdiff_t>(at + per_engine));
    warnings.push_back(
        fmt::format("GPUs {} lie on NUMA nodes {}: what goes between them crosses the link between "
                    "the sockets.",
                    ListOfGpus(gpus), ListOfGpus({nodes.begin(), nodes.end()})));
  }
  std::vector<int> lost;
  for (const GpuFacts* gpu : used) {
    if (gpu->numa_node < 0 && topology.nodes.size() > 1) lost.push_back(gpu->index);
    const auto node = std::find_if(topology.nodes.begin(), topology.nodes.end(),
                                   [&](const NumaNode& n) { return n.id == gpu->numa_node; });
    const bool tells_memory = std::any_of(topology.nodes.begin(), topology.nodes.end(),
                                          [](const NumaNode& n) { return n.memory_bytes > 0; });
    if (node != topology.nodes.end() && node->memory_bytes == 0 && tells_memory) {
      warnings.push_back(fmt::format(
          "NUMA node {} beside GPU {} has no memory: its copies come from a far node. Are the "
          "memory slots of that socket empty?",
          node->id, gpu->index));
    }
  }
  if (!lost.empty()) {
    warnings.push_back(fmt::format(
        "The NUMA node of GPU{} {} is not known, so nothing can be placed beside {}.",
        lost.size() == 1 ? "" : "s", ListOfGpus(lost), lost.size() == 1 ? "it" : "them"));
  }
}

void WarnOfPcie(const Topology& topology, const GpuGroup& used,
                std::vector<std::string>& warnings) {
  for (const GpuFacts* gpu : used) {
    const PcieLink& link = gpu->pcie;
    const HostCopies* copies = CopiesOf(topology, gpu->index);
    const double near = copies == nullptr ? 0 : copies->near_to_device.value_or(0);  // 0: unknown
    const double can = link.TheoreticalGbPerS();
    const bool busy =
        gpu->power_limit_watts > 0 && gpu->power_watts > kBusyPower * gpu->power_limit_watts;
    if (link.width > 0 && link.width < link.max_width) {
      warnings.push_back(fmt::format(
          "GPU {} runs on {} of {} PCIe lanes. Idle links keep their lanes: look at the seat of "
          "the card, the riser and the lanes that the slot shares.",
          gpu->index, link.width, link.max_width));
    } else if (link.max_width > 0 && link.max_width <= 4) {
      warnings.push_back(
          fmt::format("GPU {} has {} PCIe lanes only, {:.1f} GB/s at most: loading weights and all "
                      "that crosses PCIe is slow.",
                      gpu->index, link.max_width, can));
    }
    if (near > 0 && near < kSlowLink * can) {
      warnings.push_back(
          fmt::format("GPU {} copies {:.1f} GB/s from host memory under load, its link can {:.1f} "
                      "(PCIe {}.0 x{}).",
                      gpu->index, near, can, link.max_generation, link.max_width));
    } else if (near == 0 && busy && link.generation > 0 && link.generation < link.max_generation) {
      // Idle links slow themselves down, so only a busy GPU's tells something.
      warnings.push_back(fmt::format("GPU {}'s link runs at PCIe {}.0 under load, it can {}.0.",
                                     gpu->index, link.generation, link.max_generation));
    }
  }
}

void WarnOfCopies(const Topology& topology, const GpuGroup& used,
                  std::vector<std::string>& warnings) {
  std::vector<int> sharing, far;
  std::string shared_figures, far_figures;
  for (const GpuFacts* gpu : used) {
    const HostCopies* copies = CopiesOf(topology, gpu->index);
    if (copies == nullptr || !copies->near_to_device) continue;
    const double near = *copies->near_to_device;
    if (copies->all_to_device && *copies->all_to_device < kSharedLanes * near) {
      if (sharing.empty())
        shared_figures = fmt::format("{:.1f} instead of {:.1f} GB/s", *copies->all_to_device, near);
      sharing.push_back(gpu->index);
    }
    if (copies->far_to_device && *copies->far_to_device < kFarNode * near) {
      if (far.empty())
        far_figures = fmt::format("{:.1f} instead of {:.1f} GB/s", *copies->far_to_device, near);
      far.push_back(gpu->index);
    }
  }
  if (!sharing.empty()) {
    warnings.push_back(fmt::format(
        "GPU{} {} share{} PCIe lanes with others: {} from host memory when all copy at once. "
        "Weights load that much slower, and so does all that goes through host memory.",
        sharing.size() == 1 ? "" : "s", ListOfGpus(sharing), sharing.size() == 1 ? "s" : "",
        shared_figures));
  }
  if (!far.empty()) {
    warnings.push_back(fmt::format(
        "From memory of the far NUMA node GPU{} {} get{} {}: keep each engine's threads and "
        "memory on its GPU's node.",
        far.size() == 1 ? "" : "s", ListOfGpus(far), far.size() == 1 ? "s" : "", far_figures));
  }
}

void WarnOfUse(const Topology& topology, const GpuGroup& used, std::vector<std::string>& warnings) {
  for (const GpuFacts* gpu : used) {
    const auto usable = kUsableMemory * static_cast<double>(gpu->memory_bytes);
    if (gpu->memory_free_bytes > 0 && static_cast<double>(gpu->memory_free_bytes) < usable) {
      warnings.push_back(fmt::format("GPU {} has {:.1f} of {:.1f} GiB in use already.", gpu->index,
                                     GiB(gpu->memory_bytes - gpu->memory_free_bytes),
                                     GiB(gpu->memory_bytes)));
    }
  }
  std::map<std::string, std::vector<int>> others;
  for (const GpuFacts& gpu : topology.gpus) {
    if (!IsAmong(used, gpu.index)) {
      others[fmt::format("{}, {:.1f} GiB", ShortGpuName(gpu), GiB(gpu.memory_bytes))].push_back(
          gpu.index);
    }
  }
  for (const auto& [name, gpus] : others) {
    warnings.push_back(fmt::format(
        "GPU{} {} ({}) {} of another kind and left out: within an engine the slowest GPU sets the "
        "pace. An engine of {} own is the way to use {}.",
        gpus.size() == 1 ? "" : "s", ListOfGpus(gpus), name, gpus.size() == 1 ? "is" : "are",
        gpus.size() == 1 ? "its" : "their", gpus.size() == 1 ? "it" : "them"));
  }
}

}  // namespace

std::vector<std::string> TopologyWarnings(const Topology& topology, const GpuGroup& used,
                                          const ParallelSplit& split) {
  std::vector<std::string> warnings;
  WarnOfUse(topology, used, warnings);
  WarnOfPeers(topology, used, split, warnings);
  WarnOfNodes(topology, used, split, warnings);
  WarnOfPcie(topology, used, warnings);
  WarnOfCopies(topology, used, warnings);
  return warnings;
}

}  // namespace quire
