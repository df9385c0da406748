#include "parallel/thread_communicator.h"

#include <cstring>

namespace quire {
namespace {

float Load(const Tensor& x, std::int64_t i) {
  if (x.dtype() == DType::kF32) return x.data<float>()[i];
  const std::uint16_t bits = x.data<std::uint16_t>()[i];
  return x.dtype() == DType::kBF16 ? BF16ToFloat(bits) : F16ToFloat(bits);
}

void Store(const Tensor& x, std::int64_t i, float value) {
  if (x.dtype() == DType::kF32) {
    x.data<float>()[i] = value;
  } else {
    x.data<std::uint16_t>()[i] = x.dtype() == DType::kBF16 ? FloatToBF16(value) : FloatToF16(value);
  }
}

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

}  // namespace

void ThreadGroup::Barrier() {
  std::unique_lock lock(mutex_);
  const unsigned round = round_;
  if (++waiting_ == size()) {
    waiting_ = 0;
    ++round_;
    all_here_.notify_all();
    return;
  }
  all_here_.wait(lock, [&] { return round_ != round; });
}

const std::vector<Tensor>& ThreadGroup::Exchange(int rank, const Tensor& mine) {
  operands_[static_cast<std::size_t>(rank)] = mine;
  Barrier();
  return operands_;
}

void ThreadCommunicator::AllReduceSum(const Tensor& x) {
  QUIRE_CHECK(x.dense() && IsFloat(x.dtype()));
  const std::vector<Tensor>& all = group_.Exchange(rank_, x);
  // Each rank sums its share of the elements, in rank order, and writes them to everyone.
  const std::int64_t count = x.num_elements();
  const std::int64_t begin = count * rank_ / size();
  const std::int64_t end = count * (rank_ + 1) / size();
  for (const Tensor& other : all)
    QUIRE_CHECK(other.num_elements() == count && other.dtype() == x.dtype());
  for (std::int64_t i = begin; i < end; ++i) {
    float sum = 0.0F;
    for (const Tensor& other : all) sum += Load(other, i);
    for (const Tensor& other : all) Store(other, i, sum);
  }
  group_.Barrier();
}

void ThreadCommunicator::AllGatherRows(const Tensor& x, const Tensor& out) {
  QUIRE_CHECK(x.dense() && out.dense() && out.rows() == x.rows() * size());
  const std::vector<Tensor>& all = group_.Exchange(rank_, x);
  for (int rank = 0; rank < size(); ++rank) {
    const Tensor& from = all[static_cast<std::size_t>(rank)];
    const Tensor to = out.Rows(rank * x.rows(), x.rows());
    QUIRE_CHECK(from.num_bytes() == to.num_bytes());
    if (from.num_bytes() != 0) std::memcpy(to.raw(), from.raw(), from.num_bytes());
  }
  group_.Barrier();
}

}  // namespace quire
