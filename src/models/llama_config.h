// config.json of the Llama family: Llama, Mistral, Qwen2, Qwen3.
#pragma once

#include <vector>

#include "layers/linear.h"
#include "layers/rope.h"
#include "models/causal_lm.h"

namespace quire {

struct LlamaConfig {
  ModelShape shape;
  std::int64_t intermediate_size = 0;
  HeadCounts heads;  // of the whole model
  double rms_norm_eps = 1e-6;
  RopeParameters rope;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;
  bool output_bias = false;  // of o_proj
  bool mlp_bias = false;
  bool qk_norm = false;              // RmsNorm over each head of q and k
  std::vector<int> sliding_windows;  // of each layer; 0: full attention
};

// `architecture` is one of the family.
Result<LlamaConfig> ReadLlamaConfig(const Json& config, const std::string& architecture);

}  // namespace quire
