// The two ends of a language model: token ids to vectors, vectors to logits.
#pragma once

#include <memory>

#include "layers/context.h"

namespace quire {

// The embedding table, split by rows over the ranks. Owns it where the device cannot read host
// memory, and keeps the checkpoint mapped otherwise.
class VocabEmbedding {
 public:
  VocabEmbedding(BuildContext& ctx, const WeightSource& weights, std::int64_t vocab_size,
                 std::int64_t hidden_size);

  // ids: int32 [tokens] → [tokens, hidden_size].
  Tensor operator()(ForwardContext& fwd, const Tensor& ids) const;

 private:
  std::shared_ptr<const TensorStore> store_;
  Buffer owner_;
  Tensor table_;
  std::int64_t first_row_;
};

// Logits, the vocabulary split over the ranks and gathered on all of them. Owns the packed weight;
// of a model with tied embeddings it is made of their table.
class LmHead {
 public:
  LmHead(BuildContext& ctx, const WeightSource& weights, std::int64_t vocab_size,
         std::int64_t hidden_size, bool bias = false);

  // x: [rows, hidden_size] → float32 [rows, vocab_size].
  Tensor operator()(ForwardContext& fwd, const Tensor& x) const;
  // Arena bytes for that many rows, whatever the number of ranks.
  static std::size_t ScratchBytes(std::int64_t num_rows, std::int64_t vocab_size);

 private:
  LinearWeight weight_;
};

}  // namespace quire
