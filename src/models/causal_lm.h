// The interface of a decoder-only language model on one rank, and the table of families.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "layers/context.h"

namespace quire {

// What config.json says that the engine above the model must know.
struct ModelShape {
  std::string architecture;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  int num_layers = 0;
  int max_position_embeddings = 0;   // as far as positions may go, rope scaling included
  DType stored_dtype = DType::kF32;  // torch_dtype / dtype
};

// A model on one rank. Immutable once built; Forward is const and keeps its state in the context.
class CausalLm {
 public:
  virtual ~CausalLm() = default;
  // One spec for each layer of this stage.
  virtual std::vector<KvLayerSpec> KvLayers() const = 0;
  // ids: int32 [tokens] → [tokens, hidden].
  virtual Tensor EmbedTokens(ForwardContext& fwd, const Tensor& ids) const = 0;
  // Through this stage's layers; of the last stage, x is normalised and ready for Logits.
  virtual Hidden Forward(ForwardContext& fwd, Hidden hidden) const = 0;
  // x: rows that were gathered from Forward's → float32 [rows, vocab_size].
  virtual Tensor Logits(ForwardContext& fwd, const Tensor& x) const = 0;
  // Upper bound of arena bytes for a step of that many tokens and rows of logits.
  virtual std::size_t ArenaBytes(std::int64_t num_tokens, std::int64_t num_logit_rows) const = 0;
};

// Checks config.json field by field (ranges, divisibility, unknown architecture, rope type or
// quantization) without touching weights. kModel errors name config.json and the field.
Result<ModelShape> ReadModelShape(const Json& config);

// Builds the model that config.json names; it must have passed ReadModelShape. Throws LoadError.
std::unique_ptr<CausalLm> BuildModel(const Json& config, const WeightSource& weights,
                                     BuildContext& ctx);

// "LlamaForCausalLM", …, for messages.
std::vector<std::string> SupportedArchitectures();

}  // namespace quire
