#include "models/llama_config.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <string>

#include "models/config_reader.h"
#include "models/rope_config.h"

namespace quire {
namespace {

constexpr std::int64_t kMaxLayers = 1000;
constexpr std::int64_t kMaxHeadDim = 1024;
constexpr std::int64_t kMaxPositions = std::int64_t{1} << 24;
constexpr std::int64_t kMaxWindow = std::int64_t{1} << 30;

void ReadHeads(ConfigReader& read, LlamaConfig& config) {
  const std::int64_t hidden = config.shape.hidden_size;
  const bool is_qwen3 = config.shape.architecture == "Qwen3ForCausalLM";
  HeadCounts& heads = config.heads;
  heads.num_heads = read.Int("num_attention_heads", 1, 4096);
  heads.num_kv_heads = read.Int("num_key_value_heads", 1, 4096, heads.num_heads);
  if (heads.num_heads % heads.num_kv_heads != 0) {
    read.Fail("num_attention_heads", fmt::format("{} is not a multiple of num_key_value_heads {}",
                                                 heads.num_heads, heads.num_kv_heads));
  }
  if (!is_qwen3 && !read.Has("head_dim") && hidden % heads.num_heads != 0) {
    read.Fail("hidden_size", fmt::format("{} is not divisible by num_attention_heads {}, and there "
                                         "is no head_dim",
                                         hidden, heads.num_heads));
  }
  heads.head_dim =
      read.Int("head_dim", 2, kMaxHeadDim, is_qwen3 ? std::int64_t{128} : hidden / heads.num_heads);
  if (heads.head_dim > kMaxHeadDim)
    read.Fail("hidden_size",
              fmt::format("divided by num_attention_heads gives {} dimensions a head, "
                          "more than {}",
                          heads.head_dim, kMaxHeadDim));
}

void ReadBiases(ConfigReader& read, LlamaConfig& config) {
  const std::string& architecture = config.shape.architecture;
  if (architecture == "Qwen2ForCausalLM") {
    config.qkv_bias = true;
  } else if (architecture != "MistralForCausalLM") {
    config.qkv_bias = read.Bool("attention_bias", false);
    config.output_bias = config.qkv_bias;
  }
  if (architecture == "LlamaForCausalLM") config.mlp_bias = read.Bool("mlp_bias", false);
  config.qk_norm = architecture == "Qwen3ForCausalLM";
}

// The first layer that slides, for configurations without layer_types; num_layers where none does.
std::int64_t FirstSlidingLayer(ConfigReader& read, const LlamaConfig& config) {
  const std::string& architecture = config.shape.architecture;
  if (architecture == "MistralForCausalLM") return 0;
  const bool is_qwen = architecture != "LlamaForCausalLM";
  const std::int64_t full = read.Int("max_window_layers", 0, kMaxWindow, 28);
  return is_qwen && read.Bool("use_sliding_window", false) ? full : config.shape.num_layers;
}

void ReadLayerTypes(ConfigReader& read, const Json& types, int window, std::vector<int>& windows) {
  if (!types.is_array() || types.size() != windows.size()) {
    read.Fail("layer_types", "must be a list with one entry for each layer");
    return;
  }
  for (std::size_t i = 0; i < windows.size(); ++i) {
    if (types[i] != "full_attention" && types[i] != "sliding_attention") {
      read.Fail("layer_types", "holds something else than full_attention and sliding_attention");
      return;
    }
    windows[i] = types[i] == "sliding_attention" ? window : 0;
  }
}

void ReadSlidingWindows(ConfigReader& read, const Json& json, LlamaConfig& config) {
  config.sliding_windows.assign(static_cast<std::size_t>(config.shape.num_layers), 0);
  // transformers' default counts where the field is absent; null says that there is no window.
  const bool is_null = json.contains("sliding_window") && !read.Has("sliding_window");
  const std::int64_t window = is_null ? 0 : read.Int("sliding_window", 1, kMaxWindow, 4096);
  const std::int64_t first = FirstSlidingLayer(read, config);
  if (const Json* types = read.Find("layer_types")) {
    const bool slides = config.shape.architecture != "LlamaForCausalLM";
    ReadLayerTypes(read, *types, slides ? static_cast<int>(window) : 0, config.sliding_windows);
    return;
  }
  for (std::int64_t layer = first; layer < config.shape.num_layers; ++layer)
    config.sliding_windows[static_cast<std::size_t>(layer)] = static_cast<int>(window);
}

DType ReadStoredDType(ConfigReader& read) {
  const char* field = read.Has("dtype") ? "dtype" : "torch_dtype";
  const std::string name = read.Text(field, "float32");
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float16") return DType::kF16;
  if (name != "float32") {
    read.Fail(field, fmt::format("must be float32, bfloat16 or float16, it is \"{}\"",
                                 name.substr(0, 80)));
  }
  return DType::kF32;
}

}  // namespace

Result<LlamaConfig> ReadLlamaConfig(const Json& json, const std::string& architecture) {
  ConfigReader read(json);
  LlamaConfig config;
  ModelShape& shape = config.shape;
  shape.architecture = architecture;
  shape.vocab_size = read.Int("vocab_size", 1, 1 << 24);
  shape.hidden_size = read.Int("hidden_size", 1, 1 << 17);
  shape.num_layers = static_cast<int>(read.Int("num_hidden_layers", 1, kMaxLayers));
  shape.stored_dtype = ReadStoredDType(read);
  config.intermediate_size = read.Int("intermediate_size", 1, 1 << 20);
  config.rms_norm_eps = read.Real("rms_norm_eps", 0.0, 1.0, 1e-6);
  config.tie_word_embeddings = read.Bool("tie_word_embeddings", false);
  if (const std::string act = read.Text("hidden_act", "silu"); act != "silu")
    read.Fail("hidden_act", fmt::format("must be silu, it is \"{}\"", act.substr(0, 80)));
  ReadHeads(read, config);
  ReadBiases(read, config);
  ReadSlidingWindows(read, json, config);
  const std::int64_t positions = read.Int("max_position_embeddings", 1, kMaxPositions);
  const RopeConfig rope = ReadRope(read, config.heads.head_dim, positions);
  config.rope = rope.parameters;
  shape.max_position_embeddings = static_cast<int>(rope.max_positions);
  QUIRE_RETURN_IF_ERROR(read.status());
  return config;
}

}  // namespace quire
