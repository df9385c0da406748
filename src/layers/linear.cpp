#include "layers/linear.h"

#include <fmt/core.h>

#include <vector>

#include "layers/pack.h"

namespace quire {
namespace {

// Rows [first, first + count) of the matrix and the bias of a scope.
WeightSlice RowsOf(const WeightSource& weights, std::int64_t out_features, std::int64_t in_features,
                   bool bias, std::int64_t first, std::int64_t count) {
  WeightSlice slice;
  slice.weight = weights.Get("weight", {out_features, in_features}).Rows(first, count);
  if (bias) slice.bias = weights.Get("bias", {out_features}).Rows(first, count);
  return slice;
}

LinearWeight PackColumnShares(BuildContext& ctx, const WeightSource& weights,
                              std::initializer_list<LinearPart> parts, std::int64_t in_features,
                              bool bias) {
  std::vector<WeightSlice> slices;
  for (const LinearPart& part : parts) {
    const std::int64_t share =
        ShareOf(part.out_features, ctx.parallel.tensor_parallel_size, "the number of outputs");
    slices.push_back(RowsOf(weights / part.name, part.out_features, in_features, bias,
                            share * ctx.parallel.tensor_rank, share));
  }
  return PackSlices(ctx, slices);
}

LinearWeight PackRowShare(BuildContext& ctx, const WeightSource& weights, std::int64_t in_features,
                          std::int64_t out_features, bool bias) {
  const std::int64_t share =
      ShareOf(in_features, ctx.parallel.tensor_parallel_size, "the number of inputs");
  WeightSlice slice;
  slice.weight = weights.Get("weight", {out_features, in_features})
                     .Columns(share * ctx.parallel.tensor_rank, share);
  // One rank adds the bias; the sum over the ranks then has it once.
  if (bias && ctx.parallel.tensor_rank == 0) slice.bias = weights.Get("bias", {out_features});
  return PackSlices(ctx, {slice});
}

HeadCounts HeadsOfRank(const HeadCounts& all, int ranks) {
  HeadCounts heads = all;
  heads.num_heads = ShareOf(all.num_heads, ranks, "num_attention_heads");
  if (all.num_kv_heads >= ranks) {
    heads.num_kv_heads = ShareOf(all.num_kv_heads, ranks, "num_key_value_heads");
  } else if (ranks % all.num_kv_heads == 0) {
    heads.num_kv_heads = 1;
  } else {
    throw LoadError(
        fmt::format("config.json: --tensor-parallel-size {} is not a multiple of "
                    "num_key_value_heads {}",
                    ranks, all.num_kv_heads));
  }
  return heads;
}

LinearWeight PackQkv(BuildContext& ctx, const WeightSource& weights, std::int64_t in_features,
                     const HeadCounts& all, const HeadCounts& mine, bool bias) {
  const int ranks = ctx.parallel.tensor_parallel_size;
  const int rank = ctx.parallel.tensor_rank;
  const std::int64_t first_kv =
      all.num_kv_heads >= ranks ? rank * mine.num_kv_heads : rank * all.num_kv_heads / ranks;
  const auto part = [&](std::string_view name, std::int64_t heads, std::int64_t first,
                        std::int64_t count) {
    return RowsOf(weights / name, heads * all.head_dim, in_features, bias, first * all.head_dim,
                  count * all.head_dim);
  };
  return PackSlices(ctx, {part("q_proj", all.num_heads, rank * mine.num_heads, mine.num_heads),
                          part("k_proj", all.num_kv_heads, first_kv, mine.num_kv_heads),
                          part("v_proj", all.num_kv_heads, first_kv, mine.num_kv_heads)});
}

}  // namespace

ColumnParallelLinear::ColumnParallelLinear(BuildContext& ctx, const WeightSource& weights,
                                           std::initializer_list<LinearPart> parts,
                                           std::int64_t in_features, bool bias)
    : weight_(PackColumnShares(ctx, weights, parts, in_features, bias)) {}

Tensor ColumnParallelLinear::operator()(ForwardContext& fwd, const Tensor& x) const {
  const Tensor out = fwd.Take({x.rows(), weight_.out_features});
  fwd.backend.MatMul(x, weight_, out);
  return out;
}

RowParallelLinear::RowParallelLinear(BuildContext& ctx, const WeightSource& weights,
                                     std::int64_t in_features, std::int64_t out_features, bool bias)
    : weight_(PackRowShare(ctx, weights, in_features, out_features, bias)) {}

void RowParallelLinear::operator()(ForwardContext& fwd, const Tensor& x, const Tensor& out) const {
  fwd.backend.MatMul(x, weight_, out);
  fwd.tp.AllReduceSum(out);
}

QkvLinear::QkvLinear(BuildContext& ctx, const WeightSource& weights, std::int64_t in_features,
                     const HeadCounts& heads, bool bias)
    : heads_(HeadsOfRank(heads, ctx.parallel.tensor_parallel_size)),
      weight_(PackQkv(ctx, weights, in_features, heads, heads_, bias)) {}

QkvLinear::Output QkvLinear::operator()(ForwardContext& fwd, const Tensor& x) const {
  const Tensor all = fwd.Take({x.rows(), weight_.out_features});
  fwd.backend.MatMul(x, weight_, all);
  const std::int64_t dim = heads_.head_dim;
  const std::int64_t q_width = heads_.num_heads * dim;
  const std::int64_t kv_width = heads_.num_kv_heads * dim;
  return {all.Columns(0, q_width).SplitColumns(heads_.num_heads, dim),
          all.Columns(q_width, kv_width).SplitColumns(heads_.num_kv_heads, dim),
          all.Columns(q_width + kv_width, kv_width).SplitColumns(heads_.num_kv_heads, dim)};
}

}  // namespace quire
