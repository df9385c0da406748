// Collectives between threads of one process, over host memory: the CPU's ranks, and tests.
#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

#include "parallel/communicator.h"

namespace quire {

// What the ranks of a group share: a barrier, and where each rank's operand lies. Outlives its
// communicators.
class ThreadGroup {
 public:
  explicit ThreadGroup(int size) : operands_(static_cast<std::size_t>(size)) {}

  int size() const { return static_cast<int>(operands_.size()); }
  // Waits until all ranks are here.
  void Barrier();
  // Tells the others where this rank's operand lies; returns when all have told, until Barrier.
  const std::vector<Tensor>& Exchange(int rank, const Tensor& mine);

 private:
  std::vector<Tensor> operands_;
  std::mutex mutex_;
  std::condition_variable all_here_;
  int waiting_ = 0;
  unsigned round_ = 0;
};

// One rank's end of a ThreadGroup; used by that rank's thread alone.
class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(ThreadGroup& group, int rank) : group_(group), rank_(rank) {}

  int size() const override { return group_.size(); }
  int rank() const override { return rank_; }
  void AllReduceSum(const Tensor& x) override;
  void AllGatherRows(const Tensor& x, const Tensor& out) override;

 private:
  ThreadGroup& group_;
  int rank_;
};

}  // namespace quire
