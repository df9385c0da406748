#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>

#include "topology/host_files.h"
#include "topology/probe_parts.h"

namespace quire {
namespace {

constexpr unsigned kMaxGpus = 64;
constexpr unsigned kCpuWords = 64;  // of 64 cores each

// Capabilities that nvmlDeviceGetP2PStatus is asked for.
constexpr int kP2pRead = 0, kP2pWrite = 1, kP2pNvLink = 2;
// nvmlIntNvLinkDeviceType_t
constexpr int kRemoteGpu = 0, kRemoteCpu = 1, kRemoteSwitch = 2;

// What NVML says of one GPU's NVLinks.
struct LinksOfGpu {
  std::map<std::string, int> direct;  // links to the device of that PCI address
  int to_switch = 0;                  // the driver says that a switch is at their other end
  int to_unknown = 0;                 // it does not say, or names no GPU that we see
};

struct NvmlGpu {
  NvmlDevice device = nullptr;
  LinksOfGpu links;
};

using TextFunction = std::function<int(NvmlDevice, char*, unsigned)>;
using NumberFunction = std::function<int(NvmlDevice, unsigned*)>;

// A driver's text may hold anything; what is shown holds no control characters.
std::string Printable(const char* text, std::size_t size) {
  std::string clean(text, std::find(text, text + size, '\0'));
  std::replace_if(
      clean.begin(), clean.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return clean;
}

std::string TextOf(const TextFunction& function, NvmlDevice device) {
  std::array<char, kNvmlNameBytes> text{};
  if (NvmlCall(function, device, text.data(), kNvmlNameBytes) != kNvmlSuccess) return "";
  return Printable(text.data(), text.size());
}

unsigned NumberOf(const NumberFunction& function, NvmlDevice device) {
  unsigned number = 0;
  return NvmlCall(function, device, &number) == kNvmlSuccess ? number : 0;
}

int SmallNumberOf(const NumberFunction& function, NvmlDevice device) {
  const unsigned number = NumberOf(function, device);
  return number <= 64 ? static_cast<int>(number) : 0;
}

// As /sys/bus/pci names it.
std::string AddressOf(const NvmlPciInfo& pci) {
  return fmt::format("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device);
}

std::string CpusNear(const NvmlApi& api, NvmlDevice device) {
  std::array<unsigned long, kCpuWords> words{};
  if (NvmlCall(api.cpu_affinity, device, kCpuWords, words.data()) != kNvmlSuccess) return "";
  constexpr int kBits = 8 * sizeof(unsigned long);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < static_cast<int>(kCpuWords) * kBits; ++cpu) {
    if ((words[static_cast<std::size_t>(cpu / kBits)] >> (cpu % kBits) & 1) != 0)
      cpus.push_back(cpu);
  }
  return FormatCpuList(cpus);
}

// GB/s of a link in one direction, where the driver does not tell: by NVML's version number.
double NominalGbPerS(unsigned version) {
  constexpr double kByVersion[] = {0, 20, 25, 25, 25, 25, 25, 50};
  return version < std::size(kByVersion) ? kByVersion[version] : 0;
}

double LinkGbPerS(const NvmlApi& api, NvmlDevice device, unsigned link) {
  for (const unsigned field : {kNvmlFieldLinkSpeedCommon, kNvmlFieldLinkSpeed}) {
    NvmlFieldValue value;
    value.field_id = field;
    value.scope_id = field == kNvmlFieldLinkSpeed ? link : 0;
    if (NvmlCall(api.field_values, device, 1, &value) != kNvmlSuccess) continue;
    if (value.result != kNvmlSuccess) continue;
    const double megabytes = value.value_type == 0   ? value.value.real
                             : value.value_type == 1 ? value.value.uint32
                                                     : static_cast<double>(value.value.uint64);
    if (megabytes >= 1000 && megabytes <= 1e6) return megabytes / 1000;
  }
  unsigned version = 0;
  if (NvmlCall(api.nvlink_version, device, link, &version) != kNvmlSuccess) return 0;
  return NominalGbPerS(version);
}

void ProbeLinks(const NvmlApi& api, NvmlGpu& gpu, GpuFacts& facts) {
  for (unsigned link = 0; link < kNvmlMaxLinks; ++link) {
    unsigned active = 0;
    if (NvmlCall(api.nvlink_state, gpu.device, link, &active) != kNvmlSuccess || active != 1)
      continue;
    if (facts.num_nvlinks++ == 0) facts.nvlink_gb_per_s = LinkGbPerS(api, gpu.device, link);
    int type = -1;
    if (NvmlCall(api.nvlink_remote_type, gpu.device, link, &type) != kNvmlSuccess) type = -1;
    NvmlPciInfo remote;
    const bool addressed =
        NvmlCall(api.nvlink_remote_pci, gpu.device, link, &remote) == kNvmlSuccess;
    if (type == kRemoteSwitch) {
      ++gpu.links.to_switch;
    } else if (type == kRemoteCpu) {
      continue;
    } else if (addressed) {
      ++gpu.links.direct[AddressOf(remote)];
    } else if (type != kRemoteGpu) {
      ++gpu.links.to_unknown;
    }
  }
  facts.nvswitch = gpu.links.to_switch > 0;
}

void NoteMig(const NvmlApi& api, NvmlDevice device, unsigned index, Topology& topology) {
  unsigned current = 0, pending = 0;
  if (NvmlCall(api.mig_mode, device, &current, &pending) == kNvmlSuccess && current == 1)
    topology.notes.push_back(fmt::format("GPU {} is split into instances (MIG)", index));
}

GpuFacts ProbeGpu(const NvmlApi& api, NvmlGpu& gpu, unsigned index) {
  GpuFacts facts;
  NvmlDevice device = gpu.device;
  facts.index = static_cast<int>(index);
  facts.name = TextOf(api.name, device);
  facts.uuid = TextOf(api.uuid, device);
  if (NvmlPciInfo pci; NvmlCall(api.pci_info, device, &pci) == kNvmlSuccess)
    facts.pci_address = AddressOf(pci);
  int major = 0, minor = 0;
  if (NvmlCall(api.compute_capability, device, &major, &minor) == kNvmlSuccess && major > 0 &&
      major < 1000 && minor >= 0 && minor < 10)
    facts.compute_capability = 10 * major + minor;
  if (NvmlMemory memory; NvmlCall(api.memory_info, device, &memory) == kNvmlSuccess) {
    constexpr unsigned long long kMost = 1ULL << 50;
    facts.memory_bytes = static_cast<std::int64_t>(std::min(memory.total, kMost));
    facts.memory_free_bytes =
        static_cast<std::int64_t>(std::min({memory.free, memory.total, kMost}));
  }
  facts.pcie.generation = SmallNumberOf(api.pcie_generation, device);
  facts.pcie.width = SmallNumberOf(api.pcie_width, device);
  facts.pcie.max_generation = SmallNumberOf(api.pcie_max_generation, device);
  facts.pcie.max_width = SmallNumberOf(api.pcie_max_width, device);
  facts.cpu_affinity = CpusNear(api, device);
  facts.power_watts = NumberOf(api.power_usage, device) / 1000.0;
  facts.power_limit_watts = NumberOf(api.power_limit, device) / 1000.0;
  ProbeLinks(api, gpu, facts);
  return facts;
}

// nothing: the driver does not say.
std::optional<bool> P2p(const NvmlApi& api, NvmlDevice a, NvmlDevice b, int capability) {
  int status = -1;
  if (NvmlCall(api.p2p_status, a, b, capability, &status) != kNvmlSuccess) return std::nullopt;
  return status == 0;
}

LinkKind PciLink(const NvmlApi& api, NvmlDevice a, NvmlDevice b) {
  int level = -1;
  if (NvmlCall(api.common_ancestor, a, b, &level) != kNvmlSuccess) return LinkKind::kUnknown;
  switch (level) {
    case 0:  // two GPUs on one board
    case 10:
      return LinkKind::kPix;
    case 20:
      return LinkKind::kPxb;
    case 30:
      return LinkKind::kPhb;
    case 40:
      return LinkKind::kNode;
    case 50:
      return LinkKind::kSys;
    default:
      return LinkKind::kUnknown;
  }
}

// NVLinks that lead from one to the other, directly or by switches.
int NvLinksBetween(const NvmlApi& api, const NvmlGpu& a, const GpuFacts& facts_a, const NvmlGpu& b,
                   const GpuFacts& facts_b) {
  if (const auto direct = a.links.direct.find(facts_b.pci_address); direct != a.links.direct.end())
    return direct->second;
  if (const auto direct = b.links.direct.find(facts_a.pci_address); direct != b.links.direct.end())
    return direct->second;
  const int shared =
      std::min(a.links.to_switch + a.links.to_unknown, b.links.to_switch + b.links.to_unknown);
  if (shared == 0) return 0;
  // In a virtual machine the switches are out of sight, but the driver knows what they join.
  const auto joined = P2p(api, a.device, b.device, kP2pNvLink);
  const bool both_switched = a.links.to_switch > 0 && b.links.to_switch > 0;
  return joined.value_or(both_switched) ? shared : 0;
}

GpuPair ProbePair(const NvmlApi& api, const NvmlGpu& a, GpuFacts& facts_a, const NvmlGpu& b,
                  GpuFacts& facts_b) {
  GpuPair pair;
  pair.a = facts_a.index;
  pair.b = facts_b.index;
  pair.num_nvlinks = NvLinksBetween(api, a, facts_a, b, facts_b);
  pair.link = pair.num_nvlinks > 0 ? LinkKind::kNvLink : PciLink(api, a.device, b.device);
  const auto read = P2p(api, a.device, b.device, kP2pRead);
  const auto write = P2p(api, a.device, b.device, kP2pWrite);
  if (read && write) pair.driver_claims_peer = *read && *write;
  return pair;
}

// Old drivers name the switch by its address alone.
void SortOutRemotes(const Topology& topology, std::vector<NvmlGpu>& gpus) {
  for (NvmlGpu& gpu : gpus) {
    for (auto it = gpu.links.direct.begin(); it != gpu.links.direct.end();) {
      const bool seen =
          std::any_of(topology.gpus.begin(), topology.gpus.end(),
                      [&](const GpuFacts& other) { return other.pci_address == it->first; });
      if (!seen) gpu.links.to_unknown += it->second;
      it = seen ? std::next(it) : gpu.links.direct.erase(it);
    }
  }
}

// Three and more GPUs that reach each other over links whose other ends are hidden: by switches.
void InferSwitches(const std::vector<NvmlGpu>& gpus, Topology& topology) {
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    GpuFacts& facts = topology.gpus[i];
    const auto reached =
        std::count_if(topology.pairs.begin(), topology.pairs.end(), [&](const GpuPair& pair) {
          return (pair.a == facts.index || pair.b == facts.index) &&
                 pair.num_nvlinks == facts.num_nvlinks;
        });
    if (facts.num_nvlinks > 0 && reached >= 2) facts.nvswitch = true;
  }
}

}  // namespace

bool ProbeNvml(const NvmlSession& nvml, Topology& topology) {
  const NvmlApi& api = nvml.api();
  if (std::array<char, kNvmlNameBytes> version{};
      NvmlCall(api.driver_version, version.data(), kNvmlNameBytes) == kNvmlSuccess)
    topology.driver = Printable(version.data(), version.size());
  unsigned count = 0;
  if (const int result = NvmlCall(api.device_count, &count); result != kNvmlSuccess) {
    topology.notes.push_back("NVML does not count GPUs: " + NvmlErrorText(api, result));
    return false;
  }
  std::vector<NvmlGpu> gpus;
  for (unsigned index = 0; index < std::min(count, kMaxGpus); ++index) {
    NvmlGpu gpu;
    if (const int result = NvmlCall(api.device_by_index, index, &gpu.device);
        result != kNvmlSuccess) {
      topology.notes.push_back(
          fmt::format("GPU {} cannot be asked: {}", index, NvmlErrorText(api, result)));
      continue;
    }
    topology.gpus.push_back(ProbeGpu(api, gpu, index));
    NoteMig(api, gpu.device, index, topology);
    gpus.push_back(std::move(gpu));
  }
  SortOutRemotes(topology, gpus);
  for (std::size_t a = 0; a < gpus.size(); ++a) {
    for (std::size_t b = a + 1; b < gpus.size(); ++b)
      topology.pairs.push_back(
          ProbePair(api, gpus[a], topology.gpus[a], gpus[b], topology.gpus[b]));
  }
  InferSwitches(gpus, topology);
  return !gpus.empty();
}

}  // namespace quire
