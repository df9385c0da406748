// Root mean square normalisation.
#pragma once

#include "layers/context.h"

namespace quire {

// x / sqrt(mean(x²) + eps) · weight. Owns the weight, as float32.
class RmsNorm {
 public:
  RmsNorm(BuildContext& ctx, const WeightSource& weights, std::int64_t size, double eps);

  // Adds the last sublayer's output to the residual stream; x becomes the normalised sum, in place.
  void operator()(ForwardContext& fwd, Hidden& hidden) const;
  const Tensor& weight() const { return weight_; }  // float32 [size]
  float eps() const { return eps_; }

 private:
  Buffer owner_;
  Tensor weight_;  // float32 [size]
  float eps_;
};

}  // namespace quire
