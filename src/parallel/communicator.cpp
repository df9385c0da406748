#include "parallel/communicator.h"

#include <cstring>

namespace quire {

void SoloCommunicator::AllReduceSum(const Tensor&) {}

void SoloCommunicator::AllGatherRows(const Tensor& x, const Tensor& out) {
  QUIRE_CHECK(x.dense() && out.dense() && x.num_bytes() == out.num_bytes());
  if (x.raw() != out.raw()) std::memcpy(out.raw(), x.raw(), x.num_bytes());
}

}  // namespace quire
