#include "topology/nvidia_smi.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "topology/host_files.h"

namespace quire {
namespace {

constexpr std::size_t kMaxGpus = 64;
constexpr std::size_t kMaxColumns = 512;
constexpr std::size_t kMaxName = 128;

// Without the terminal escapes that underline the header, and without carriage returns.
std::string WithoutEscapes(std::string_view text) {
  std::string clean;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\x1b' && at + 1 < text.size() && text[at + 1] == '[') {
      at += 2;
      while (at < text.size() && (text[at] < '@' || text[at] > '~')) ++at;
    } else if (text[at] == '\n' || text[at] == '\t' ||
               static_cast<unsigned char>(text[at]) >= ' ') {
      clean += text[at];
    }
  }
  return clean;
}

std::vector<std::string_view> Split(std::string_view line, std::string_view separators,
                                    bool keep_empty) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= line.size();) {
    const std::size_t end = std::min(line.size(), line.find_first_of(separators, at));
    if (keep_empty || end > at) parts.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

// 3 of "GPU3".
std::optional<int> GpuNumber(std::string_view word) {
  if (word.substr(0, 3) != "GPU" || word.size() < 4 || word.size() > 6) return std::nullopt;
  const std::string_view digits = word.substr(3);
  if (digits.find_first_not_of("0123456789") != digits.npos) return std::nullopt;
  return static_cast<int>(*LeadingInteger(digits));
}

struct SmiCell {
  LinkKind link = LinkKind::kUnknown;
  int num_nvlinks = 0;
};

std::optional<SmiCell> CellOf(std::string_view word) {
  if (word.substr(0, 2) == "NV" && word.size() <= 5) {
    const auto count = LeadingInteger(word.substr(2));
    if (!count || *count < 1 || *count > 999) return std::nullopt;
    return SmiCell{LinkKind::kNvLink, static_cast<int>(*count)};
  }
  if (word == "SOC") return SmiCell{LinkKind::kSys, 0};  // drivers before 384
  if (word == "N/A") return SmiCell{};
  const auto kind = LinkKindOf(word);
  if (!kind || *kind == LinkKind::kNvLink || *kind == LinkKind::kUnknown) return std::nullopt;
  return SmiCell{*kind, 0};
}

// Owns the matrix while its lines are read.
class SmiMatrix {
 public:
  explicit SmiMatrix(const std::string& file) : file_(file) { topology_.source = file; }

  Status AddLine(std::string_view line, int number);
  Result<Topology> Finish() &&;

 private:
  Error Fault(int line, const std::string& what) const {
    return ConfigFault(fmt::format("{}: line {}: {}", file_, line, what));
  }
  bool TakeHeader(const std::vector<std::string_view>& words);
  Status TakeRow(int gpu, std::string_view line, int number);
  void TakeName(std::string_view line);
  void TakeAffinity(int gpu, std::string_view cores, std::string_view node);

  const std::string& file_;
  Topology topology_;
  std::vector<int> columns_;  // the GPU of each; -1: a network card
  bool done_ = false;         // the first matrix has ended; `topo -p2p` may follow
  std::map<int, std::map<int, SmiCell>> rows_;
  std::map<int, std::pair<std::string, std::string>> names_;  // and UUIDs
};

// The words before the affinities' headings.
bool SmiMatrix::TakeHeader(const std::vector<std::string_view>& words) {
  if (words.empty() || !GpuNumber(words[0])) return false;
  if (words.size() > 1 && words[1] != "CPU" && !GpuNumber(words[1]) &&
      words[1].substr(0, 3) != "NIC" && words[1].find('_') == std::string_view::npos)
    return false;  // a row of the matrix, not its header
  for (const std::string_view word : words) {
    if (word == "CPU" || columns_.size() >= kMaxColumns) break;
    columns_.push_back(GpuNumber(word).value_or(-1));
  }
  return true;
}

void SmiMatrix::TakeAffinity(int gpu, std::string_view cores, std::string_view node) {
  GpuFacts& facts = topology_.gpus.back();
  facts.index = gpu;
  facts.cpu_affinity = FormatCpuList(ParseCpuList(cores));
  const std::vector<int> nodes = ParseCpuList(node);
  if (nodes.size() == 1) facts.numa_node = nodes[0];
}

Status SmiMatrix::TakeRow(int gpu, std::string_view line, int number) {
  const std::vector<std::string_view> words = Split(line, " \t", false);
  const std::size_t num_cells = std::min(words.size() - 1, columns_.size());
  if (num_cells < columns_.size()) {
    return Fault(number, fmt::format("GPU{} has {} links, the header has {} columns", gpu,
                                     num_cells, columns_.size()));
  }
  if (rows_.count(gpu) != 0) return Fault(number, fmt::format("GPU{} is there twice", gpu));
  if (rows_.size() >= kMaxGpus) return Fault(number, fmt::format("more than {} GPUs", kMaxGpus));
  std::map<int, SmiCell>& row = rows_[gpu];
  for (std::size_t i = 0; i < num_cells; ++i) {
    const auto cell = CellOf(words[i + 1]);
    if (!cell) {
      return Fault(number, fmt::format("\"{}\" is no kind of link (X, NV#, PIX, PXB, PHB, NODE, "
                                       "SYS)",
                                       words[i + 1].substr(0, 20)));
    }
    if (columns_[i] < 0) continue;
    if ((cell->link == LinkKind::kSelf) != (columns_[i] == gpu))
      return Fault(number, fmt::format("GPU{}: X is not in its own column", gpu));
    row[columns_[i]] = *cell;
  }
  topology_.gpus.emplace_back();
  // With tabs an empty affinity is seen as such.
  const std::vector<std::string_view> cells = Split(line, "\t", true);
  if (cells.size() > columns_.size()) {
    const std::size_t at = columns_.size() + 1;
    TakeAffinity(gpu, at < cells.size() ? cells[at] : "",
                 at + 1 < cells.size() ? cells[at + 1] : "");
  } else {
    const std::size_t at = num_cells + 1;
    TakeAffinity(gpu, at < words.size() ? words[at] : "",
                 at + 1 < words.size() ? words[at + 1] : "");
  }
  return {};
}

// "GPU 0: NVIDIA H200 (UUID: GPU-…)"
void SmiMatrix::TakeName(std::string_view line) {
  const auto index = LeadingInteger(line.substr(4));
  const std::size_t colon = line.find(": ");
  const std::size_t uuid = line.find(" (UUID: ");
  if (!index || *index < 0 || *index > 999 || colon == line.npos || uuid == line.npos ||
      uuid < colon || names_.size() >= kMaxGpus)
    return;
  const std::string_view name = line.substr(colon + 2, uuid - colon - 2);
  const std::string_view id = line.substr(uuid + 8, line.find(')', uuid) - uuid - 8);
  names_[static_cast<int>(*index)] = {std::string(name.substr(0, kMaxName)),
                                      std::string(id.substr(0, kMaxName))};
}

Status SmiMatrix::AddLine(std::string_view line, int number) {
  const std::string_view trimmed = TrimBlanks(line);
  if (trimmed.substr(0, 4) == "GPU ") TakeName(trimmed);
  if (done_) return {};
  const std::vector<std::string_view> words = Split(trimmed, " \t", false);
  if (columns_.empty()) {
    TakeHeader(words);
    return {};
  }
  const auto gpu = words.empty() ? std::nullopt : GpuNumber(words[0]);
  if (gpu) return TakeRow(*gpu, trimmed, number);
  done_ = !rows_.empty() && (words.empty() || words[0].substr(0, 3) != "NIC");
  return {};
}

Result<Topology> SmiMatrix::Finish() && {
  if (rows_.empty())
    return ConfigFault(file_ +
                       ": neither a topology of quire topo nor a matrix of nvidia-smi "
                       "topo -m");
  for (const int column : columns_) {
    if (column >= 0 && rows_.count(column) == 0)
      return ConfigFault(fmt::format("{}: the matrix has no row of GPU{}", file_, column));
  }
  for (const auto& [a, row] : rows_) {
    if (row.count(a) == 0)
      return ConfigFault(fmt::format("{}: the matrix has no column of GPU{}", file_, a));
    for (const auto& [b, cell] : row) {
      if (b <= a) continue;
      const SmiCell& back = rows_[b][a];
      if (back.link != cell.link || back.num_nvlinks != cell.num_nvlinks) {
        return ConfigFault(
            fmt::format("{}: GPU{} and GPU{} are linked otherwise than back", file_, a, b));
      }
      GpuPair pair;
      pair.a = a;
      pair.b = b;
      pair.link = cell.link;
      pair.num_nvlinks = cell.num_nvlinks;
      topology_.pairs.push_back(std::move(pair));
    }
  }
  std::sort(topology_.gpus.begin(), topology_.gpus.end(),
            [](const GpuFacts& a, const GpuFacts& b) { return a.index < b.index; });
  std::map<int, std::string> nodes;
  for (GpuFacts& gpu : topology_.gpus) {
    if (const auto name = names_.find(gpu.index); name != names_.end())
      std::tie(gpu.name, gpu.uuid) = name->second;
    if (gpu.numa_node >= 0) nodes[gpu.numa_node] = gpu.cpu_affinity;
    const auto full =
        std::count_if(topology_.pairs.begin(), topology_.pairs.end(), [&](const GpuPair& pair) {
          return (pair.a == gpu.index || pair.b == gpu.index) && pair.num_nvlinks > 0;
        });
    for (const GpuPair& pair : topology_.pairs) {
      if (pair.a == gpu.index || pair.b == gpu.index)
        gpu.num_nvlinks = std::max(gpu.num_nvlinks, pair.num_nvlinks);
    }
    // As many links to each of three and more others: no GPU has so many, there is a switch.
    gpu.nvswitch = full >= 3 && gpu.num_nvlinks >= 6;
  }
  for (auto& [id, cores] : nodes) {
    NumaNode node;
    node.id = id;
    node.cpus = cores;
    topology_.nodes.push_back(std::move(node));
  }
  topology_.notes.push_back(
      "nvidia-smi's matrix tells the links only: no memory, no PCIe, no peer access");
  return std::move(topology_);
}

}  // namespace

Result<Topology> TopologyFromNvidiaSmi(std::string_view text, const std::string& file) {
  const std::string clean = WithoutEscapes(text);
  SmiMatrix matrix(file);
  int number = 0;
  for (const std::string_view line : Split(clean, "\n", true))
    QUIRE_RETURN_IF_ERROR(matrix.AddLine(line, ++number));
  return std::move(matrix).Finish();
}

}  // namespace quire
