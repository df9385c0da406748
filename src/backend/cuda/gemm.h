// CudaGemm: products with weights, each by the fastest kernel that is known for its shape.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "backend/cuda/device.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace quire::cuda {

// A bias lies in memory twice: of the weight's dtype, as epilogues take it, and as float32 behind.
inline std::size_t FloatBiasOffset(const LinearWeight& weight) {
  constexpr std::size_t kAlignment = 256;
  const std::size_t bytes = static_cast<std::size_t>(weight.out_features) * SizeOf(weight.dtype);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Owns the library's handle, its workspace and the table of kernels. A shape that is new is timed
// when it is first used, outside of graph captures.
class CudaGemm {
 public:
  static Result<std::unique_ptr<CudaGemm>> Make(const DeviceFacts& device);
  ~CudaGemm();
  CudaGemm(const CudaGemm&) = delete;
  CudaGemm& operator=(const CudaGemm&) = delete;

  // out [m, n] = x [m, k] Wᵀ + b. x has the weight's dtype, out too or is float32. The weight's
  // packed layout is [n, k] dense; its bias lies as FloatBiasOffset says.
  void Multiply(const Tensor& x, const LinearWeight& weight, const Tensor& out,
                cudaStream_t stream);

 private:
  struct State;
  explicit CudaGemm(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace quire::cuda
