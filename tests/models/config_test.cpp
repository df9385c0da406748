// config.json of the Llama family: what is refused, and what it is read as.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "models/llama_config.h"

namespace quire {
namespace {

Json Basic() {
  return Json::parse(R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 320,
      "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
      "num_key_value_heads": 2, "max_position_embeddings": 512, "hidden_act": "silu"})");
}

std::string Refusal(const Json& config) {
  const auto shape = ReadModelShape(config);
  if (shape.ok()) return "";
  EXPECT_EQ(shape.error().kind, ErrorKind::kModel);
  return shape.error().message;
}

Json With(const char* patch) {
  Json config = Basic();
  config.merge_patch(Json::parse(patch));
  return config;
}

LlamaConfig Read(const Json& config) {
  const auto read = ReadLlamaConfig(config, config["architectures"][0]);
  EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error().message);
  return read.ok() ? *read : LlamaConfig();
}

TEST(LlamaConfigTest, NamesTheFieldAndItsRange) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"num_hidden_layers": -2})", "config.json: num_hidden_layers must be 1 … 1000, it is -2"},
      {R"({"num_hidden_layers": 0})", "num_hidden_layers"},
      {R"({"num_hidden_layers": 1001})", "num_hidden_layers"},
      {R"({"num_hidden_layers": "4"})", "num_hidden_layers"},
      {R"({"num_hidden_layers": 4.0})", "num_hidden_layers"},
      {R"({"num_hidden_layers": null})", "num_hidden_layers is missing"},
      {R"({"vocab_size": 18446744073709551615})", "vocab_size"},
      {R"({"vocab_size": 0})", "vocab_size"},
      {R"({"hidden_size": -64})", "hidden_size"},
      {R"({"num_attention_heads": 0})", "num_attention_heads"},
      {R"({"num_attention_heads": 6})", "config.json: hidden_size 64 is not divisible"},
      {R"({"num_key_value_heads": 3})", "num_key_value_heads"},
      {R"({"num_key_value_heads": 0})", "num_key_value_heads"},
      {R"({"head_dim": 7})", "head_dim"},
      {R"({"head_dim": 4096})", "head_dim"},
      {R"({"intermediate_size": 1e300})", "intermediate_size"},
      {R"({"max_position_embeddings": 0})", "max_position_embeddings"},
      {R"({"rms_norm_eps": "small"})", "rms_norm_eps"},
      {R"({"rope_theta": -1})", "rope_theta"},
      {R"({"hidden_act": "gelu"})", "config.json: hidden_act must be silu, it is \"gelu\""},
      {R"({"torch_dtype": "float64"})", "torch_dtype"},
      {R"({"dtype": "int8"})", "dtype"},
      {R"({"tie_word_embeddings": 1})", "tie_word_embeddings"},
      {R"({"attention_bias": "no"})", "attention_bias"},
      {R"({"rope_scaling": 3})", "rope_scaling"},
      {R"({"rope_scaling": {"rope_type": "spiral"}})",
       "config.json: rope_scaling.rope_type \"spiral\" is not supported"},
      {R"({"rope_scaling": {"type": "linear"}})", "rope_scaling.factor is missing"},
      {R"({"rope_scaling": {"type": "linear", "factor": 0}})", "rope_scaling.factor"},
      {R"({"rope_parameters": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
           "high_freq_factor": 4}})",
       "rope_parameters.high_freq_factor"},
      {R"({"rope_parameters": {"full_attention": {"rope_type": "default"}}})", "full_attention"},
      {R"({"architectures": ["FrobnicateForCausalLM"]})",
       "config.json: architectures: \"FrobnicateForCausalLM\" is not supported; these are: "
       "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM"},
      {R"({"architectures": []})", "architectures"},
      {R"({"architectures": "LlamaForCausalLM"})", "architectures"},
      {R"({"quantization_config": {"quant_method": "quipsharp9"}})",
       "config.json: quantization_config: quant_method \"quipsharp9\" is not supported"},
      {R"({"quantization_config": []})", "quantization_config"},
  };
  for (const auto& [patch, message] : cases) {
    const std::string refusal = Refusal(With(patch));
    EXPECT_NE(refusal.find(message), std::string::npos) << patch << " gave: " << refusal;
    EXPECT_EQ(refusal.rfind("config.json: ", 0), 0U) << refusal;
  }
}

TEST(LlamaConfigTest, EveryFieldOfEveryTypeIsReadOrRefused) {
  const Json values[] = {nullptr,          true,          -1, 0, 1, 3, 1e40, "text",
                         Json::array({1}), Json::object()};
  const Json basic = Basic();
  for (const auto& item : basic.items()) {
    for (const Json& value : values) {
      Json config = Basic();
      config[item.key()] = value;
      static_cast<void>(ReadModelShape(config));  // must return, whatever it says
    }
  }
}

TEST(LlamaConfigTest, ReadsTheShape) {
  const auto shape = ReadModelShape(With(R"({"dtype": "bfloat16", "auto_map": {"x": "y"}})"));
  ASSERT_TRUE(shape.ok());
  EXPECT_EQ(shape->architecture, "LlamaForCausalLM");
  EXPECT_EQ(shape->vocab_size, 320);
  EXPECT_EQ(shape->num_layers, 4);
  EXPECT_EQ(shape->max_position_embeddings, 512);
  EXPECT_EQ(shape->stored_dtype, DType::kBF16);
}

TEST(LlamaConfigTest, FamiliesDifferByFlags) {
  const LlamaConfig llama = Read(With(R"({"attention_bias": true, "sliding_window": 8})"));
  EXPECT_TRUE(llama.qkv_bias && llama.output_bias && !llama.mlp_bias && !llama.qk_norm);
  EXPECT_EQ(llama.sliding_windows, (std::vector<int>{0, 0, 0, 0}));
  EXPECT_EQ(llama.heads.head_dim, 16);
  const LlamaConfig qwen2 = Read(With(R"({"architectures": ["Qwen2ForCausalLM"]})"));
  EXPECT_TRUE(qwen2.qkv_bias && !qwen2.output_bias && !qwen2.qk_norm);
  const LlamaConfig qwen3 = Read(With(R"({"architectures": ["Qwen3ForCausalLM"]})"));
  EXPECT_TRUE(!qwen3.qkv_bias && qwen3.qk_norm);
  EXPECT_EQ(qwen3.heads.head_dim, 128);
}

TEST(LlamaConfigTest, SlidingWindows) {
  const auto windows = [](const char* patch) { return Read(With(patch)).sliding_windows; };
  EXPECT_EQ(windows(R"({"architectures": ["MistralForCausalLM"], "sliding_window": 8})"),
            (std::vector<int>{8, 8, 8, 8}));
  EXPECT_EQ(windows(R"({"architectures": ["MistralForCausalLM"]})"),
            (std::vector<int>{4096, 4096, 4096, 4096}));
  Json without = With(R"({"architectures": ["MistralForCausalLM"]})");
  without["sliding_window"] = nullptr;
  EXPECT_EQ(Read(without).sliding_windows, (std::vector<int>{0, 0, 0, 0}));
  EXPECT_EQ(windows(R"({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 8,
                        "max_window_layers": 1})"),
            (std::vector<int>{0, 0, 0, 0}));
  EXPECT_EQ(windows(R"({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 8,
                        "use_sliding_window": true, "max_window_layers": 3})"),
            (std::vector<int>{0, 0, 0, 8}));
  EXPECT_EQ(windows(R"({"architectures": ["Qwen3ForCausalLM"], "sliding_window": 8,
                        "use_sliding_window": true, "layer_types": ["full_attention",
                        "sliding_attention", "full_attention", "full_attention"]})"),
            (std::vector<int>{0, 8, 0, 0}));
  EXPECT_NE(Refusal(With(R"({"layer_types": ["full_attention"]})")).find("layer_types"),
            std::string::npos);
}

TEST(LlamaConfigTest, BothFormsOfRope) {
  const LlamaConfig old_form = Read(With(R"({"rope_theta": 5000, "rope_scaling": {"type": "yarn",
      "factor": 8.0, "original_max_position_embeddings": 64}})"));
  const LlamaConfig new_form = Read(With(R"({"rope_parameters": {"rope_theta": 5000,
      "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64}})"));
  for (const LlamaConfig& config : {old_form, new_form}) {
    EXPECT_EQ(config.rope.scaling, RopeScaling::kYarn);
    EXPECT_EQ(config.rope.theta, 5000.0);
    EXPECT_EQ(config.rope.original_max_positions, 64);
    EXPECT_EQ(config.shape.max_position_embeddings, 512);
  }
  const LlamaConfig linear = Read(With(R"({"rope_scaling": {"type": "linear", "factor": 4}})"));
  EXPECT_EQ(linear.shape.max_position_embeddings, 2048);
}

}  // namespace
}  // namespace quire
