#include "topology/dump.h"

#include <fmt/core.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "topology/host_files.h"
#include "topology/nvidia_smi.h"

namespace quire {
namespace {

constexpr int kVersion = 1;
constexpr std::size_t kMaxGpus = 64;
constexpr std::size_t kMaxPairs = kMaxGpus * (kMaxGpus - 1) / 2;
constexpr std::size_t kMaxNodes = 1024;
constexpr std::size_t kMaxNotes = 1000;
constexpr std::size_t kMaxText = 1024;
constexpr std::int64_t kMaxIndex = 999;
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 50;

void Put(Json& json, const char* field, const std::string& text) {
  if (!text.empty()) json[field] = text;
}
void Put(Json& json, const char* field, std::int64_t number) {
  if (number != 0) json[field] = number;
}
void Put(Json& json, const char* field, Measured figure) {
  if (!figure) return;
  const double rounded = std::round(*figure * 1000) / 1000;
  if (rounded == std::floor(rounded)) {
    json[field] = static_cast<std::int64_t>(rounded);
  } else {
    json[field] = rounded;
  }
}
void Put(Json& json, const char* field, std::optional<bool> fact) {
  if (fact) json[field] = *fact;
}

Json GpuJson(const GpuFacts& gpu) {
  Json json = Json::object();
  json["index"] = gpu.index;
  Put(json, "name", gpu.name);
  Put(json, "uuid", gpu.uuid);
  Put(json, "pci_address", gpu.pci_address);
  Put(json, "compute_capability", gpu.compute_capability);
  Put(json, "memory_bytes", gpu.memory_bytes);
  Put(json, "memory_free_bytes", gpu.memory_free_bytes);
  Put(json, "memory_name", gpu.memory_name);
  Json pcie = Json::object();
  Put(pcie, "generation", gpu.pcie.generation);
  Put(pcie, "width", gpu.pcie.width);
  Put(pcie, "max_generation", gpu.pcie.max_generation);
  Put(pcie, "max_width", gpu.pcie.max_width);
  if (!pcie.empty()) json["pcie"] = std::move(pcie);
  Put(json, "num_nvlinks", gpu.num_nvlinks);
  if (gpu.nvlink_gb_per_s > 0) Put(json, "nvlink_gb_per_s", Measured(gpu.nvlink_gb_per_s));
  if (gpu.nvswitch) json["nvswitch"] = true;
  if (gpu.numa_node >= 0) json["numa_node"] = gpu.numa_node;
  Put(json, "cpu_affinity", gpu.cpu_affinity);
  if (gpu.power_watts > 0) Put(json, "power_watts", Measured(gpu.power_watts));
  if (gpu.power_limit_watts > 0) Put(json, "power_limit_watts", Measured(gpu.power_limit_watts));
  return json;
}

Json PairJson(const GpuPair& pair) {
  Json json = Json::object();
  json["a"] = pair.a;
  json["b"] = pair.b;
  json["link"] = LinkKindName(pair.link);
  Put(json, "num_nvlinks", pair.num_nvlinks);
  Put(json, "driver_claims_peer", pair.driver_claims_peer);
  Put(json, "peer_works", pair.peer_works);
  Put(json, "peer_failure", pair.peer_failure);
  Put(json, "copy_gb_per_s", pair.copy_gb_per_s);
  Put(json, "copy_both_gb_per_s", pair.copy_both_gb_per_s);
  Put(json, "store_latency_us", pair.store_latency_us);
  return json;
}

Json CopiesJson(const HostCopies& copies) {
  Json json = Json::object();
  json["gpu"] = copies.gpu;
  Put(json, "near_to_device", copies.near_to_device);
  Put(json, "near_to_host", copies.near_to_host);
  Put(json, "far_to_device", copies.far_to_device);
  Put(json, "far_to_host", copies.far_to_host);
  Put(json, "all_to_device", copies.all_to_device);
  Put(json, "all_to_host", copies.all_to_host);
  return json;
}

Json NodeJson(const NumaNode& node) {
  Json json = Json::object();
  json["id"] = node.id;
  Put(json, "cpus", node.cpus);
  Put(json, "memory_bytes", node.memory_bytes);
  if (!node.distances.empty()) json["distances"] = node.distances;
  return json;
}

template <class T, class Function>
void PutList(Json& json, const char* field, const std::vector<T>& list, Function to_json) {
  if (list.empty()) return;
  Json array = Json::array();
  for (const T& entry : list) array.push_back(to_json(entry));
  json[field] = std::move(array);
}

// Reads the fields of one object; remembers the first fault of the whole file and which fields the
// object may have.
class DumpReader {
 public:
  DumpReader(const Json& object, std::string path, std::string& fault)
      : object_(object), path_(std::move(path)), fault_(fault) {
    if (!object.is_object()) Fail("", "must be an object");
  }

  std::int64_t Int(const char* field, std::int64_t min, std::int64_t max, std::int64_t absent) {
    const Json* value = Find(field);
    if (value == nullptr) return absent;
    const bool fits = value->is_number_integer() &&
                      (!value->is_number_unsigned() ||
                       value->get<std::uint64_t>() <= std::numeric_limits<std::int64_t>::max());
    if (!fits || value->get<std::int64_t>() < min || value->get<std::int64_t>() > max) {
      Fail(field, fmt::format("must be a whole number from {} to {}", min, max));
      return absent;
    }
    return value->get<std::int64_t>();
  }
  int SmallInt(const char* field, std::int64_t min, std::int64_t max, int absent = 0) {
    return static_cast<int>(Int(field, min, max, absent));
  }
  int Required(const char* field, std::int64_t min, std::int64_t max) {
    if (object_.is_object() && !object_.contains(field)) Fail(field, "is missing");
    return SmallInt(field, min, max);
  }
  Measured Figure(const char* field) {
    const Json* value = Find(field);
    if (value == nullptr) return std::nullopt;
    const double figure = value->is_number() ? value->get<double>() : -1;
    if (!(figure >= 0 && figure <= 1e9)) {
      Fail(field, "must be a number from 0 to 1e9");
      return std::nullopt;
    }
    return figure;
  }
  std::optional<bool> Bool(const char* field) {
    const Json* value = Find(field);
    if (value == nullptr) return std::nullopt;
    if (!value->is_boolean()) {
      Fail(field, "must be true or false");
      return std::nullopt;
    }
    return value->get<bool>();
  }
  std::string Text(const char* field) {
    const Json* value = Find(field);
    return value == nullptr ? "" : TextOf(*value, field);
  }
  std::string Cpus(const char* field) {
    std::string list = Text(field);
    if (!list.empty() && ParseCpuList(list).empty())
      Fail(field, "must be a list of cores as 0-15,32-47");
    return list;
  }
  std::string TextOf(const Json& value, const std::string& field) {
    const std::string* text = value.is_string() ? value.get_ptr<const std::string*>() : nullptr;
    const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    if (text == nullptr || text->size() > kMaxText ||
        std::any_of(text->begin(), text->end(), is_control)) {
      Fail(field,
           fmt::format("must be text of at most {} bytes without control characters", kMaxText));
      return "";
    }
    return *text;
  }
  // Calls read(entry, "path.field[i]") for each entry of the list.
  template <class Function>
  void List(const char* field, std::size_t max, Function read) {
    const Json* list = Find(field);
    if (list == nullptr) return;
    if (!list->is_array() || list->size() > max) {
      Fail(field, fmt::format("must be a list of at most {} entries", max));
      return;
    }
    for (std::size_t i = 0; i < list->size() && fault_.empty(); ++i)
      read((*list)[i], fmt::format("{}[{}]", Path(field), i));
  }
  const Json* Find(const char* field) {
    known_.insert(field);
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(field);
    return found == object_.end() ? nullptr : &*found;
  }
  // After all fields were read.
  void RefuseUnknown() {
    if (!object_.is_object()) return;
    for (const auto& [name, value] : object_.items()) {
      if (known_.count(name) == 0) return Fail(name.substr(0, 80), "is an unknown field");
    }
  }
  void Fail(const std::string& field, const std::string& what) {
    if (fault_.empty()) fault_ = Path(field) + ": " + what;
  }

  std::string& fault() { return fault_; }

 private:
  std::string Path(const std::string& field) const {
    if (field.empty()) return path_.empty() ? "the file" : path_;
    return path_.empty() ? field : path_ + "." + field;
  }

  const Json& object_;
  const std::string path_;
  std::string& fault_;
  std::set<std::string> known_;
};

GpuFacts ReadGpu(const Json& json, const std::string& path, std::string& fault) {
  DumpReader read(json, path, fault);
  GpuFacts gpu;
  gpu.index = read.Required("index", 0, kMaxIndex);
  gpu.name = read.Text("name");
  gpu.uuid = read.Text("uuid");
  gpu.pci_address = read.Text("pci_address");
  gpu.compute_capability = read.SmallInt("compute_capability", 0, 9999);
  gpu.memory_bytes = read.Int("memory_bytes", 0, kMaxBytes, 0);
  gpu.memory_free_bytes = read.Int("memory_free_bytes", 0, kMaxBytes, 0);
  gpu.memory_name = read.Text("memory_name");
  if (const Json* pcie = read.Find("pcie")) {
    DumpReader link(*pcie, path + ".pcie", fault);
    gpu.pcie.generation = link.SmallInt("generation", 0, 16);
    gpu.pcie.width = link.SmallInt("width", 0, 64);
    gpu.pcie.max_generation = link.SmallInt("max_generation", 0, 16);
    gpu.pcie.max_width = link.SmallInt("max_width", 0, 64);
    link.RefuseUnknown();
  }
  gpu.num_nvlinks = read.SmallInt("num_nvlinks", 0, 999);
  gpu.nvlink_gb_per_s = read.Figure("nvlink_gb_per_s").value_or(0);
  gpu.nvswitch = read.Bool("nvswitch").value_or(false);
  gpu.numa_node = read.SmallInt("numa_node", -1, 1 << 16, -1);
  gpu.cpu_affinity = read.Cpus("cpu_affinity");
  gpu.power_watts = read.Figure("power_watts").value_or(0);
  gpu.power_limit_watts = read.Figure("power_limit_watts").value_or(0);
  read.RefuseUnknown();
  return gpu;
}

GpuPair ReadPair(const Json& json, const std::string& path, std::string& fault) {
  DumpReader read(json, path, fault);
  GpuPair pair;
  pair.a = read.Required("a", 0, kMaxIndex);
  pair.b = read.Required("b", 0, kMaxIndex);
  const auto link = LinkKindOf(read.Text("link"));
  if (!link || *link == LinkKind::kSelf)
    read.Fail("link", "must be NV, PIX, PXB, PHB, NODE, SYS or ?");
  pair.link = link.value_or(LinkKind::kUnknown);
  pair.num_nvlinks = read.SmallInt("num_nvlinks", 0, 999);
  if ((pair.link == LinkKind::kNvLink) != (pair.num_nvlinks > 0))
    read.Fail("num_nvlinks", "must be there where link is NV, and only there");
  pair.driver_claims_peer = read.Bool("driver_claims_peer");
  pair.peer_works = read.Bool("peer_works");
  pair.peer_failure = read.Text("peer_failure");
  pair.copy_gb_per_s = read.Figure("copy_gb_per_s");
  pair.copy_both_gb_per_s = read.Figure("copy_both_gb_per_s");
  pair.store_latency_us = read.Figure("store_latency_us");
  read.RefuseUnknown();
  return pair;
}

HostCopies ReadCopies(const Json& json, const std::string& path, std::string& fault) {
  DumpReader read(json, path, fault);
  HostCopies copies;
  copies.gpu = read.Required("gpu", 0, kMaxIndex);
  copies.near_to_device = read.Figure("near_to_device");
  copies.near_to_host = read.Figure("near_to_host");
  copies.far_to_device = read.Figure("far_to_device");
  copies.far_to_host = read.Figure("far_to_host");
  copies.all_to_device = read.Figure("all_to_device");
  copies.all_to_host = read.Figure("all_to_host");
  read.RefuseUnknown();
  return copies;
}

NumaNode ReadNode(const Json& json, const std::string& path, std::string& fault) {
  DumpReader read(json, path, fault);
  NumaNode node;
  node.id = read.Required("id", 0, 1 << 16);
  node.cpus = read.Cpus("cpus");
  node.memory_bytes = read.Int("memory_bytes", 0, kMaxBytes, 0);
  read.List("distances", kMaxNodes, [&](const Json& entry, const std::string& where) {
    const bool good = entry.is_number_unsigned() && entry.get<std::uint64_t>() <= 1000;
    if (!good && fault.empty()) fault = where + ": must be a whole number from 0 to 1000";
    node.distances.push_back(good ? entry.get<int>() : 0);
  });
  read.RefuseUnknown();
  return node;
}

void ReadHost(DumpReader& read, Topology& topology) {
  topology.hostname = read.Text("hostname");
  topology.cpu = read.Text("cpu");
  topology.kernel = read.Text("kernel");
  topology.driver = read.Text("driver");
  topology.num_sockets = read.SmallInt("num_sockets", 0, 1 << 16);
  topology.num_cores = read.SmallInt("num_cores", 0, 1 << 20);
  topology.num_threads = read.SmallInt("num_threads", 0, 1 << 20);
  topology.memory_bytes = read.Int("memory_bytes", 0, kMaxBytes, 0);
}

// What one entry alone cannot tell: the order of GPUs, pairs of GPUs that exist, each once.
void CheckReferences(const Topology& topology, DumpReader& read) {
  for (std::size_t i = 1; i < topology.gpus.size(); ++i) {
    if (topology.gpus[i].index <= topology.gpus[i - 1].index)
      read.Fail(fmt::format("gpus[{}].index", i), "must be larger than the one before");
  }
  for (std::size_t i = 0; i < topology.nodes.size(); ++i) {
    if (i > 0 && topology.nodes[i].id <= topology.nodes[i - 1].id)
      read.Fail(fmt::format("nodes[{}].id", i), "must be larger than the one before");
    const std::size_t distances = topology.nodes[i].distances.size();
    if (distances != 0 && distances != topology.nodes.size())
      read.Fail(fmt::format("nodes[{}].distances", i), "must have an entry for each node");
  }
  std::set<std::pair<int, int>> seen;
  for (std::size_t i = 0; i < topology.pairs.size(); ++i) {
    const GpuPair& pair = topology.pairs[i];
    if (pair.a >= pair.b || topology.Gpu(pair.a) == nullptr || topology.Gpu(pair.b) == nullptr)
      read.Fail(fmt::format("pairs[{}]", i), "a and b must be GPUs of this file, a < b");
    if (!seen.emplace(pair.a, pair.b).second)
      read.Fail(fmt::format("pairs[{}]", i), "is there twice");
  }
  std::set<int> copied;
  for (std::size_t i = 0; i < topology.host_copies.size(); ++i) {
    const int gpu = topology.host_copies[i].gpu;
    if (topology.Gpu(gpu) == nullptr || !copied.insert(gpu).second)
      read.Fail(fmt::format("host_copies[{}].gpu", i), "must be a GPU of this file, each once");
  }
}

Result<Topology> TopologyFromJson(const Json& json, const std::string& file) {
  std::string fault;
  DumpReader read(json, "", fault);
  const Json* version = read.Find("quire_topology");
  if (version == nullptr)
    return ConfigFault(file + ": quire_topology: is missing: this is no dump of quire topo");
  if (*version != kVersion) {
    return ConfigFault(
        fmt::format("{}: quire_topology: the dump is of version {}, this program "
                    "reads version {}",
                    file, WriteJson(*version).substr(0, 20), kVersion));
  }
  Topology topology;
  topology.source = file;
  ReadHost(read, topology);
  read.List("nodes", kMaxNodes, [&](const Json& entry, const std::string& path) {
    topology.nodes.push_back(ReadNode(entry, path, fault));
  });
  read.List("gpus", kMaxGpus, [&](const Json& entry, const std::string& path) {
    topology.gpus.push_back(ReadGpu(entry, path, fault));
  });
  read.List("pairs", kMaxPairs, [&](const Json& entry, const std::string& path) {
    topology.pairs.push_back(ReadPair(entry, path, fault));
  });
  read.List("host_copies", kMaxGpus, [&](const Json& entry, const std::string& path) {
    topology.host_copies.push_back(ReadCopies(entry, path, fault));
  });
  read.List("notes", kMaxNotes, [&](const Json& entry, const std::string& path) {
    topology.notes.push_back(DumpReader(Json::object(), "", fault).TextOf(entry, path));
  });
  read.RefuseUnknown();
  CheckReferences(topology, read);
  if (!fault.empty()) return ConfigFault(file + ": " + fault);
  return topology;
}

}  // namespace

Json ToJson(const Topology& topology) {
  Json json = Json::object();
  json["quire_topology"] = kVersion;
  Put(json, "hostname", topology.hostname);
  Put(json, "cpu", topology.cpu);
  Put(json, "kernel", topology.kernel);
  Put(json, "driver", topology.driver);
  Put(json, "num_sockets", topology.num_sockets);
  Put(json, "num_cores", topology.num_cores);
  Put(json, "num_threads", topology.num_threads);
  Put(json, "memory_bytes", topology.memory_bytes);
  PutList(json, "nodes", topology.nodes, NodeJson);
  PutList(json, "gpus", topology.gpus, GpuJson);
  PutList(json, "pairs", topology.pairs, PairJson);
  PutList(json, "host_copies", topology.host_copies, CopiesJson);
  PutList(json, "notes", topology.notes, [](const std::string& note) { return Json(note); });
  return json;
}

std::string TopologyDump(const Topology& topology) {
  std::string text = "{";
  const char* separator = "\n";
  const Json json = ToJson(topology);
  for (const auto& [field, value] : json.items()) {
    text += fmt::format("{}  \"{}\": ", separator, field);
    separator = ",\n";
    if (!value.is_array()) {
      text += WriteJson(value);
      continue;
    }
    for (std::size_t i = 0; i < value.size(); ++i)
      text += (i == 0 ? "[\n    " : ",\n    ") + WriteJson(value[i]);
    text += "\n  ]";
  }
  return text + "\n}\n";
}

Result<Topology> TopologyFromText(std::string_view text, const std::string& file) {
  if (TrimBlanks(text).substr(0, 1) != "{") return TopologyFromNvidiaSmi(text, file);
  const auto json = ParseJson(text);
  if (!json) return ConfigFault(file + ": " + json.error().message);
  return TopologyFromJson(*json, file);
}

}  // namespace quire
