// The Llama family: Llama, Mistral, Qwen2, Qwen3.
#pragma once

#include <memory>

#include "models/llama_config.h"

namespace quire {

// Builds this stage's share of the model. Throws LoadError.
std::unique_ptr<CausalLm> MakeLlama(const LlamaConfig& config, const WeightSource& weights,
                                    BuildContext& ctx);

}  // namespace quire
