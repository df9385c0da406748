#include "layers/norm.h"

#include "layers/pack.h"

namespace quire {

RmsNorm::RmsNorm(BuildContext& ctx, const WeightSource& weights, std::int64_t size, double eps)
    : owner_(UploadFloat32(ctx, weights.Get("weight", {size}))),
      weight_(owner_.View(DType::kF32, {size})),
      eps_(static_cast<float>(eps)) {}

void RmsNorm::operator()(ForwardContext& fwd, Hidden& hidden) const {
  if (hidden.residual.empty()) {
    hidden.residual = hidden.x;
    hidden.x = fwd.Take({hidden.residual.rows(), hidden.residual.dim(1)});
    fwd.backend.RmsNorm(hidden.residual, weight_, eps_, hidden.x);
  } else {
    fwd.backend.AddRmsNorm(hidden.x, hidden.residual, weight_, eps_, hidden.x);
  }
}

}  // namespace quire
