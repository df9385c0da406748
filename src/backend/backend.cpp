#include "backend/backend.h"

namespace quire {

void Backend::AddRmsNorm(const Tensor& x, const Tensor& residual, const Tensor& weight, float eps,
                         const Tensor& out) {
  Add(residual, x);
  RmsNorm(residual, weight, eps, out);
}

}  // namespace quire
