#include "backend/cuda/gemm.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "backend/cuda/cublaslt.h"
#include "backend/cuda/kernels/elementwise.h"
#include "backend/cuda/kernels/gemm_float32.h"
#include "base/log.h"

namespace quire::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
constexpr int kNumCandidates = 8;
constexpr int kTimedRuns = 5;

cudaDataType_t CudaType(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

// Rows that share a choice: fine where decode steps are, coarse where prefill is.
std::int64_t RowBucket(std::int64_t m) {
  if (m <= 8) return m;
  if (m <= 512) return (m + 7) / 8 * 8;
  std::int64_t bucket = 1024;
  while (bucket < m) bucket *= 2;
  return bucket;
}

struct ProductShape {
  std::int64_t m = 0, n = 0, k = 0, x_stride = 0, out_stride = 0;
  DType dtype = DType::kBF16, out_dtype = DType::kBF16;
  bool bias = false;
};

}  // namespace

// Owns descriptors of one product.
class Product {
 public:
  Product(const CublasLt& lt, const ProductShape& shape) : lt_(lt) {
    // Column-major, which is what the library speaks: outᵀ [n, m] = W [n, k] · xᵀ [k, m].
    lt_.desc_create(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    const cublasOperation_t transpose = CUBLAS_OP_T;
    lt_.desc_set(desc_, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose));
    const auto k = static_cast<std::uint64_t>(shape.k);
    const auto n = static_cast<std::uint64_t>(shape.n);
    const auto m = static_cast<std::uint64_t>(shape.m);
    lt_.layout_create(&weight_, CudaType(shape.dtype), k, n, shape.k);
    lt_.layout_create(&x_, CudaType(shape.dtype), k, m, shape.x_stride);
    lt_.layout_create(&out_, CudaType(shape.out_dtype), n, m, shape.out_stride);
  }
  ~Product() {
    lt_.layout_destroy(weight_);
    lt_.layout_destroy(x_);
    lt_.layout_destroy(out_);
    lt_.desc_destroy(desc_);
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  void SetBias(const void* bias) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    lt_.desc_set(desc_, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof(epilogue));
    lt_.desc_set(desc_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(bias));
  }
  std::vector<cublasLtMatmulAlgo_t> Candidates(cublasLtHandle_t handle) const {
    cublasLtMatmulPreference_t preference = nullptr;
    lt_.preference_create(&preference);
    lt_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspaceBytes,
                       sizeof(kWorkspaceBytes));
    cublasLtMatmulHeuristicResult_t results[kNumCandidates];
    int found = 0;
    lt_.heuristic(handle, desc_, weight_, x_, out_, out_, preference, kNumCandidates, results,
                  &found);
    lt_.preference_destroy(preference);
    std::vector<cublasLtMatmulAlgo_t> algos;
    for (int i = 0; i < found; ++i)
      if (results[i].state == CUBLAS_STATUS_SUCCESS) algos.push_back(results[i].algo);
    return algos;
  }
  cublasStatus_t Run(cublasLtHandle_t handle, const void* x, const void* weight, void* out,
                     const cublasLtMatmulAlgo_t& algo, void* workspace, cudaStream_t stream) const {
    const float one = 1.0F;
    const float zero = 0.0F;
    return lt_.matmul(handle, desc_, &one, weight, weight_, x, x_, &zero, out, out_, out, out_,
                      &algo, workspace, kWorkspaceBytes, stream);
  }

 private:
  const CublasLt& lt_;
  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtMatrixLayout_t weight_ = nullptr, x_ = nullptr, out_ = nullptr;
};

struct CudaGemm::State {
  std::unique_ptr<CublasLt> lt;
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, DType, DType, bool>;
  std::map<Key, cublasLtMatmulAlgo_t> chosen;

  ~State() {
    if (handle != nullptr) lt->destroy(handle);
    if (workspace != nullptr) cudaFree(workspace);
    if (begin != nullptr) cudaEventDestroy(begin);
    if (end != nullptr) cudaEventDestroy(end);
  }

  float Time(const Product& product, const void* x, const void* weight, void* out,
             const cublasLtMatmulAlgo_t& algo, cudaStream_t stream) {
    if (product.Run(handle, x, weight, out, algo, workspace, stream) != CUBLAS_STATUS_SUCCESS)
      return 1e30F;
    Check(cudaEventRecord(begin, stream), "cudaEventRecord");
    for (int i = 0; i < kTimedRuns; ++i)
      product.Run(handle, x, weight, out, algo, workspace, stream);
    Check(cudaEventRecord(end, stream), "cudaEventRecord");
    Check(cudaEventSynchronize(end), "a product");
    float ms = 0;
    Check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
    return ms;
  }

  const cublasLtMatmulAlgo_t& Choose(const Product& product, const ProductShape& shape,
                                     const void* x, const void* weight, void* out,
                                     cudaStream_t stream) {
    const Key key{RowBucket(shape.m), shape.n, shape.k, shape.dtype, shape.out_dtype, shape.bias};
    const auto known = chosen.find(key);
    if (known != chosen.end()) return known->second;
    float best = 1e30F;
    cublasLtMatmulAlgo_t winner{};
    for (const cublasLtMatmulAlgo_t& algo : product.Candidates(handle)) {
      const float ms = Time(product, x, weight, out, algo, stream);
      if (ms < best) {
        best = ms;
        winner = algo;
      }
    }
    return chosen.emplace(key, winner).first->second;
  }
};

CudaGemm::CudaGemm(std::unique_ptr<State> state) : state_(std::move(state)) {}
CudaGemm::~CudaGemm() = default;

Result<std::unique_ptr<CudaGemm>> CudaGemm::Make(const DeviceFacts&) {
  auto state = std::make_unique<State>();
  auto lt = CublasLt::Open();
  if (!lt) return lt.error();
  state->lt = std::move(lt).value();
  const cublasStatus_t status = state->lt->create(&state->handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    return Error{ErrorKind::kDevice,
                 std::string("cuBLASLt does not start: ") + state->lt->status_string(status), "",
                 ""};
  }
  if (cudaMalloc(&state->workspace, kWorkspaceBytes) != cudaSuccess)
    return Error{ErrorKind::kDevice, "no GPU memory for cuBLASLt's workspace", "", ""};
  Check(cudaEventCreate(&state->begin), "cudaEventCreate");
  Check(cudaEventCreate(&state->end), "cudaEventCreate");
  return std::unique_ptr<CudaGemm>(new CudaGemm(std::move(state)));
}

void CudaGemm::Multiply(const Tensor& x, const LinearWeight& weight, const Tensor& out,
                        cudaStream_t stream) {
  const ProductShape shape{
      x.rows(),         weight.out_features, weight.in_features, x.row_stride(),
      out.row_stride(), weight.dtype,        out.dtype(),        weight.bias.data() != nullptr};
  if (shape.m == 0) return;
  if (weight.dtype == DType::kF32) {
    GemmFloat32(x.data<float>(), shape.x_stride, static_cast<const float*>(weight.packed.data()),
                static_cast<const float*>(weight.bias.data()), shape.m, shape.n, shape.k,
                out.data<float>(), shape.out_stride, stream);
    return;
  }
  Product product(*state_->lt, shape);
  const bool fused = shape.bias && shape.out_dtype == shape.dtype;
  if (fused) product.SetBias(weight.bias.data());
  const cublasLtMatmulAlgo_t& algo =
      state_->Choose(product, shape, x.raw(), weight.packed.data(), out.raw(), stream);
  const cublasStatus_t status = product.Run(state_->handle, x.raw(), weight.packed.data(),
                                            out.raw(), algo, state_->workspace, stream);
  if (status != CUBLAS_STATUS_SUCCESS) {
    LogError("cuBLASLt: a product of {} × {} × {} failed: {}", shape.m, shape.n, shape.k,
             state_->lt->status_string(status));
    Check(cudaErrorUnknown, "cublasLtMatmul");
  }
  if (shape.bias && !fused) {
    const auto* bias = reinterpret_cast<const float*>(
        static_cast<const std::byte*>(weight.bias.data()) + FloatBiasOffset(weight));
    AddBias(shape.out_dtype, out.raw(), shape.out_stride, bias, shape.m, shape.n, stream);
  }
}

}  // namespace quire::cuda
