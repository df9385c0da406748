// CudaGemm: products with weights, each by the kernel that is fastest for its shape.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

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

struct GemmOptions {
  bool hopper = true;  // kernels for sm_90a where the device is one
  // A row's bits depend on nothing but the row: one order of summation for all numbers of rows.
  bool batch_invariant = false;
  std::string shipped_folder;  // with tables of kernels (share/quire/gemm), or empty
  std::string cache_folder;    // where Tune() keeps its own (GemmCacheFolder()), or empty
};

// A weight whose products are to be timed, for up to so many rows.
struct GemmTuneItem {
  const LinearWeight* weight = nullptr;
  DType out_dtype = DType::kBF16;
  std::int64_t max_rows = 0;
};

// Owns the kernels' workspaces and the table of choices. A product that the table does not know is
// computed by the first kernel that can: nothing is timed but by Tune(). For one thread and, as
// products share workspaces, one stream.
class CudaGemm {
 public:
  static Result<std::unique_ptr<CudaGemm>> Make(const DeviceFacts& device,
                                                const GemmOptions& options = {});
  ~CudaGemm();
  CudaGemm(const CudaGemm&) = delete;
  CudaGemm& operator=(const CudaGemm&) = delete;

  // out [m, n] = x [m, k] Wᵀ + b. x has the weight's dtype, out too or is float32. The weight's
  // packed layout is [n, k] dense; its bias lies as FloatBiasOffset says.
  void Multiply(const Tensor& x, const LinearWeight& weight, const Tensor& out,
                cudaStream_t stream);

  // out [m, n / 2] = silu(x W_gateᵀ) · x W_upᵀ, W being gate over up; the same up to rounding as
  // Multiply() and SiluAndMul(). False, and nothing is done, where the two are to be called.
  bool MultiplySilu(const Tensor& x, const LinearWeight& weight, const Tensor& out,
                    cudaStream_t stream);

  // Times kernels for what the table does not know of these weights, smallest batches first, until
  // `limit` has passed; keeps what was found in the cache folder. Returns how many products are
  // still unknown. Takes memory for as long as it runs. Graphs that were recorded before keep the
  // kernels that they have.
  int Tune(std::span<const GemmTuneItem> items, std::chrono::milliseconds limit,
           cudaStream_t stream);

  // Writes the table to a file (to ship it).
  Status Save(const std::string& path) const;

  // The kernel that a product takes, for logs and tests: "skinny", "tokens", "cublaslt/…".
  std::string KernelOf(const LinearWeight& weight, DType out_dtype, std::int64_t rows);

 private:
  struct State;
  explicit CudaGemm(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace quire::cuda
