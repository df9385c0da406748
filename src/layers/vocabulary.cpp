#include "layers/vocabulary.h"

#include <vector>

#include "layers/pack.h"
#include "layers/scratch.h"

namespace quire {
namespace {

LinearWeight PackHead(BuildContext& ctx, const WeightSource& weights, std::int64_t vocab_size,
                      std::int64_t hidden_size, bool bias) {
  const std::int64_t share = ShareOf(vocab_size, ctx.parallel.tensor_parallel_size, "vocab_size");
  const std::int64_t first = share * ctx.parallel.tensor_rank;
  WeightSlice slice;
  slice.weight = weights.Get("weight", {vocab_size, hidden_size}).Rows(first, share);
  if (bias) slice.bias = weights.Get("bias", {vocab_size}).Rows(first, share);
  return PackSlices(ctx, {slice});
}

}  // namespace

VocabEmbedding::VocabEmbedding(BuildContext& ctx, const WeightSource& weights,
                               std::int64_t vocab_size, std::int64_t hidden_size)
    : store_(weights.store()) {
  const std::int64_t share = ShareOf(vocab_size, ctx.parallel.tensor_parallel_size, "vocab_size");
  first_row_ = share * ctx.parallel.tensor_rank;
  const Tensor rows = weights.Get("weight", {vocab_size, hidden_size}).Rows(first_row_, share);
  table_ = ctx.backend.PlaceTable(rows, owner_);
  if (ctx.loaded) ctx.loaded(rows.num_bytes());
}

Tensor VocabEmbedding::operator()(ForwardContext& fwd, const Tensor& ids) const {
  const Tensor x = fwd.Take({ids.rows(), table_.dim(1)});
  fwd.backend.Embed(table_, ids, first_row_, x);
  fwd.tp.AllReduceSum(x);
  return x;
}

LmHead::LmHead(BuildContext& ctx, const WeightSource& weights, std::int64_t vocab_size,
               std::int64_t hidden_size, bool bias)
    : weight_(PackHead(ctx, weights, vocab_size, hidden_size, bias)) {}

Tensor LmHead::operator()(ForwardContext& fwd, const Tensor& x) const {
  const BackendRange range(fwd.backend, "logits", x.rows());
  const std::int64_t rows = x.rows();
  const std::int64_t share = weight_.out_features;
  const std::int64_t ranks = fwd.tp.size();
  const Tensor logits = fwd.arena.Take(DType::kF32, {rows, ranks * share});
  if (ranks == 1) {
    fwd.backend.MatMul(x, weight_, logits);
    return logits;
  }
  const Tensor mine = fwd.arena.Take(DType::kF32, {rows, share});
  const Tensor gathered = fwd.arena.Take(DType::kF32, {ranks * rows, share});
  fwd.backend.MatMul(x, weight_, mine);
  fwd.tp.AllGatherRows(mine, gathered);
  // From rank by rank to row by row: part (row, rank) comes from gathered row (rank, row).
  std::vector<std::int32_t> order;
  order.reserve(static_cast<std::size_t>(ranks * rows));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t rank = 0; rank < ranks; ++rank)
      order.push_back(static_cast<std::int32_t>(rank * rows + row));
  }
  const Tensor index = fwd.arena.Take(DType::kI32, {ranks * rows});
  fwd.backend.CopyToDevice(order.data(), index);
  fwd.backend.GatherRows(gathered, index, logits.Reshape({rows * ranks, share}));
  return logits;
}

std::size_t LmHead::ScratchBytes(std::int64_t num_rows, std::int64_t vocab_size) {
  // The logits, gathered and in order, this rank's share, and the order: at most one number for
  // each.
  return 4 * TakenBytes(DType::kF32, num_rows * vocab_size);
}

}  // namespace quire
