#include "backend/cuda/gemm.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "backend/cuda/gemm_cublaslt.h"
#include "backend/cuda/gemm_kernels.h"
#include "backend/cuda/gemm_table.h"
#include "backend/cuda/gemm_timer.h"
#include "backend/cuda/kernels/gemm_float32.h"
#include "base/log.h"

namespace quire::cuda {
namespace {

using Clock = std::chrono::steady_clock;

// Of batch-invariant products: rows that one launch takes, and the batch whose algorithm of the
// library is taken for all.
constexpr std::int64_t kInvariantRows = 512;
constexpr std::int64_t kInvariantBatch = 256;

// What a kernel must gain to be taken instead of one that comes before it, so that noise decides
// nothing.
constexpr double kMargin = 0.02;

// What computes a product; neither: nothing can.
struct Plan {
  const GemmKernel* kernel = nullptr;
  const LtAlgorithm* algorithm = nullptr;
  const std::string& name() const {
    static const std::string none = "none";
    return kernel != nullptr ? kernel->name : algorithm != nullptr ? algorithm->name : none;
  }
};

GemmCall CallOf(const LinearWeight& weight, DType out_dtype) {
  GemmCall call;
  call.key = {weight.out_features, weight.in_features, weight.dtype, out_dtype,
              weight.bias.data() != nullptr};
  call.weight = weight.packed.data();
  if (call.key.bias) {
    call.bias = weight.bias.data();
    call.float_bias = reinterpret_cast<const float*>(
        static_cast<const std::byte*>(weight.bias.data()) + FloatBiasOffset(weight));
  }
  return call;
}

GemmCall CallOf(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  GemmCall call = CallOf(weight, out.dtype());
  call.m = x.rows();
  call.x = x.raw();
  call.out = out.raw();
  call.x_stride = x.row_stride();
  call.out_stride = out.row_stride();
  return call;
}

bool Aligned(const GemmCall& call) {
  const auto bits = reinterpret_cast<std::uintptr_t>(call.x) |
                    reinterpret_cast<std::uintptr_t>(call.out) |
                    static_cast<std::uintptr_t>(call.x_stride) * SizeOf(call.key.dtype) |
                    static_cast<std::uintptr_t>(call.out_stride) * SizeOf(call.key.out_dtype);
  return bits % 16 == 0;
}

// Rows from `first` on.
GemmCall Rows(const GemmCall& call, std::int64_t first, std::int64_t count) {
  GemmCall part = call;
  part.m = count;
  part.x = static_cast<const std::byte*>(call.x) +
           static_cast<std::size_t>(first * call.x_stride) * SizeOf(call.key.dtype);
  part.out = static_cast<std::byte*>(call.out) +
             static_cast<std::size_t>(first * call.out_stride) * SizeOf(call.key.out_dtype);
  return part;
}

// A call of the bucket's size, for the library's heuristic.
GemmCall OfBucket(const GemmCall& call, std::int64_t bucket) {
  GemmCall sized = call;
  sized.m = bucket;
  return sized;
}

}  // namespace

struct CudaGemm::State {
  DeviceFacts device;
  GemmOptions options;
  std::unique_ptr<GemmKernels> kernels;
  std::unique_ptr<LtGemm> lt;
  GemmTable table;
  using PlanKey = std::tuple<GemmKey, std::int64_t, bool>;
  std::map<PlanKey, Plan> plans;
  std::string cache_file;

  void ReadTables();
  const Plan& PlanOf(const GemmCall& call);
  Plan MakePlan(const GemmCall& call);
  Plan InvariantPlan(const GemmCall& call);
  Plan Named(const std::string& name, const GemmCall& call, std::int64_t bucket);
  Plan Default(const GemmCall& call);
  bool Run(const Plan& plan, const GemmCall& call, cudaStream_t stream);
  void MustRun(const Plan& plan, const GemmCall& call, cudaStream_t stream);
  GemmChoice Fastest(const GemmCall& call, GemmTimer& timer, cudaStream_t stream);
};

void CudaGemm::State::ReadTables() {
  const std::string name = device.properties.name;
  std::vector<std::string> files;
  if (!options.shipped_folder.empty())
    files.push_back(options.shipped_folder + "/" + GemmTableFile(name, 0));
  if (!options.cache_folder.empty()) {
    cache_file = options.cache_folder + "/" + GemmTableFile(name, lt->version());
    files.push_back(cache_file);
  }
  for (const std::string& file : files) {
    const Status read = table.Read(file, name);
    if (!read && read.error().kind != ErrorKind::kNotFound)
      LogWarning("table of products ignored: {}", read.error().message);
  }
}

Plan CudaGemm::State::Named(const std::string& name, const GemmCall& call, std::int64_t bucket) {
  if (const GemmKernel* kernel = kernels->Find(name))
    return kernel->feasible(call) ? Plan{kernel, nullptr} : Plan{};
  // By configuration: its place in the list may be another one.
  const auto configuration = [](const std::string& of) { return of.substr(of.find(':') + 1); };
  for (const LtAlgorithm& algorithm : lt->Algorithms(OfBucket(call, bucket)))
    if (configuration(algorithm.name) == configuration(name)) return {nullptr, &algorithm};
  return {};  // of another version of the library
}

Plan CudaGemm::State::Default(const GemmCall& call) {
  for (const GemmKernel& kernel : kernels->rows())
    if (kernel.feasible(call)) return {&kernel, nullptr};
  const auto& algorithms = lt->Algorithms(OfBucket(call, GemmRowBucket(call.m)));
  return algorithms.empty() ? Plan{} : Plan{nullptr, &algorithms.front()};
}

// The kernel whose order holds for any number of rows, else one algorithm of the library's, for
// which a row's order does not depend on how many there are as long as k is not split.
Plan CudaGemm::State::InvariantPlan(const GemmCall& call) {
  const GemmKernel* tokens = kernels->Find("tokens");
  if (tokens != nullptr && tokens->feasible(OfBucket(call, 1))) return {tokens, nullptr};
  const auto& algorithms = lt->Algorithms(OfBucket(call, kInvariantBatch));
  for (const LtAlgorithm& algorithm : algorithms)
    if (!algorithm.split) return {nullptr, &algorithm};
  return algorithms.empty() ? Plan{} : Plan{nullptr, &algorithms.front()};
}

Plan CudaGemm::State::MakePlan(const GemmCall& call) {
  if (options.batch_invariant) return InvariantPlan(call);
  std::int64_t bucket = 0;
  if (const GemmChoice* choice = table.Find(call.key, call.m, &bucket)) {
    const Plan plan = Named(choice->kernel, call, bucket);
    if (plan.kernel != nullptr || plan.algorithm != nullptr) return plan;
    LogDebug("product of {} × {} × {}: {} is not there", call.m, call.key.n, call.key.k,
             choice->kernel);
  }
  return Default(call);
}

const Plan& CudaGemm::State::PlanOf(const GemmCall& call) {
  const PlanKey key{call.key, GemmRowBucket(call.m), Aligned(call)};
  const auto known = plans.find(key);
  if (known != plans.end()) return known->second;
  const Plan plan = MakePlan(call);
  LogDebug("product of {} × {} × {}, {} to {}: {}", call.m, call.key.n, call.key.k,
           quire::Name(call.key.dtype), quire::Name(call.key.out_dtype), plan.name());
  return plans.emplace(key, plan).first->second;
}

bool CudaGemm::State::Run(const Plan& plan, const GemmCall& call, cudaStream_t stream) {
  if (plan.kernel == nullptr)
    return plan.algorithm != nullptr && lt->Run(call, *plan.algorithm, stream);
  const std::int64_t step = options.batch_invariant ? kInvariantRows : call.m;
  for (std::int64_t first = 0; first < call.m; first += step)
    plan.kernel->run(Rows(call, first, std::min(step, call.m - first)), stream);
  return true;
}

void CudaGemm::State::MustRun(const Plan& plan, const GemmCall& call, cudaStream_t stream) {
  if (Run(plan, call, stream)) return;
  // A choice that held for the bucket's size need not hold for this one.
  if (!options.batch_invariant && Run(Default(call), call, stream)) return;
  LogError("no kernel for a product of {} × {} × {}, {} to {} (tried {})", call.m, call.key.n,
           call.key.k, quire::Name(call.key.dtype), quire::Name(call.key.out_dtype), plan.name());
  Check(cudaErrorNotSupported, "a product");
}

GemmChoice CudaGemm::State::Fastest(const GemmCall& call, GemmTimer& timer, cudaStream_t stream) {
  GemmChoice best{"", std::numeric_limits<double>::infinity()};
  double least = best.microseconds;  // less the head start
  const auto consider = [&](const Plan& plan, double head_start) {
    const double time =
        timer.Time([&] { return Run(plan, call, stream); }, best.microseconds, stream);
    if (time - head_start >= least * (1 - kMargin)) return;
    least = time - head_start;
    best = {plan.name(), time};
  };
  for (const GemmKernel& kernel : kernels->rows())
    if (kernel.feasible(call)) consider({&kernel, nullptr}, kernel.head_start);
  for (const LtAlgorithm& algorithm : lt->Algorithms(call)) consider({nullptr, &algorithm}, 0);
  return best;
}

CudaGemm::CudaGemm(std::unique_ptr<State> state) : state_(std::move(state)) {}
CudaGemm::~CudaGemm() = default;

Result<std::unique_ptr<CudaGemm>> CudaGemm::Make(const DeviceFacts& device,
                                                 const GemmOptions& options) {
  auto state = std::make_unique<State>();
  state->device = device;
  state->options = options;
  auto kernels = GemmKernels::Make(device, options.hopper);
  if (!kernels) return kernels.error();
  state->kernels = std::move(kernels).value();
  auto lt = LtGemm::Make();
  if (!lt) return lt.error();
  state->lt = std::move(lt).value();
  state->ReadTables();
  return std::unique_ptr<CudaGemm>(new CudaGemm(std::move(state)));
}

void CudaGemm::Multiply(const Tensor& x, const LinearWeight& weight, const Tensor& out,
                        cudaStream_t stream) {
  const GemmCall call = CallOf(x, weight, out);
  if (call.m == 0 || call.key.n == 0) return;
  if (weight.dtype == DType::kF32) {
    GemmFloat32(x.data<float>(), call.x_stride, static_cast<const float*>(call.weight),
                static_cast<const float*>(call.bias), call.m, call.key.n, call.key.k,
                out.data<float>(), call.out_stride, stream);
    return;
  }
  state_->MustRun(state_->PlanOf(call), call, stream);
}

bool CudaGemm::MultiplySilu(const Tensor& x, const LinearWeight& weight, const Tensor& out,
                            cudaStream_t stream) {
  if (weight.dtype == DType::kF32 || out.dtype() != weight.dtype) return false;
  GemmCall call = CallOf(x, weight, out);
  if (call.m == 0) return true;
  GemmCall plain = call;  // the plan is that of the whole product, whose rows are twice as long
  plain.out_stride = weight.out_features;
  const Plan& plan = state_->PlanOf(plain);
  call.silu = true;
  const std::int64_t most =
      state_->options.batch_invariant ? std::min(call.m, kInvariantRows) : call.m;
  if (plan.kernel == nullptr || !plan.kernel->feasible(OfBucket(call, most))) return false;
  return state_->Run(plan, call, stream);
}

int CudaGemm::Tune(std::span<const GemmTuneItem> items, std::chrono::milliseconds limit,
                   cudaStream_t stream) {
  if (state_->options.batch_invariant) return 0;  // there is no choice
  const auto end = Clock::now() + limit;
  std::map<std::pair<std::int64_t, GemmKey>, const LinearWeight*> unknown;
  for (const GemmTuneItem& item : items) {
    const GemmCall call = CallOf(*item.weight, item.out_dtype);
    if (item.weight->dtype == DType::kF32) continue;
    for (std::int64_t rows = 1; rows <= GemmRowBucket(item.max_rows); ++rows) {
      rows = GemmRowBucket(rows);
      if (!state_->table.Has(call.key, rows))
        unknown.emplace(std::pair{rows, call.key}, item.weight);
    }
  }
  if (unknown.empty()) return 0;
  auto timer = GemmTimer::Make(static_cast<std::size_t>(state_->device.properties.l2CacheSize));
  int left = static_cast<int>(unknown.size());
  if (!timer) {
    LogWarning("products are not timed: {}", timer.error().message);
    return left;
  }
  const int total = left;
  for (const auto& [what, weight] : unknown) {
    if (Clock::now() >= end) break;
    const auto& [rows, key] = what;
    GemmCall call = CallOf(*weight, key.out_dtype);
    const auto out_bytes = rows * key.n * static_cast<std::int64_t>(SizeOf(key.out_dtype));
    if (!(*timer)->Reserve(key.dtype, rows * key.k, out_bytes, stream)) break;
    call.m = rows;
    call.x = (*timer)->x();
    call.out = (*timer)->out();
    call.x_stride = key.k;
    call.out_stride = key.n;
    GemmChoice choice = state_->Fastest(call, **timer, stream);
    if (!choice.kernel.empty()) state_->table.Set(key, rows, std::move(choice));
    --left;
  }
  state_->plans.clear();
  LogInfo("timed {} of {} products", total - left, total);
  if (!state_->cache_file.empty()) {
    const Status written = Save(state_->cache_file);
    if (!written) LogWarning("table of products not kept: {}", written.error().message);
  }
  return left;
}

Status CudaGemm::Save(const std::string& path) const {
  return state_->table.Write(path, state_->device.properties.name);
}

std::string CudaGemm::KernelOf(const LinearWeight& weight, DType out_dtype, std::int64_t rows) {
  if (weight.dtype == DType::kF32) return "float32";
  GemmCall call = CallOf(weight, out_dtype);
  call.m = rows;
  call.x = weight.packed.data();  // of no matter, but for its alignment
  call.out = weight.packed.data();
  call.x_stride = weight.in_features;
  call.out_stride = weight.out_features;
  return state_->PlanOf(call).name();
}

}  // namespace quire::cuda
