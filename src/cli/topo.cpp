// quire topo: what links this host's GPUs, and what that means for -tp, -pp and -dp.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/engine_options.h"
#include "models/causal_lm.h"
#include "models/config_reader.h"
#include "topology/advice.h"
#include "topology/dump.h"
#include "topology/picture.h"
#include "topology/probe.h"
#include "weights/mapped_file.h"
#include "weights/model_folder.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxDumpBytes = std::size_t{8} << 20;
constexpr std::int64_t kDefaultContext = 8192;
constexpr std::int64_t kKvElementBytes = 2;  // of a KV cache in 16 bits

struct Flags {
  std::string from, dump, model;
  std::int64_t context = 0;
  bool json = false, no_color = false;
};

struct ModelFacts {
  ModelNeeds needs;
  std::string unsupported;  // why Quire does not run this family yet; empty: it does
};

Result<Topology> ReadTopology(const Flags& flags) {
  if (flags.from.empty()) {
    Topology topology = ProbeTopology();
    if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES"); visible != nullptr)
      topology.notes.push_back(
          "CUDA_VISIBLE_DEVICES is set: programs may see fewer GPUs than are shown here");
    return topology;
  }
  auto text = ReadSmallFile(flags.from, kMaxDumpBytes);
  if (!text) return ConfigFault("--from: " + text.error().message);
  auto topology = TopologyFromText(*text, fs::path(flags.from).filename().string());
  if (!topology) return ConfigFault("--from: " + topology.error().message);
  return topology;
}

// The files that the loader would read: model.safetensors, or the shards that the index names.
Result<std::int64_t> WeightBytes(const fs::path& folder) {
  std::set<std::string> files;
  if (EntryExists(folder / "model.safetensors")) {
    files.insert("model.safetensors");
  } else if (const char* index = "model.safetensors.index.json"; EntryExists(folder / index)) {
    const auto json = ReadJsonFile(folder / index);
    if (!json) return json.error();
    const auto map = json->find("weight_map");
    if (map == json->end() || !map->is_object())
      return ModelFault(std::string(index) + ": weight_map must be an object");
    for (const auto& [tensor, file] : map->items()) {
      const std::string name = file.is_string() ? file.get<std::string>() : "";
      if (name.empty() || name.find('/') != name.npos || name.find('\0') != name.npos)
        return ModelFault(std::string(index) + ": weight_map must hold names of files");
      files.insert(name);
    }
  }
  if (files.empty())
    return ModelFault(folder.string() +
                      ": holds neither model.safetensors nor model.safetensors.index.json, so the "
                      "size of the weights is not known");
  std::int64_t bytes = 0;
  for (const std::string& file : files) {
    std::error_code error;
    const auto size = fs::file_size(folder / file, error);
    if (error) return ModelFault(file + ": " + error.message());
    bytes += static_cast<std::int64_t>(std::min<std::uintmax_t>(size, std::uintmax_t{1} << 46));
  }
  return bytes;
}

// Reads what nearly every decoder's config.json has, so that models which Quire does not run yet
// get advice too.
Result<ModelFacts> ReadModel(const Flags& flags) {
  const auto folder = FindModelFolder(flags.model);
  if (!folder) return folder.error();
  const auto config = ReadJsonFile(*folder / "config.json");
  if (!config) return config.error();
  const auto nested = config->find("text_config");  // of models that see, too
  const bool is_nested = nested != config->end() && nested->is_object();
  ConfigReader read(is_nested ? *nested : *config, is_nested ? "text_config" : "");
  ModelFacts facts;
  ModelNeeds& needs = facts.needs;
  needs.name = flags.model;
  needs.num_layers = static_cast<int>(read.Int("num_hidden_layers", 1, 1000));
  needs.num_heads = static_cast<int>(read.Int("num_attention_heads", 1, 4096));
  needs.num_kv_heads = static_cast<int>(read.Int("num_key_value_heads", 1, 4096, needs.num_heads));
  const std::int64_t hidden = read.Int("hidden_size", 1, 1 << 20);
  const std::int64_t head_dim =
      read.Int("head_dim", 1, 1 << 16, std::max<std::int64_t>(1, hidden / needs.num_heads));
  const std::int64_t longest = read.Int("max_position_embeddings", 1, 1 << 30, kDefaultContext);
  QUIRE_RETURN_IF_ERROR(read.status());
  const auto bytes = WeightBytes(*folder);
  if (!bytes) return bytes.error();
  needs.weight_bytes = *bytes;
  needs.kv_bytes_per_token = 2 * kKvElementBytes * needs.num_layers * needs.num_kv_heads * head_dim;
  needs.context_tokens = flags.context > 0 ? flags.context : std::min(longest, kDefaultContext);
  if (const auto shape = ReadModelShape(*config); !shape) facts.unsupported = shape.error().message;
  return facts;
}

Json AdviceJson(const ParallelAdvice& advice) {
  Json json = Json::object();
  json["fits"] = advice.fits;
  json["tensor_parallel_size"] = advice.tensor;
  json["pipeline_parallel_size"] = advice.pipeline;
  json["data_parallel_size"] = advice.data;
  json["gpus"] = advice.gpus;
  json["flags"] = advice.flags;
  json["reasons"] = advice.reasons;
  json["warnings"] = advice.warnings;
  return json;
}

int WriteOut(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  return written && std::fflush(stdout) == 0 ? 0 : 1;
}

int WriteDump(const std::string& file, const Topology& topology) {
  const std::string text = TopologyDump(topology);
  if (file == "-") return WriteOut(text);
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) return Fail(ConfigFault("--dump: '" + file + "' cannot be written"));
  std::fprintf(stderr, "the topology is in %s\n", file.c_str());
  return 0;
}

bool WantsColor(const Flags& flags) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return !flags.no_color && (no_color == nullptr || *no_color == '\0') &&
         ::isatty(STDOUT_FILENO) != 0 && (terminal == nullptr || std::string(terminal) != "dumb");
}

int RunTopo(const Flags& flags) {
  const auto topology = ReadTopology(flags);
  if (!topology) return Fail(topology.error());
  if (!flags.dump.empty()) return WriteDump(flags.dump, *topology);
  ModelFacts model;
  model.needs.context_tokens = flags.context;
  if (!flags.model.empty()) {
    auto facts = ReadModel(flags);
    if (!facts) return Fail(facts.error());
    model = std::move(*facts);
  }
  ParallelAdvice advice = AdviseParallel(*topology, model.needs);
  if (!model.unsupported.empty())
    advice.warnings.push_back("Quire does not run this model yet: " + model.unsupported + ".");
  if (flags.json) {
    Json json = Json::object();
    json["topology"] = ToJson(*topology);
    json["advice"] = AdviceJson(advice);
    return WriteOut(WriteJson(json) + "\n");
  }
  return WriteOut(TopologyPicture(*topology, WantsColor(flags)) + "\n" +
                  AdviceText(advice, model.needs));
}

}  // namespace

Command AddTopoCommand(CLI::App& program) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = program.add_subcommand(
      "topo", "Show GPUs, links and NUMA nodes, and which -tp, -pp, -dp fit them");
  command->add_option("--from", flags->from,
                      "Another host: a file of --dump, or of nvidia-smi topo -m");
  command->add_option("--dump", flags->dump,
                      "Write the topology to this file (-: stdout) and nothing else");
  command->add_option("--model", flags->model, "Advice for this model: a folder, or org/name");
  command
      ->add_option("--context", flags->context,
                   "Tokens of the longest sequence that must fit (default: the model's, at most "
                   "8192)")
      ->transform(HumanNumber())
      ->check(Between(std::int64_t{1}, std::int64_t{1} << 30));
  command->add_flag("--json", flags->json, "Topology and advice as JSON");
  command->add_flag("--no-color", flags->no_color, "No colours, on a terminal either");
  return [flags] { return RunTopo(*flags); };
}

}  // namespace quire
