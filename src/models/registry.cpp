// The table of model families: an architecture of config.json, and who builds it.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "models/causal_lm.h"
#include "models/llama.h"

namespace quire {
namespace {

struct Family {
  const char* architecture;
  Result<ModelShape> (*read_shape)(const Json& config, const std::string& architecture);
  std::unique_ptr<CausalLm> (*build)(const Json& config, const std::string& architecture,
                                     const WeightSource& weights, BuildContext& ctx);
};

Result<ModelShape> LlamaShape(const Json& config, const std::string& architecture) {
  auto read = ReadLlamaConfig(config, architecture);
  if (!read) return read.error();
  return read->shape;
}

std::unique_ptr<CausalLm> BuildLlama(const Json& config, const std::string& architecture,
                                     const WeightSource& weights, BuildContext& ctx) {
  auto read = ReadLlamaConfig(config, architecture);
  if (!read) throw LoadError(read.error().message);
  return MakeLlama(*read, weights, ctx);
}

constexpr std::array<Family, 4> kFamilies = {{
    {"LlamaForCausalLM", LlamaShape, BuildLlama},
    {"MistralForCausalLM", LlamaShape, BuildLlama},
    {"Qwen2ForCausalLM", LlamaShape, BuildLlama},
    {"Qwen3ForCausalLM", LlamaShape, BuildLlama},
}};

std::string Listed() {
  std::string text;
  for (const Family& family : kFamilies)
    text += (text.empty() ? "" : ", ") + std::string(family.architecture);
  return text;
}

Result<const Family*> FindFamily(const Json& config) {
  const auto found = config.find("architectures");
  if (found == config.end() || !found->is_array() || found->empty() || found->size() > 16)
    return ModelFault("config.json: architectures must be a list that names the architecture");
  for (const Json& name : *found) {
    for (const Family& family : kFamilies)
      if (name == family.architecture) return &family;
  }
  return ModelFault(fmt::format("config.json: architectures: {} is not supported; these are: {}",
                                WriteJson(found->front()).substr(0, 100), Listed()));
}

Status RefuseQuantization(const Json& config) {
  const auto found = config.find("quantization_config");
  if (found == config.end() || found->is_null()) return {};
  std::string method = "null";
  if (found->is_object() && found->contains("quant_method"))
    method = WriteJson((*found)["quant_method"]).substr(0, 100);
  return ModelFault("config.json: quantization_config: quant_method " + method +
                    " is not supported; unquantized weights are");
}

}  // namespace

Result<ModelShape> ReadModelShape(const Json& config) {
  auto family = FindFamily(config);
  if (!family) return family.error();
  QUIRE_RETURN_IF_ERROR(RefuseQuantization(config));
  if (config.contains("auto_map"))
    LogWarning("config.json: auto_map names Python code, which is not run");
  return (*family)->read_shape(config, (*family)->architecture);
}

std::unique_ptr<CausalLm> BuildModel(const Json& config, const WeightSource& weights,
                                     BuildContext& ctx) {
  auto family = FindFamily(config);
  if (!family) throw LoadError(family.error().message);
  return (*family)->build(config, (*family)->architecture, weights, ctx);
}

std::vector<std::string> SupportedArchitectures() {
  std::vector<std::string> names;
  names.reserve(std::size(kFamilies));
  for (const Family& family : kFamilies) names.emplace_back(family.architecture);
  return names;
}

}  // namespace quire
