#include "layers/attention.h"

namespace quire {

PagedAttention::PagedAttention(const BuildContext& ctx, int layer, const HeadCounts& heads,
                               int sliding_window, double scale)
    : index_(static_cast<std::size_t>(layer - ctx.layers.first)),
      scale_(static_cast<float>(scale)) {
  spec_.num_kv_heads = static_cast<int>(heads.num_kv_heads);
  spec_.head_dim = static_cast<int>(heads.head_dim);
  spec_.sliding_window = sliding_window;
  spec_.dtype = ctx.kv_dtype;
  spec_.num_heads = static_cast<int>(heads.num_heads);
}

Tensor PagedAttention::operator()(ForwardContext& fwd, const Tensor& q, const Tensor& k,
                                  const Tensor& v, const QkTransform& how) const {
  const BackendRange range(fwd.backend, "attention", static_cast<std::int64_t>(index_));
  const KvLayer& cache = fwd.kv[index_];
  fwd.backend.RotateAndStoreKv(q, k, v, how, fwd.batch, cache);
  const Tensor out = fwd.Take({q.rows(), q.dim(1), q.dim(2)});
  fwd.backend.Attend(q, cache, fwd.batch, scale_, out);
  return out.Reshape({q.rows(), q.dim(1) * q.dim(2)});
}

}  // namespace quire
