// The kernels of our own that compute products, as rows of a table.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/cuda/device.h"
#include "backend/cuda/gemm_table.h"
#include "base/result.h"

namespace quire::cuda {

// out [m, n] = x [m, k] Wᵀ + b; with silu W is [2 n, k] and out = silu(x gateᵀ) · x upᵀ.
struct GemmCall {
  GemmKey key;  // of W: with silu key.n is 2 n
  std::int64_t m = 0;
  const void* x = nullptr;
  const void* weight = nullptr;
  const void* bias = nullptr;         // of the weight's dtype, or null
  const float* float_bias = nullptr;  // the same
  void* out = nullptr;
  std::int64_t x_stride = 0, out_stride = 0;
  bool silu = false;
};

// Equal orders of summation give equal bits; a row's never depend on the other rows of a call.
struct GemmKernel {
  std::string name;
  double head_start = 0;  // microseconds that its launch gains in a step: it loads weights ahead
  std::function<bool(const GemmCall&)> feasible;
  std::function<std::string(const GemmCall&)> order;
  std::function<void(const GemmCall&, cudaStream_t)> run;
};

// Owns what the kernels need on the current device. Rows are in the order of preference where
// nothing was measured.
class GemmKernels {
 public:
  // With `hopper` those for sm_90a are among them, where the device is one.
  static Result<std::unique_ptr<GemmKernels>> Make(const DeviceFacts& device, bool hopper);
  ~GemmKernels();
  GemmKernels(const GemmKernels&) = delete;
  GemmKernels& operator=(const GemmKernels&) = delete;

  std::span<const GemmKernel> rows() const { return rows_; }
  const GemmKernel* Find(const std::string& name) const;

 private:
  GemmKernels() = default;
  void AddSkinny(const DeviceFacts& device, bool hopper);
  Status AddTokens();

  std::vector<GemmKernel> rows_;
  void* tokens_workspace_ = nullptr;
};

}  // namespace quire::cuda
