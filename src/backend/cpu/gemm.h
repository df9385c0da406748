// Linear layers: packing of weights and their multiplication.
#pragma once

#include "backend/cpu/kernels.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/thread_pool.h"
#include "tensor/tensor.h"

namespace quire::cpu {

// Owns the scratch of GEMMs; borrows the kernels and the threads.
class Gemm {
 public:
  Gemm(const CpuKernels& kernels, ThreadPool& pool) : kernels_(kernels), pool_(pool) {}

  LinearWeight Pack(const Tensor& weight, const Tensor& bias, DType dtype);
  // x float32 [rows, in], out float32 [rows, out].
  void Multiply(const Tensor& x, const LinearWeight& weight, const Tensor& out);

 private:
  const GemmKernel& KernelFor(DType dtype) const;
  void MultiplyRows(const GemmKernel& kernel, const Tensor& x, const LinearWeight& weight,
                    const Tensor& out);

  const CpuKernels& kernels_;
  ThreadPool& pool_;
  Scratch packed_x_;
};

}  // namespace quire::cpu
