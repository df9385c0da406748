#include "bench/host_facts.h"

#include <fmt/core.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>

#include "base/json.h"
#include "bench/page_cache.h"
#include "bench/printable.h"
#include "bench/run_json.h"

namespace quire {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

// "NVLink x18 (28 pairs)": how the GPUs are joined, each kind with its number of pairs.
std::string LinksOf(const Topology& topology) {
  std::map<std::string, int> kinds;
  for (const GpuPair& pair : topology.pairs) {
    std::string kind = LinkKindName(pair.link);
    if (pair.link == LinkKind::kNvLink) kind += std::to_string(pair.num_nvlinks);
    ++kinds[kind];
  }
  std::string text;
  for (const auto& [kind, count] : kinds) {
    text += fmt::format("{}{} ({} pair{})", text.empty() ? "" : ", ", kind, count,
                        count == 1 ? "" : "s");
  }
  return text;
}

std::string GpusOf(const Topology& topology) {
  std::map<std::string, int> names;
  for (const GpuFacts& gpu : topology.gpus)
    ++names[fmt::format(
        "{}{}", gpu.name.empty() ? "unknown GPU" : gpu.name,
        gpu.memory_bytes > 0
            ? fmt::format(", {:.0f} GiB", static_cast<double>(gpu.memory_bytes) / kGiB)
            : "")];
  std::string text;
  for (const auto& [name, count] : names)
    text += fmt::format("{}{} x {}", text.empty() ? "" : "; ", count, name);
  return text;
}

std::string TextOf(const Json& object, const char* name) {
  const auto at = object.find(name);
  return at != object.end() && at->is_string()
             ? PrintableText(at->get_ref<const std::string&>(), 40)
             : "";
}

std::string StoredDtype(const Json& config) {
  if (const auto quant = config.find("quantization_config");
      quant != config.end() && quant->is_object())
    return TextOf(*quant, "quant_method");
  const std::string dtype = TextOf(config, "dtype");
  return dtype.empty() ? TextOf(config, "torch_dtype") : dtype;
}

}  // namespace

void DescribeModelFolder(const std::filesystem::path& folder, RunSubject& subject) {
  std::error_code ignored;
  const std::filesystem::path file = folder / "config.json";
  if (folder.empty() || !std::filesystem::is_regular_file(file, ignored)) return;
  const auto config = ReadJsonFile(file.string());
  if (!config || !config->is_object()) return;
  if (subject.dtype.empty()) subject.dtype = StoredDtype(*config);
  if (subject.weights_gb > 0) return;
  std::uintmax_t bytes = 0;
  for (const std::filesystem::path& weights : FilesOfFolder(folder)) {
    const std::uintmax_t size = std::filesystem::file_size(weights, ignored);
    if (weights.extension() == ".safetensors" && !ignored) bytes += size;
  }
  subject.weights_gb = static_cast<double>(bytes) / 1e9;
}

HostFacts HostFactsOf(const Topology& topology) {
  HostFacts facts;
  const auto add = [&facts](const char* name, const std::string& value) {
    if (!value.empty()) facts.emplace_back(name, value);
  };
  add("Host", topology.hostname);
  if (!topology.cpu.empty()) {
    add("CPU", fmt::format("{}, {} socket{}, {} cores, {} threads", topology.cpu,
                           topology.num_sockets, topology.num_sockets == 1 ? "" : "s",
                           topology.num_cores, topology.num_threads));
  }
  if (topology.memory_bytes > 0)
    add("Memory", fmt::format("{:.1f} GiB", static_cast<double>(topology.memory_bytes) / kGiB));
  if (topology.nodes.size() > 1) add("NUMA nodes", std::to_string(topology.nodes.size()));
  add("GPUs", GpusOf(topology));
  add("GPU links", LinksOf(topology));
  if (!topology.gpus.empty() && topology.gpus.front().pcie.max_generation > 0) {
    const PcieLink& link = topology.gpus.front().pcie;
    add("PCIe of GPU 0", fmt::format("generation {} x{}", link.max_generation, link.max_width));
  }
  add("Driver", topology.driver);
  add("Kernel", topology.kernel);
  return facts;
}

}  // namespace quire
