// Times the products of the models that a table of kernels is shipped for, and writes it:
// cuda_gemm_table share/quire/gemm/NVIDIA-H200.json
// To run on the GPU that the file is named after, with nothing else on it.
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <chrono>
#include <cstdint>
#include <vector>

#include "backend/cuda/gemm.h"
#include "backend/cuda/kernels/gemm_tuning.h"

namespace quire::cuda {
namespace {

struct Model {
  const char* name;
  std::int64_t hidden, qkv, heads, intermediate, vocab;  // heads: columns of o
  bool qkv_bias;
  DType dtype;
};

constexpr Model kModels[] = {
    {"Qwen2.5-7B", 3584, 4608, 3584, 18944, 152064, true, DType::kBF16},
    {"Qwen2.5-7B", 3584, 4608, 3584, 18944, 152064, true, DType::kF16},
    {"Llama-3.1-8B", 4096, 6144, 4096, 14336, 128256, false, DType::kBF16},
    {"Llama-3.1-8B", 4096, 6144, 4096, 14336, 128256, false, DType::kF16},
    {"Qwen3-8B", 4096, 6144, 4096, 12288, 151936, false, DType::kBF16},
    {"Mistral-7B", 4096, 6144, 4096, 14336, 32768, false, DType::kBF16},
    {"Qwen2.5-1.5B", 1536, 2048, 1536, 8960, 151936, true, DType::kBF16},
    {"Llama-3.2-3B", 3072, 5120, 3072, 8192, 128256, false, DType::kBF16},
    {"Qwen2.5-14B", 5120, 7168, 5120, 13824, 152064, true, DType::kBF16},
};
constexpr std::int64_t kMostTokens = 8192;
constexpr std::int64_t kMostLogits = 512;

Buffer Allocate(std::size_t bytes) {
  void* data = nullptr;
  Check(cudaMalloc(&data, bytes), "cudaMalloc");
  return Buffer(data, bytes, {DeviceKind::kCuda, 0},
                [](void* memory, std::size_t) { cudaFree(memory); });
}

LinearWeight MakeWeight(std::int64_t n, std::int64_t k, DType dtype, bool bias) {
  LinearWeight weight;
  weight.dtype = dtype;
  weight.out_features = n;
  weight.in_features = k;
  weight.packed = Allocate(static_cast<std::size_t>(n * k) * SizeOf(dtype));
  FillNoise(dtype, weight.packed.data(), n * k, nullptr);
  if (bias) {
    weight.bias = Allocate(FloatBiasOffset(weight) + static_cast<std::size_t>(n) * sizeof(float));
    Check(cudaMemset(weight.bias.data(), 0, weight.bias.bytes()), "cudaMemset");
  }
  return weight;
}

int Run(const char* path) {
  const auto device = OpenDevice(0);
  if (!device) {
    fmt::print(stderr, "{}\n", device.error().message);
    return 1;
  }
  auto gemm = CudaGemm::Make(*device);
  if (!gemm) {
    fmt::print(stderr, "{}\n", gemm.error().message);
    return 1;
  }
  cudaStream_t stream = nullptr;
  Check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  for (const Model& model : kModels) {
    std::vector<LinearWeight> weights;
    weights.push_back(MakeWeight(model.qkv, model.hidden, model.dtype, model.qkv_bias));
    weights.push_back(MakeWeight(model.hidden, model.heads, model.dtype, false));
    weights.push_back(MakeWeight(2 * model.intermediate, model.hidden, model.dtype, false));
    weights.push_back(MakeWeight(model.hidden, model.intermediate, model.dtype, false));
    weights.push_back(MakeWeight(model.vocab, model.hidden, model.dtype, false));
    Check(cudaDeviceSynchronize(), "the weights");
    std::vector<GemmTuneItem> items;
    for (const LinearWeight& weight : weights) items.push_back({&weight, model.dtype, kMostTokens});
    items.back().out_dtype = DType::kF32;
    items.back().max_rows = kMostLogits;
    const int left = (*gemm)->Tune(items, std::chrono::minutes(5), stream);
    fmt::print("{} {}: {} products left\n", model.name, Name(model.dtype), left);
  }
  cudaStreamDestroy(stream);
  const Status saved = (*gemm)->Save(path);
  if (!saved) fmt::print(stderr, "{}\n", saved.error().message);
  return saved ? 0 : 1;
}

}  // namespace
}  // namespace quire::cuda

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: cuda_gemm_table FILE\n");
    return 2;
  }
  return quire::cuda::Run(argv[1]);
}
