// LtGemm: products by cuBLASLt.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "backend/cuda/cublaslt.h"
#include "backend/cuda/gemm_kernels.h"
#include "base/result.h"

namespace quire::cuda {

// One that the library's heuristic proposes.
struct LtAlgorithm {
  // "cublaslt/INDEX:CONFIGURATION": its place in the heuristic's list, and what it is, so that a
  // choice that another version of the library does not offer is known as one.
  std::string name;
  std::string order;   // of summation: the configuration, without what only places tiles
  bool split = false;  // k is cut into parts
  bool rounds_partial_sums = false;  // … whose sums are rounded to the type of the output
  cublasLtMatmulAlgo_t algo{};
};

// Owns the library's handle, its workspace, descriptors and lists of algorithms.
class LtGemm {
 public:
  static Result<std::unique_ptr<LtGemm>> Make();
  ~LtGemm();
  LtGemm(const LtGemm&) = delete;
  LtGemm& operator=(const LtGemm&) = delete;

  unsigned long version() const { return version_; }
  // The best first; asked of the library once. The call's m is that of its bucket: lists of buckets
  // must not depend on which m comes first.
  const std::vector<LtAlgorithm>& Algorithms(const GemmCall& call);
  // False where the library refuses. Never with silu.
  bool Run(const GemmCall& call, const LtAlgorithm& algorithm, cudaStream_t stream);

 private:
  struct Product;
  LtGemm() = default;
  Product& ProductOf(const GemmCall& call);

  std::unique_ptr<CublasLt> lt_;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  unsigned long version_ = 0;
  std::map<GemmKey, std::unique_ptr<Product>> products_;
  std::map<std::tuple<GemmKey, std::int64_t, std::uint32_t>, std::vector<LtAlgorithm>> algorithms_;
};

}  // namespace quire::cuda
