// How the ranks of one replica exchange tensors, and each rank's place among them.
#pragma once

#include "base/ids.h"
#include "tensor/tensor.h"

namespace quire {

// Sizes of the replica's axes and this rank's place on them.
struct ParallelConfig {
  int tensor_parallel_size = 1;
  int pipeline_parallel_size = 1;
  int tensor_rank = 0;
  int pipeline_rank = 0;
};

// Collectives over one group of ranks. A group of one does nothing. All ranks of the group must
// make the same calls in the same order; sums are taken in rank order, so their bits do not depend
// on timing.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int size() const = 0;
  virtual int rank() const = 0;
  // In place: x becomes the sum over the group. x: any dense float32, bfloat16 or float16.
  virtual void AllReduceSum(const Tensor& x) = 0;
  // out: [size() * rows, columns] gets every rank's x [rows, columns], in rank order.
  virtual void AllGatherRows(const Tensor& x, const Tensor& out) = 0;
};

// The group of one.
class SoloCommunicator final : public Communicator {
 public:
  int size() const override { return 1; }
  int rank() const override { return 0; }
  void AllReduceSum(const Tensor& x) override;
  void AllGatherRows(const Tensor& x, const Tensor& out) override;
};

}  // namespace quire
