#include "layers/mlp.h"

#include "layers/scratch.h"

namespace quire {

GatedMlp::GatedMlp(BuildContext& ctx, const WeightSource& weights, std::int64_t hidden_size,
                   std::int64_t intermediate_size, bool bias)
    : gate_up_(ctx, weights, {{"gate_proj", intermediate_size}, {"up_proj", intermediate_size}},
               hidden_size, bias),
      down_(ctx, weights / "down_proj", intermediate_size, hidden_size, bias) {}

void GatedMlp::operator()(ForwardContext& fwd, const Tensor& x) const {
  const BackendRange range(fwd.backend, "mlp");
  const ArenaScope scratch(fwd.arena);
  const Tensor gate_up = fwd.Take({x.rows(), gate_up_.out_features()});
  const Tensor product = fwd.Take({x.rows(), gate_up_.out_features() / 2});
  fwd.backend.MatMulSiluAndMul(x, gate_up_.weight(), gate_up, product);
  down_(fwd, product, x);
}

std::size_t GatedMlp::ScratchBytes(DType dtype, std::int64_t num_tokens) const {
  const std::int64_t width = gate_up_.out_features();
  return TakenBytes(dtype, num_tokens * width) + TakenBytes(dtype, num_tokens * (width / 2));
}

}  // namespace quire
