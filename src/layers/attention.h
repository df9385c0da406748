// Attention over the paged KV cache.
#pragma once

#include "layers/context.h"
#include "layers/linear.h"

namespace quire {

// Softmax attention of one layer. Owns nothing but its facts; the cache comes with the step.
class PagedAttention {
 public:
  // `layer` counts from the model's first; heads are this rank's. sliding_window 0: full attention.
  PagedAttention(const BuildContext& ctx, int layer, const HeadCounts& heads, int sliding_window,
                 double scale);

  // Transforms q and k, stores k and v, then attends: q [tokens, num_heads, head_dim], k and v
  // [tokens, num_kv_heads, head_dim] → [tokens, num_heads · head_dim].
  Tensor operator()(ForwardContext& fwd, const Tensor& q, const Tensor& k, const Tensor& v,
                    const QkTransform& how) const;
  const KvLayerSpec& kv_spec() const { return spec_; }

 private:
  std::size_t index_;  // into ForwardContext::kv
  KvLayerSpec spec_;
  float scale_;
};

}  // namespace quire
