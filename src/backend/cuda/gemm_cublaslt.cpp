#include "backend/cuda/gemm_cublaslt.h"

#include <fmt/format.h>

#include <utility>

#include "backend/cuda/kernels/elementwise.h"
#include "base/log.h"

namespace quire::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
constexpr int kNumAlgorithms = 8;
constexpr std::uint32_t kMostAlignment = 16;  // more helps no kernel

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

// Bytes that all rows of a matrix begin at multiples of.
std::uint32_t AlignmentOf(const void* data, std::int64_t stride, std::size_t element) {
  const std::uint64_t bits = reinterpret_cast<std::uintptr_t>(data) |
                             (static_cast<std::uint64_t>(stride) * element) | kMostAlignment;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

std::uint32_t AlignmentOf(const GemmCall& call) {
  const std::size_t element = SizeOf(call.key.dtype);
  const std::uint32_t all = AlignmentOf(call.x, call.x_stride, element) |
                            AlignmentOf(call.weight, call.key.k, element) |
                            AlignmentOf(call.out, call.out_stride, SizeOf(call.key.out_dtype));
  return all & (~all + 1);
}

}  // namespace

// Owns the descriptors of the products with weights of one shape. Numbers of rows and strides are
// set when they change.
struct LtGemm::Product {
  Product(const CublasLt& library, const GemmKey& key) : lt(library), shape(key) {
    // Column-major, which is what the library speaks: outᵀ [n, m] = W [n, k] · xᵀ [k, m].
    lt.desc_create(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    const cublasOperation_t transpose = CUBLAS_OP_T;
    lt.desc_set(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose));
    if (fused_bias()) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      lt.desc_set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof(epilogue));
    }
    const auto k = static_cast<std::uint64_t>(key.k);
    const auto n = static_cast<std::uint64_t>(key.n);
    lt.layout_create(&weight, CudaType(key.dtype), k, n, key.k);
    lt.layout_create(&x, CudaType(key.dtype), k, 1, key.k);
    lt.layout_create(&out, CudaType(key.out_dtype), n, 1, key.n);
  }
  ~Product() {
    lt.layout_destroy(weight);
    lt.layout_destroy(x);
    lt.layout_destroy(out);
    lt.desc_destroy(desc);
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  bool fused_bias() const { return shape.bias && shape.dtype == shape.out_dtype; }
  void Set(const GemmCall& call) {
    if (call.m != rows) {
      rows = call.m;
      const auto m = static_cast<std::uint64_t>(rows);
      lt.layout_set(x, CUBLASLT_MATRIX_LAYOUT_COLS, &m, sizeof(m));
      lt.layout_set(out, CUBLASLT_MATRIX_LAYOUT_COLS, &m, sizeof(m));
    }
    SetStride(x, x_stride, call.x_stride);
    SetStride(out, out_stride, call.out_stride);
    if (fused_bias() && call.bias != bias) {
      bias = call.bias;
      lt.desc_set(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(bias));
    }
  }
  void SetStride(cublasLtMatrixLayout_t layout, std::int64_t& known, std::int64_t stride) const {
    if (known == stride) return;
    known = stride;
    lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_LD, &known, sizeof(known));
  }

  const CublasLt& lt;
  GemmKey shape;
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t weight = nullptr, x = nullptr, out = nullptr;
  std::int64_t rows = 0, x_stride = 0, out_stride = 0;
  const void* bias = nullptr;
};

namespace {

LtAlgorithm Describe(const CublasLt& lt, int index, const cublasLtMatmulAlgo_t& algo) {
  const auto get = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, auto value) {
    std::size_t written = 0;
    lt.config_get(&algo, attribute, &value, sizeof(value), &written);
    return value;
  };
  const int id = get(CUBLASLT_ALGO_CONFIG_ID, std::int32_t{0});
  const auto tile = get(CUBLASLT_ALGO_CONFIG_TILE_ID, std::uint32_t{0});
  const auto stages = get(CUBLASLT_ALGO_CONFIG_STAGES_ID, std::uint32_t{0});
  const int split = get(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, std::int32_t{0});
  const auto reduction = get(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, std::uint32_t{0});
  const auto swizzle = get(CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, std::uint32_t{0});
  const auto custom = get(CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, std::uint32_t{0});
  const auto inner = get(CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, std::uint16_t{0});
  const auto cluster = get(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, std::uint16_t{0});
  LtAlgorithm described;
  described.order =
      fmt::format("lt-{}.{}.{}.{}.{}.{}.{}", id, tile, stages, split, reduction, custom, inner);
  described.name = fmt::format("cublaslt/{}:{}.{}.{}.{}.{}.{}.{}.{}.{}", index, id, tile, stages,
                               split, reduction, custom, inner, swizzle, cluster);
  described.split = split > 1 || reduction != 0;
  described.rounds_partial_sums = reduction == CUBLASLT_REDUCTION_SCHEME_INPLACE ||
                                  reduction == CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
  described.algo = algo;
  return described;
}

}  // namespace

Result<std::unique_ptr<LtGemm>> LtGemm::Make() {
  std::unique_ptr<LtGemm> gemm(new LtGemm);
  auto lt = CublasLt::Open();
  if (!lt) return lt.error();
  gemm->lt_ = std::move(lt).value();
  gemm->version_ = gemm->lt_->version();
  const cublasStatus_t status = gemm->lt_->create(&gemm->handle_);
  if (status != CUBLAS_STATUS_SUCCESS) {
    return Error{ErrorKind::kDevice,
                 fmt::format("cuBLASLt does not start: {}", gemm->lt_->status_string(status)), "",
                 ""};
  }
  if (cudaMalloc(&gemm->workspace_, kWorkspaceBytes) != cudaSuccess)
    return Error{ErrorKind::kDevice, "no GPU memory for cuBLASLt's workspace", "", ""};
  return gemm;
}

LtGemm::~LtGemm() {
  products_.clear();
  if (handle_ != nullptr) lt_->destroy(handle_);
  if (workspace_ != nullptr) cudaFree(workspace_);
}

LtGemm::Product& LtGemm::ProductOf(const GemmCall& call) {
  auto& product = products_[call.key];
  if (product == nullptr) product = std::make_unique<Product>(*lt_, call.key);
  product->Set(call);
  return *product;
}

const std::vector<LtAlgorithm>& LtGemm::Algorithms(const GemmCall& call) {
  const std::uint32_t alignment = AlignmentOf(call);
  const auto [found, fresh] = algorithms_.try_emplace({call.key, call.m, alignment});
  std::vector<LtAlgorithm>& algorithms = found->second;
  if (!fresh) return algorithms;
  const Product& product = ProductOf(call);
  cublasLtMatmulPreference_t preference = nullptr;
  lt_->preference_create(&preference);
  lt_->preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspaceBytes,
                      sizeof(kWorkspaceBytes));
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    lt_->preference_set(preference, attribute, &alignment, sizeof(alignment));
  cublasLtMatmulHeuristicResult_t results[kNumAlgorithms];
  int count = 0;
  const cublasStatus_t status =
      lt_->heuristic(handle_, product.desc, product.weight, product.x, product.out, product.out,
                     preference, kNumAlgorithms, results, &count);
  lt_->preference_destroy(preference);
  if (status != CUBLAS_STATUS_SUCCESS) count = 0;
  for (int i = 0; i < count; ++i)
    if (results[i].state == CUBLAS_STATUS_SUCCESS)
      algorithms.push_back(Describe(*lt_, i, results[i].algo));
  // Those that round partial sums to the output's type are taken where there is nothing else.
  const auto rounds = [](const LtAlgorithm& algorithm) { return algorithm.rounds_partial_sums; };
  if (!std::all_of(algorithms.begin(), algorithms.end(), rounds)) std::erase_if(algorithms, rounds);
  return algorithms;
}

bool LtGemm::Run(const GemmCall& call, const LtAlgorithm& algorithm, cudaStream_t stream) {
  const Product& product = ProductOf(call);
  const float one = 1.0F;
  const float zero = 0.0F;
  const cublasStatus_t status = lt_->matmul(
      handle_, product.desc, &one, call.weight, product.weight, call.x, product.x, &zero, call.out,
      product.out, call.out, product.out, &algorithm.algo, workspace_, kWorkspaceBytes, stream);
  if (status != CUBLAS_STATUS_SUCCESS) {
    LogDebug("cuBLASLt: a product of {} × {} × {} by {} failed: {}", call.m, call.key.n, call.key.k,
             algorithm.name, lt_->status_string(status));
    return false;
  }
  if (call.key.bias && !product.fused_bias()) {
    AddBias(call.key.out_dtype, call.out, call.out_stride, call.float_bias, call.m, call.key.n,
            stream);
  }
  return true;
}

}  // namespace quire::cuda
