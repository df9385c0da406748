#include "backend/cuda/gemm_kernels.h"

#include <algorithm>

#include "backend/cuda/kernels/gemm_skinny.h"
#include "backend/cuda/kernels/gemm_tokens_sm90.h"

namespace quire::cuda {
namespace {

constexpr int kOldSharedLimit = 99 * 1024;  // of GPUs other than Hopper
constexpr std::int64_t kMostTokens = 512;
constexpr double kHeadStart = 2.0;

GemmSkinnyArgs SkinnyArgs(const GemmCall& call) {
  GemmSkinnyArgs args;
  args.x = call.x;
  args.weight = call.weight;
  args.bias = call.bias;
  args.out = call.out;
  args.x_stride = call.x_stride;
  args.out_stride = call.out_stride;
  args.m = call.m;
  args.n = call.silu ? call.key.n / 2 : call.key.n;
  args.k = call.key.k;
  args.dtype = call.key.dtype;
  args.out_dtype = call.key.out_dtype;
  args.silu = call.silu;
  return args;
}

GemmTokensArgs TokensArgs(const GemmCall& call, void* workspace) {
  GemmTokensArgs args;
  args.x = call.x;
  args.weight = call.weight;
  args.bias = call.bias;
  args.out = call.out;
  args.x_stride = call.x_stride;
  args.out_stride = call.out_stride;
  args.m = call.m;
  args.n = call.silu ? call.key.n / 2 : call.key.n;
  args.k = call.key.k;
  args.dtype = call.key.dtype;
  args.out_dtype = call.key.out_dtype;
  args.silu = call.silu;
  args.workspace = workspace;
  return args;
}

}  // namespace

Result<std::unique_ptr<GemmKernels>> GemmKernels::Make(const DeviceFacts& device, bool hopper) {
  std::unique_ptr<GemmKernels> kernels(new GemmKernels);
  const bool use_hopper = hopper && device.hopper();
  kernels->AddSkinny(device, use_hopper);
  if (use_hopper) QUIRE_RETURN_IF_ERROR(kernels->AddTokens());
  return kernels;
}

GemmKernels::~GemmKernels() {
  if (tokens_workspace_ != nullptr) cudaFree(tokens_workspace_);
}

const GemmKernel* GemmKernels::Find(const std::string& name) const {
  const auto found = std::find_if(rows_.begin(), rows_.end(),
                                  [&](const GemmKernel& kernel) { return kernel.name == name; });
  return found == rows_.end() ? nullptr : &*found;
}

void GemmKernels::AddSkinny(const DeviceFacts& device, bool hopper) {
  const auto limit = static_cast<int>(device.properties.sharedMemPerBlockOptin);
  const GemmSkinnyDevice use{device.properties.multiProcessorCount,
                             hopper ? limit : std::min(limit, kOldSharedLimit)};
  PrepareGemmSkinny(use);
  GemmKernel kernel;
  kernel.name = "skinny";
  kernel.head_start = hopper ? kHeadStart : 0;
  kernel.feasible = [](const GemmCall& call) { return GemmSkinnyFeasible(SkinnyArgs(call)); };
  kernel.order = [](const GemmCall&) { return std::string(kGemmSkinnyOrder); };
  kernel.run = [use](const GemmCall& call, cudaStream_t stream) {
    GemmSkinny(SkinnyArgs(call), use, stream);
  };
  rows_.push_back(std::move(kernel));
}

Status GemmKernels::AddTokens() {
  const std::size_t bytes = GemmTokensWorkspaceBytes();
  if (bytes == 0) return {};  // not in this build
  if (cudaMalloc(&tokens_workspace_, bytes) != cudaSuccess ||
      cudaMemset(tokens_workspace_, 0, bytes) != cudaSuccess ||
      cudaDeviceSynchronize() != cudaSuccess) {  // other streams do not wait for the memset
    return Error{ErrorKind::kDevice, "no GPU memory for the products' workspace", "", ""};
  }
  void* const workspace = tokens_workspace_;
  GemmKernel kernel;
  kernel.name = "tokens";
  kernel.head_start = kHeadStart;
  kernel.feasible = [workspace](const GemmCall& call) {
    const GemmTokensArgs args = TokensArgs(call, workspace);
    return call.m <= kMostTokens && GemmTokensFeasible(GemmTokensChoice(args), args);
  };
  kernel.order = [workspace](const GemmCall& call) {
    const GemmTokensArgs args = TokensArgs(call, workspace);
    return "wgmma-" + std::to_string(GemmTokensOrder(GemmTokensChoice(args), args));
  };
  kernel.run = [workspace](const GemmCall& call, cudaStream_t stream) {
    const GemmTokensArgs args = TokensArgs(call, workspace);
    GemmTokens(GemmTokensChoice(args), args, stream);
  };
  rows_.push_back(std::move(kernel));
  return {};
}

}  // namespace quire::cuda
