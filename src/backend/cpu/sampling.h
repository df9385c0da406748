// Sampling on the CPU: one row of logits at a time, rows in parallel.
#pragma once

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/thread_pool.h"

namespace quire::cpu {

// Owns the scratch of sampling; borrows the kernels and the threads.
class RowSampler {
 public:
  RowSampler(const CpuKernels& kernels, ThreadPool& pool) : kernels_(kernels), pool_(pool) {}

  void Sample(const Tensor& logits, const SamplingBatch& batch, const SamplerState& state,
              const SampledRows& out);
  void Score(const Tensor& logits, std::int32_t num_top, const SampledRows& out);
  static void ResetSlot(const SamplerState& state, SlotId slot, std::span<const TokenId> prompt,
                        std::span<const TokenId> output);

 private:
  struct Row;  // one row's logits and a thread's scratch for it

  Row RowOf(const Tensor& logits, std::int64_t row, int thread) const;
  void ReserveScratch(std::int64_t vocab);
  void SampleRow(const SamplingBatch& batch, const SamplerState& state, std::int64_t index,
                 const Row& row, const SampledRows& out) const;
  TokenId Draw(const SamplingRow& how, const Row& row, float max) const;
  void FillLogprobs(const Row& row, const float* raw, float max, std::int64_t index, TokenId token,
                    std::int32_t num_top, const SampledRows& out) const;

  const CpuKernels& kernels_;
  ThreadPool& pool_;
  Scratch scratch_;
};

}  // namespace quire::cpu
