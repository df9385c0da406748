// Topology: plain facts on a host's GPUs, what links them, and which cores are near which. Where
// they come from: probe.h (this host), dump.h (a file). What they mean for the flags: advice.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// How two GPUs reach each other, the nearest first, as in `nvidia-smi topo -m`.
enum class LinkKind : unsigned char {
  kSelf,    // X
  kNvLink,  // NV#: num_nvlinks of them
  kPix,     // one PCIe bridge
  kPxb,     // several PCIe bridges, no host bridge
  kPhb,     // a PCIe host bridge
  kNode,    // between host bridges of one NUMA node
  kSys,     // the link between NUMA nodes
  kUnknown,
};
const char* LinkKindName(LinkKind kind);  // "X", "NV", "PIX", …, "?"
std::optional<LinkKind> LinkKindOf(std::string_view name);

struct PcieLink {
  int generation = 0, width = 0;          // as it runs now; 0: unknown (an idle link may be slowed)
  int max_generation = 0, max_width = 0;  // as GPU and slot can
  double TheoreticalGbPerS() const;       // one direction, of the max, after line coding
};

struct GpuFacts {
  int index = 0;                        // NVML's, by PCI address
  std::string name, uuid, pci_address;  // "0000:18:00.0"
  int compute_capability = 0;           // 90 is 9.0; 0: unknown
  std::int64_t memory_bytes = 0, memory_free_bytes = 0;
  std::string memory_name;  // "" or as the driver says
  PcieLink pcie;
  int num_nvlinks = 0;         // active ones
  double nvlink_gb_per_s = 0;  // of one link, one direction
  bool nvswitch = false;       // its links end at switches: every GPU is reached at full speed
  int numa_node = -1;          // -1: none or unknown
  std::string cpu_affinity;    // "0-15,32-47"
  double power_watts = 0, power_limit_watts = 0;
};

struct NumaNode {
  int id = 0;
  std::string cpus;  // "0-15,32-47"
  std::int64_t memory_bytes = 0;
  std::vector<int> distances;  // to each node, in order of id
};

// A figure that a probe took; nothing: not measured yet.
using Measured = std::optional<double>;

struct GpuPair {
  int a = 0, b = 0;  // a < b
  LinkKind link = LinkKind::kUnknown;
  int num_nvlinks = 0;
  std::optional<bool> driver_claims_peer;  // cudaDeviceCanAccessPeer
  std::optional<bool> peer_works;          // stores, flags and polls, tested
  std::string peer_failure;                // why not, e.g. "stale data", "IOMMU"
  Measured copy_gb_per_s;                  // one direction, the slower of both
  Measured copy_both_gb_per_s;             // both directions at once, their sum
  Measured store_latency_us;               // a flag's way there and back, halved
};

// Pinned copies between host memory and a GPU, GB/s.
struct HostCopies {
  int gpu = 0;
  Measured near_to_device, near_to_host;  // from and to memory of the GPU's own NUMA node
  Measured far_to_device, far_to_host;    // of another node
  Measured all_to_device, all_to_host;    // near, while all GPUs copy at once
};

struct Topology {
  std::string source;                         // "this host", or the dump's file
  std::string hostname, cpu, kernel, driver;  // driver: empty without NVIDIA's
  int num_cores = 0, num_threads = 0, num_sockets = 0;
  std::int64_t memory_bytes = 0;
  std::vector<NumaNode> nodes;
  std::vector<GpuFacts> gpus;
  std::vector<GpuPair> pairs;  // all of a < b
  std::vector<HostCopies> host_copies;
  std::vector<std::string> notes;  // what could not be found out, and why

  const GpuPair* Pair(int a, int b) const;  // in either order; null: unknown
  const GpuFacts* Gpu(int index) const;     // null: there is none of that index
};

}  // namespace quire
