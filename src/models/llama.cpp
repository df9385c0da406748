#include "models/llama.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "layers/attention.h"
#include "layers/mlp.h"
#include "layers/norm.h"
#include "layers/scratch.h"
#include "layers/vocabulary.h"

namespace quire {
namespace {

// Owns the projections of one layer's attention.
class LlamaAttention {
 public:
  LlamaAttention(BuildContext& ctx, const WeightSource& w, const LlamaConfig& c, int layer)
      : qkv_(ctx, w, c.shape.hidden_size, c.heads, c.qkv_bias),
        attend_(ctx, layer, qkv_.heads(), c.sliding_windows[static_cast<std::size_t>(layer)],
                1.0 / std::sqrt(static_cast<double>(c.heads.head_dim))),
        o_(ctx, w / "o_proj", c.heads.num_heads * c.heads.head_dim, c.shape.hidden_size,
           c.output_bias) {
    if (!c.qk_norm) return;
    q_norm_.emplace(ctx, w / "q_norm", c.heads.head_dim, c.rms_norm_eps);
    k_norm_.emplace(ctx, w / "k_norm", c.heads.head_dim, c.rms_norm_eps);
  }

  // x [tokens, hidden] becomes the result.
  void operator()(ForwardContext& fwd, const Rope& rope, const Tensor& x) const {
    const ArenaScope scratch(fwd.arena);
    const auto [q, k, v] = qkv_(fwd, x);
    QkTransform how;
    if (q_norm_) {
      how.q_norm = q_norm_->weight();
      how.k_norm = k_norm_->weight();
      how.norm_eps = q_norm_->eps();
    }
    how.cos_sin = rope.cos_sin();
    o_(fwd, attend_(fwd, q, k, v, how), x);
  }

  const KvLayerSpec& kv_spec() const { return attend_.kv_spec(); }
  std::size_t ScratchBytes(DType dtype, std::int64_t num_tokens) const {
    return 2 * TakenBytes(dtype, num_tokens * qkv_.out_features());
  }

 private:
  QkvLinear qkv_;
  std::optional<RmsNorm> q_norm_, k_norm_;
  PagedAttention attend_;
  RowParallelLinear o_;
};

// Owns one decoder layer.
class LlamaLayer {
 public:
  LlamaLayer(BuildContext& ctx, const WeightSource& w, const LlamaConfig& c, int layer)
      : input_norm_(ctx, w / "input_layernorm", c.shape.hidden_size, c.rms_norm_eps),
        attention_(ctx, w / "self_attn", c, layer),
        post_norm_(ctx, w / "post_attention_layernorm", c.shape.hidden_size, c.rms_norm_eps),
        mlp_(ctx, w / "mlp", c.shape.hidden_size, c.intermediate_size, c.mlp_bias) {}

  void operator()(ForwardContext& fwd, const Rope& rope, Hidden& hidden) const {
    input_norm_(fwd, hidden);
    attention_(fwd, rope, hidden.x);
    post_norm_(fwd, hidden);
    mlp_(fwd, hidden.x);
  }

  const KvLayerSpec& kv_spec() const { return attention_.kv_spec(); }
  std::size_t ScratchBytes(DType dtype, std::int64_t num_tokens) const {
    return std::max(attention_.ScratchBytes(dtype, num_tokens),
                    mlp_.ScratchBytes(dtype, num_tokens));
  }

 private:
  RmsNorm input_norm_;
  LlamaAttention attention_;
  RmsNorm post_norm_;
  GatedMlp mlp_;
};

// Owns this stage's layers and, at the ends of the pipeline, the embedding and the head.
class Llama final : public CausalLm {
 public:
  Llama(BuildContext& ctx, const WeightSource& w, const LlamaConfig& c)
      : shape_(c.shape), dtype_(ctx.backend.ActivationDType(ctx.dtype)), rope_(ctx, c.rope) {
    const WeightSource model = w / "model";
    if (ctx.layers.has_embedding)
      embedding_.emplace(ctx, model / "embed_tokens", shape_.vocab_size, shape_.hidden_size);
    for (int i = ctx.layers.first; i < ctx.layers.last; ++i)
      layers_.emplace_back(ctx, model / "layers" / i, c, i);
    if (!ctx.layers.has_head) return;
    norm_.emplace(ctx, model / "norm", shape_.hidden_size, c.rms_norm_eps);
    head_.emplace(ctx, c.tie_word_embeddings ? model / "embed_tokens" : w / "lm_head",
                  shape_.vocab_size, shape_.hidden_size);
  }

  std::vector<KvLayerSpec> KvLayers() const override {
    std::vector<KvLayerSpec> specs;
    for (const LlamaLayer& layer : layers_) specs.push_back(layer.kv_spec());
    return specs;
  }

  Tensor EmbedTokens(ForwardContext& fwd, const Tensor& ids) const override {
    return (*embedding_)(fwd, ids);
  }

  Hidden Forward(ForwardContext& fwd, Hidden hidden) const override {
    for (const LlamaLayer& layer : layers_) layer(fwd, rope_, hidden);
    if (norm_) (*norm_)(fwd, hidden);
    return hidden;
  }

  Tensor Logits(ForwardContext& fwd, const Tensor& x) const override { return (*head_)(fwd, x); }

  std::size_t ArenaBytes(std::int64_t num_tokens, std::int64_t num_logit_rows) const override {
    std::size_t scratch = 0;
    for (const LlamaLayer& layer : layers_)
      scratch = std::max(scratch, layer.ScratchBytes(dtype_, num_tokens));
    return scratch + 2 * TakenBytes(dtype_, num_tokens * shape_.hidden_size) +
           TakenBytes(dtype_, num_logit_rows * shape_.hidden_size) +
           LmHead::ScratchBytes(num_logit_rows, shape_.vocab_size);
  }

 private:
  ModelShape shape_;
  DType dtype_;  // of activations
  Rope rope_;
  std::optional<VocabEmbedding> embedding_;
  std::vector<LlamaLayer> layers_;
  std::optional<RmsNorm> norm_;
  std::optional<LmHead> head_;
};

}  // namespace

std::unique_ptr<CausalLm> MakeLlama(const LlamaConfig& config, const WeightSource& weights,
                                    BuildContext& ctx) {
  return std::make_unique<Llama>(ctx, weights, config);
}

}  // namespace quire
