#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "topology/host_files.h"
#include "topology/probe_parts.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxGpus = 64;

// "32.0 GT/s PCIe" → 5; 0: unknown.
int GenerationOf(const std::string& speed) {
  const double gigatransfers = std::strtod(speed.c_str(), nullptr);
  const double known[] = {2.5, 5, 8, 16, 32, 64};
  for (int i = 0; i < 6; ++i) {
    if (std::abs(gigatransfers - known[i]) < 0.1) return i + 1;
  }
  return 0;
}

int WidthOf(const std::string& width) {
  const std::int64_t lanes = LeadingInteger(width).value_or(0);
  return lanes >= 1 && lanes <= 32 ? static_cast<int>(lanes) : 0;  // 63 and 255 mean unknown
}

int LowerKnown(int a, int b) { return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b); }

fs::path RealPath(const fs::path& path) {
  std::error_code error;
  return fs::canonical(path, error);
}

PcieLink LinkOf(const fs::path& device) {
  PcieLink link;
  link.generation = GenerationOf(ReadHostLine(device / "current_link_speed"));
  link.width = WidthOf(ReadHostLine(device / "current_link_width"));
  // The slot limits what the card can, and the bridge above is the slot.
  const fs::path bridge = device.parent_path();
  link.max_generation = LowerKnown(GenerationOf(ReadHostLine(device / "max_link_speed")),
                                   GenerationOf(ReadHostLine(bridge / "max_link_speed")));
  link.max_width = LowerKnown(WidthOf(ReadHostLine(device / "max_link_width")),
                              WidthOf(ReadHostLine(bridge / "max_link_width")));
  return link;
}

int NodeOf(const fs::path& device) {
  const std::int64_t node = LeadingInteger(ReadHostLine(device / "numa_node")).value_or(-1);
  return node >= 0 && node < 1 << 16 ? static_cast<int>(node) : -1;
}

std::string ModelOf(const fs::path& root, const fs::path& device, const std::string& address) {
  const std::string text = ReadHostFile(root / "proc/driver/nvidia/gpus" / address / "information");
  const std::string key = "Model:";
  if (const std::size_t at = text.find(key); at != std::string::npos) {
    const std::size_t begin = at + key.size();
    return std::string(
        TrimBlanks(std::string_view(text).substr(begin, text.find('\n', begin) - begin)));
  }
  return "NVIDIA device " + ReadHostLine(device / "device");
}

}  // namespace

LinkKind LinkOfPciPaths(const fs::path& a, const fs::path& b, bool same_node) {
  const std::vector<fs::path> left(a.begin(), a.end()), right(b.begin(), b.end());
  // The host bridge is the folder "pci0000:17".
  const auto is_root = [](const fs::path& part) { return part.string().rfind("pci", 0) == 0; };
  const auto left_root = std::find_if(left.begin(), left.end(), is_root);
  const auto right_root = std::find_if(right.begin(), right.end(), is_root);
  if (left_root == left.end() || right_root == right.end()) return LinkKind::kUnknown;
  if (*left_root != *right_root) return same_node ? LinkKind::kNode : LinkKind::kSys;
  const auto [left_end, right_end] =
      std::mismatch(left_root + 1, left.end(), right_root + 1, right.end());
  if (left_end == left_root + 1) return LinkKind::kPhb;
  // Under one switch each has its own downstream port below what they share, and nothing more.
  const bool one_bridge = left.end() - left_end <= 2 && right.end() - right_end <= 2;
  return one_bridge ? LinkKind::kPix : LinkKind::kPxb;
}

void ProbePciGpus(const fs::path& root, Topology& topology) {
  std::vector<std::string> addresses;
  std::error_code error;
  const fs::path bus = root / "sys/bus/pci/devices";
  for (fs::directory_iterator it(bus, error), end; !error && it != end; it.increment(error)) {
    if (ReadHostLine(it->path() / "vendor") != "0x10de") continue;
    if (ReadHostLine(it->path() / "class").rfind("0x03", 0) != 0) continue;
    addresses.push_back(it->path().filename().string());
  }
  std::sort(addresses.begin(), addresses.end());
  if (addresses.size() > kMaxGpus) addresses.resize(kMaxGpus);
  std::vector<fs::path> paths;
  for (const std::string& address : addresses) {
    paths.push_back(RealPath(bus / address));
    GpuFacts gpu;
    gpu.index = static_cast<int>(topology.gpus.size());
    gpu.pci_address = address;
    gpu.name = ModelOf(root, paths.back(), address);
    gpu.pcie = LinkOf(paths.back());
    topology.gpus.push_back(std::move(gpu));
  }
  ProbePciAffinity(root, topology);
  const bool one_node = topology.nodes.size() <= 1;
  for (std::size_t a = 0; a < paths.size(); ++a) {
    for (std::size_t b = a + 1; b < paths.size(); ++b) {
      const int node_a = topology.gpus[a].numa_node, node_b = topology.gpus[b].numa_node;
      const bool known = one_node || (node_a >= 0 && node_b >= 0);
      GpuPair pair;
      pair.a = static_cast<int>(a);
      pair.b = static_cast<int>(b);
      pair.link = LinkOfPciPaths(paths[a], paths[b], one_node || node_a == node_b);
      if (!known && (pair.link == LinkKind::kNode || pair.link == LinkKind::kSys))
        pair.link = LinkKind::kUnknown;
      topology.pairs.push_back(std::move(pair));
    }
  }
}

void ProbePciAffinity(const fs::path& root, Topology& topology) {
  for (GpuFacts& gpu : topology.gpus) {
    if (gpu.pci_address.empty()) continue;
    const fs::path device = root / "sys/bus/pci/devices" / gpu.pci_address;
    gpu.numa_node = NodeOf(device);
    if (gpu.cpu_affinity.empty())
      gpu.cpu_affinity = FormatCpuList(ParseCpuList(ReadHostLine(device / "local_cpulist")));
  }
}

}  // namespace quire
