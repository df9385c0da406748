// The gated feed-forward block.
#pragma once

#include "layers/linear.h"

namespace quire {

// down(silu(gate(x)) · up(x)). Owns the projections.
class GatedMlp {
 public:
  GatedMlp(BuildContext& ctx, const WeightSource& weights, std::int64_t hidden_size,
           std::int64_t intermediate_size, bool bias);

  // x [tokens, hidden] becomes the result.
  void operator()(ForwardContext& fwd, const Tensor& x) const;
  // Arena bytes of a step of that many tokens, activations being of `dtype`.
  std::size_t ScratchBytes(DType dtype, std::int64_t num_tokens) const;

 private:
  ColumnParallelLinear gate_up_;
  RowParallelLinear down_;
};

}  // namespace quire
