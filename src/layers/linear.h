// Linear layers that know this rank's share of their weight.
#pragma once

#include <initializer_list>
#include <string_view>

#include "layers/context.h"

namespace quire {

// A stored matrix [out_features, in] beneath the layer's scope; several are merged into one weight.
struct LinearPart {
  std::string_view name;
  std::int64_t out_features = 0;  // of all ranks
};

// y = x Wᵀ + b for this rank's share of the outputs. Owns the packed weight.
class ColumnParallelLinear {
 public:
  ColumnParallelLinear(BuildContext& ctx, const WeightSource& weights,
                       std::initializer_list<LinearPart> parts, std::int64_t in_features,
                       bool bias);

  // [tokens, in] → [tokens, out_features()]: the parts side by side.
  Tensor operator()(ForwardContext& fwd, const Tensor& x) const;
  std::int64_t out_features() const { return weight_.out_features; }
  const LinearWeight& weight() const { return weight_; }

 private:
  LinearWeight weight_;
};

// y = x Wᵀ + b where each rank has a share of the inputs; the sum over the ranks is everywhere.
// Owns the packed weight.
class RowParallelLinear {
 public:
  RowParallelLinear(BuildContext& ctx, const WeightSource& weights, std::int64_t in_features,
                    std::int64_t out_features, bool bias);

  // x [tokens, this rank's share of in] → out [tokens, out_features].
  void operator()(ForwardContext& fwd, const Tensor& x, const Tensor& out) const;

 private:
  LinearWeight weight_;
};

// Attention heads: of the whole model, or of one rank.
struct HeadCounts {
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
};

// The query, key and value projections as one weight. Ranks share the heads; where there are fewer
// KV heads than ranks, neighbours hold the same one. Owns the packed weight.
class QkvLinear {
 public:
  QkvLinear(BuildContext& ctx, const WeightSource& weights, std::int64_t in_features,
            const HeadCounts& heads, bool bias);

  struct Output {
    Tensor q;  // [tokens, heads().num_heads, head_dim], rows strided
    Tensor k;  // [tokens, heads().num_kv_heads, head_dim], rows strided
    Tensor v;
  };
  Output operator()(ForwardContext& fwd, const Tensor& x) const;
  const HeadCounts& heads() const { return heads_; }  // of this rank
  std::int64_t out_features() const { return weight_.out_features; }

 private:
  HeadCounts heads_;
  LinearWeight weight_;
};

}  // namespace quire
