#include "topology/picture.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <set>
#include <vector>

#include "topology/picture_parts.h"

namespace quire {
namespace {

constexpr std::size_t kCell = 6;        // of the matrix
constexpr std::size_t kWideMatrix = 9;  // from so many GPUs on the matrix has no cores beside it

// Owns nothing; writes terminal escapes or not.
class Paint {
 public:
  explicit Paint(bool color) : color_(color) {}

  std::string Bold(const std::string& text) const { return Wrap(text, "1"); }
  std::string Dim(const std::string& text) const { return Wrap(text, "2"); }
  std::string Link(const std::string& text, const GpuPair& pair) const {
    if (pair.link == LinkKind::kNvLink) return Wrap(text, "32");  // green
    if (LacksPeer(pair)) return Wrap(text, "31");                 // red
    if (pair.link == LinkKind::kPix || pair.link == LinkKind::kPxb) return Wrap(text, "36");
    return Wrap(text, "33");  // yellow: through the CPU
  }

 private:
  std::string Wrap(const std::string& text, const char* code) const {
    return color_ ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text;
  }

  bool color_;
};

std::string Join(const std::vector<std::string>& parts, const std::string& separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

std::string Counted(int count, const char* what) {
  return count == 0 ? "" : fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string HostText(const Topology& topology, const Paint& paint) {
  const std::string name = topology.hostname.empty() ? "host" : topology.hostname;
  const std::string source = topology.source.empty() ? "" : "(" + topology.source + ")";
  std::string text =
      paint.Bold(Shortened(name, 60)) + " " + paint.Dim(Shortened(source, 100 - 62)) + "\n";
  std::string cpu = topology.cpu;
  if (topology.num_sockets > 1 && !cpu.empty())
    cpu = fmt::format("{} × {}", topology.num_sockets, cpu);
  const std::string memory = topology.memory_bytes == 0
                                 ? ""
                                 : fmt::format("{:.1f} GiB memory", GiB(topology.memory_bytes));
  const std::string hardware = Join(
      {cpu, Counted(topology.num_cores, "core"), Counted(topology.num_threads, "thread"), memory},
      ", ");
  const std::string software =
      Join({topology.kernel.empty() ? "" : "Linux " + topology.kernel,
            topology.driver.empty() ? "" : "NVIDIA driver " + topology.driver},
           ", ");
  for (const std::string& line : {hardware, software}) {
    if (!line.empty()) text += Wrapped(line, "  ", "    ");
  }
  return text;
}

std::string PcieText(const PcieLink& link) {
  if (link.max_generation == 0 && link.max_width == 0) return "";
  std::string text = fmt::format("PCIe {}.0", link.max_generation);
  if (link.width > 0 && link.width < link.max_width)
    return text + fmt::format(" x{} of {}", link.width, link.max_width);
  return text + fmt::format(" x{}", link.max_width);
}

// One GPU's cells, which TreeText aligns.
std::vector<std::string> GpuCells(const GpuFacts& gpu) {
  const std::string memory =
      gpu.memory_bytes == 0 ? "" : fmt::format("{:.1f} GiB", GiB(gpu.memory_bytes));
  const std::string free =
      gpu.memory_bytes == 0 ? "" : fmt::format("{:.1f} free", GiB(gpu.memory_free_bytes));
  const std::string power =
      gpu.power_limit_watts > 0
          ? fmt::format("{:.0f}/{:.0f} W", gpu.power_watts, gpu.power_limit_watts)
          : "";
  return {fmt::format("GPU {}", gpu.index),
          Shortened(gpu.name.empty() ? "" : ShortGpuName(gpu), 24),
          memory,
          free,
          PcieText(gpu.pcie),
          power,
          gpu.pci_address};
}

// Where the columns together are too wide, the names give way.
void ShortenNames(std::vector<std::vector<std::string>>& rows, std::vector<std::size_t>& widths) {
  constexpr std::size_t kName = 1;
  constexpr std::size_t kLeastName = 8;
  std::size_t line = 2;
  for (const std::size_t width : widths) line += width == 0 ? 0 : width + 2;
  if (line <= kPictureColumns) return;
  const std::size_t spare = widths[kName] - std::min(widths[kName], kLeastName);
  widths[kName] -= std::min(spare, line - kPictureColumns);
  for (std::vector<std::string>& row : rows) row[kName] = Shortened(row[kName], widths[kName]);
}

std::string NodeText(const NumaNode& node) {
  std::string distances;
  for (const int distance : node.distances) distances += fmt::format(" {}", distance);
  return Join({fmt::format("NUMA node {}", node.id),
               node.cpus.empty() ? "no cores" : Shortened("cores " + node.cpus, 34),
               node.memory_bytes == 0 ? "" : fmt::format("{:.1f} GiB", GiB(node.memory_bytes)),
               node.distances.size() < 2 ? "" : "distances" + Shortened(distances, 24)},
              "   ");
}

// -1: not known. On a host of one node that one is the nearest anyway.
int NodeOf(const Topology& topology, const GpuFacts& gpu) {
  return gpu.numa_node < 0 && topology.nodes.size() == 1 ? topology.nodes[0].id : gpu.numa_node;
}

// The nodes, each with its GPUs; a node that has nothing at all is left out.
std::string TreeText(const Topology& topology, const Paint& paint) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::size_t> widths;
  for (const GpuFacts& gpu : topology.gpus) {
    rows.push_back(GpuCells(gpu));
    widths.resize(rows.back().size(), 0);
    for (std::size_t i = 0; i < widths.size(); ++i)
      widths[i] = std::max(widths[i], TextColumns(rows.back()[i]));
  }
  ShortenNames(rows, widths);
  const auto gpus_of = [&](const std::function<bool(int)>& wanted) {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < topology.gpus.size(); ++i) {
      if (wanted(NodeOf(topology, topology.gpus[i]))) found.push_back(i);
    }
    return found;
  };
  std::string text;
  const auto add_gpus = [&](const std::vector<std::size_t>& gpus) {
    for (std::size_t i = 0; i < gpus.size(); ++i) {
      std::string line = i + 1 == gpus.size() ? "└─" : "├─";
      for (std::size_t cell = 0; cell < widths.size(); ++cell) {
        if (widths[cell] == 0) continue;
        const std::string& words = rows[gpus[i]][cell];
        const bool is_number = cell == 2 || cell == 3 || cell == 5;  // memory, free, power
        line += (cell == 0 ? " " : "  ") +
                (is_number ? PadLeft(words, widths[cell]) : PadRight(words, widths[cell]));
      }
      text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
  };
  std::set<int> known;
  for (const NumaNode& node : topology.nodes) {
    known.insert(node.id);
    const auto gpus = gpus_of([&](int id) { return id == node.id; });
    if (gpus.empty() && node.cpus.empty() && node.memory_bytes == 0) continue;
    text += paint.Bold(NodeText(node)) + "\n";
    add_gpus(gpus);
  }
  const auto others = gpus_of([&](int id) { return known.count(id) == 0; });
  if (!others.empty()) {
    text += paint.Bold("GPUs whose NUMA node is not known") + "\n";
    add_gpus(others);
  }
  return text;
}

// A matrix of the GPUs; `cell` tells what stands between two different ones.
std::string MatrixText(const Topology& topology, const Paint& paint, const std::string& corner,
                       const std::function<std::string(const GpuPair&)>& cell, bool affinity) {
  affinity = affinity && topology.gpus.size() < kWideMatrix;
  std::size_t cores = 10;
  for (const GpuFacts& gpu : topology.gpus)
    cores = std::max(cores, std::min<std::size_t>(TextColumns(gpu.cpu_affinity), 28));
  std::string text = PadRight(corner, kCell);
  for (const GpuFacts& gpu : topology.gpus)
    text += Centered(fmt::format("GPU{}", gpu.index), kCell);
  if (affinity) text += "  " + PadRight("near cores", cores) + "  NUMA";
  text = paint.Dim(text.substr(0, text.find_last_not_of(' ') + 1)) + "\n";
  for (const GpuFacts& row : topology.gpus) {
    std::string line = PadRight(fmt::format("GPU{}", row.index), kCell);
    for (const GpuFacts& column : topology.gpus) {
      const GpuPair* pair = topology.Pair(row.index, column.index);
      if (row.index == column.index) {
        line += paint.Dim(Centered("X", kCell));
      } else if (pair == nullptr) {
        line += Centered("?", kCell);
      } else {
        line += paint.Link(Centered(cell(*pair), kCell), *pair);
      }
    }
    if (affinity) {
      const int node = NodeOf(topology, row);
      const std::string near = row.cpu_affinity.empty() ? "?" : Shortened(row.cpu_affinity, cores);
      line += "  " + PadRight(near, cores) + "  " + (node < 0 ? "?" : std::to_string(node));
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string PcieSpeed(const Topology& topology) {
  double slowest = 0;
  for (const GpuFacts& gpu : topology.gpus) {
    const double speed = gpu.pcie.TheoreticalGbPerS();
    if (speed > 0 && (slowest == 0 || speed < slowest)) slowest = speed;
  }
  return slowest == 0 ? "" : fmt::format(", at most {:.1f} GB/s each way", slowest);
}

std::string LegendOf(const Topology& topology, const GpuPair& pair) {
  switch (pair.link) {
    case LinkKind::kNvLink: {
      const GpuFacts* gpu = topology.Gpu(pair.a);
      const double speed = gpu == nullptr ? 0 : gpu->nvlink_gb_per_s * pair.num_nvlinks;
      std::string text = Counted(pair.num_nvlinks, "NVLink");
      if (gpu != nullptr && gpu->nvswitch) text += " by switches (NVSwitch)";
      if (speed > 0) text += fmt::format(", {:.0f} GB/s each way", speed);
      return text;
    }
    case LinkKind::kPix:
      return "one PCIe switch" + PcieSpeed(topology);
    case LinkKind::kPxb:
      return "several PCIe switches, not the CPU" + PcieSpeed(topology);
    case LinkKind::kPhb:
      return "one PCIe host bridge of the CPU" + PcieSpeed(topology);
    case LinkKind::kNode:
      return "several host bridges of one NUMA node" + PcieSpeed(topology);
    case LinkKind::kSys:
      return "the link between NUMA nodes (sockets), the slowest way";
    case LinkKind::kSelf:
    case LinkKind::kUnknown:
      break;
  }
  return "not known";
}

std::string LegendText(const Topology& topology, const Paint& paint) {
  std::set<std::pair<LinkKind, int>> seen;
  std::vector<const GpuPair*> kinds;
  bool lacking = false;
  for (const GpuPair& pair : topology.pairs) {
    lacking = lacking || LacksPeer(pair);
    if (seen.emplace(pair.link, pair.num_nvlinks).second) kinds.push_back(&pair);
  }
  std::sort(kinds.begin(), kinds.end(),
            [](const GpuPair* a, const GpuPair* b) { return a->link < b->link; });
  std::string text;
  for (const GpuPair* pair : kinds)
    text += "  " + paint.Link(PadRight(LinkText(*pair), 5), *pair) + " " +
            LegendOf(topology, *pair) + "\n";
  if (lacking)
    text += "  !     no peer access: the GPUs reach each other through host memory only\n";
  return text;
}

std::string FigureText(const Measured& figure) {
  if (!figure) return "-";
  return fmt::format("{:.{}f}", *figure, *figure >= 100 ? 0 : 1);
}

std::string PairFigures(const Topology& topology, const Paint& paint) {
  struct Kind {
    const char* title;
    Measured GpuPair::*figure;
  };
  std::string text;
  for (const Kind& kind :
       {Kind{"Copies between GPUs, GB/s, one way", &GpuPair::copy_gb_per_s},
        Kind{"Copies between GPUs, GB/s, both ways at once", &GpuPair::copy_both_gb_per_s},
        Kind{"A store's way between GPUs, µs", &GpuPair::store_latency_us}}) {
    const bool any =
        std::any_of(topology.pairs.begin(), topology.pairs.end(),
                    [&](const GpuPair& pair) { return (pair.*kind.figure).has_value(); });
    if (!any) continue;
    text += "\n" + paint.Bold(kind.title) + " (measured)\n";
    text += MatrixText(
        topology, paint, "", [&](const GpuPair& pair) { return FigureText(pair.*kind.figure); },
        false);
  }
  for (const GpuPair& pair : topology.pairs) {
    if (!pair.peer_works.has_value() || *pair.peer_works) continue;
    text += fmt::format("  GPU {} and {}: the test of peer access failed{}{}\n", pair.a, pair.b,
                        pair.peer_failure.empty() ? "" : ": ", Shortened(pair.peer_failure, 40));
  }
  return text;
}

std::string HostFigures(const Topology& topology, const Paint& paint) {
  if (topology.host_copies.empty()) return "";
  std::string text = "\n" + paint.Bold("Copies between host and GPU, GB/s") + " (measured)\n";
  text += paint.Dim(
              "           near node      far node       all at once\n"
              "           to GPU  back   to GPU  back   to GPU  back") +
          "\n";
  for (const HostCopies& copies : topology.host_copies) {
    text += PadRight(fmt::format("GPU {}", copies.gpu), 11);
    for (const auto& [to, from] : {std::pair(copies.near_to_device, copies.near_to_host),
                                   std::pair(copies.far_to_device, copies.far_to_host),
                                   std::pair(copies.all_to_device, copies.all_to_host)})
      text += PadRight(PadLeft(FigureText(to), 6) + PadLeft(FigureText(from), 6), 15);
    text = text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

bool IsIdleLink(const GpuFacts& gpu) {
  return gpu.pcie.generation > 0 && gpu.pcie.generation < gpu.pcie.max_generation;
}

std::string NotesText(const Topology& topology, const Paint& paint) {
  std::vector<std::string> notes = topology.notes;
  const auto idle = std::find_if(topology.gpus.begin(), topology.gpus.end(), IsIdleLink);
  if (idle != topology.gpus.end()) {
    notes.push_back(fmt::format(
        "PCIe links are shown at their best; GPU {}'s runs at PCIe {}.0 now: idle links slow "
        "themselves down",
        idle->index, idle->pcie.generation));
  }
  if (notes.empty()) return "";
  std::string text = "\n" + paint.Bold("Notes") + "\n";
  for (const std::string& note : notes) text += Wrapped(note, "  - ", "    ");
  return text;
}

}  // namespace

std::string TopologyPicture(const Topology& topology, bool color) {
  const Paint paint(color);
  std::string text = HostText(topology, paint);
  if (const std::string tree = TreeText(topology, paint); !tree.empty()) text += "\n" + tree;
  if (topology.gpus.empty()) text += "\nNo NVIDIA GPU was found.\n";
  if (topology.gpus.size() > 1) {
    text += "\n" + paint.Bold("Links between GPUs") + "\n";
    text += MatrixText(
        topology, paint, "",
        [](const GpuPair& pair) { return LinkText(pair) + (LacksPeer(pair) ? "!" : ""); }, true);
    text += LegendText(topology, paint);
  }
  text += PairFigures(topology, paint);
  text += HostFigures(topology, paint);
  return text + NotesText(topology, paint);
}

}  // namespace quire
