#include "backend/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <nvtx3/nvToolsExt.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "backend/cuda/attention.h"
#include "backend/cuda/device.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda/gemm_table.h"
#include "backend/cuda/graphs.h"
#include "backend/cuda/kernels/elementwise.h"
#include "backend/cuda/kernels/norm.h"
#include "backend/cuda/kernels/rope.h"
#include "backend/cuda/kernels/sampling.h"
#include "backend/cuda/profiler.h"
#include "backend/cuda/staging.h"
#include "backend/weight_slices.h"

namespace quire {
namespace {

using cuda::Check;

constexpr std::size_t kNumMarks = 64;
constexpr int kMaxReplayed = 512;  // sequences; longer steps are not held up by launches

Error OutOfMemory(std::size_t bytes) {
  std::size_t available = 0;
  std::size_t total = 0;
  cudaMemGetInfo(&available, &total);
  return {ErrorKind::kDevice,
          fmt::format("the GPU has {} MiB of memory free, {} MiB are needed: lower "
                      "--gpu-memory-utilization, --max-num-batched-tokens or --max-model-len",
                      available >> 20, bytes >> 20),
          "", ""};
}

void FreeDevice(void* data, std::size_t) { cudaFree(data); }
void FreeHost(void* data, std::size_t) { cudaFreeHost(data); }

// Owns device memory that grows to what the largest step needs. New memory is zero.
class DeviceScratch {
 public:
  void* Get(std::size_t bytes, cudaStream_t stream) {
    if (bytes > buffer_.bytes()) {
      buffer_ = {};
      void* data = nullptr;
      if (cudaMalloc(&data, bytes + bytes / 2) != cudaSuccess) throw std::bad_alloc();
      buffer_ = Buffer(data, bytes + bytes / 2, {DeviceKind::kCuda, 0}, FreeDevice);
      Zero(stream);
    }
    return buffer_.data();
  }
  void Zero(cudaStream_t stream) {
    if (buffer_.bytes() == 0) return;
    Check(cudaMemsetAsync(buffer_.data(), 0, buffer_.bytes(), stream), "cudaMemset");
  }

 private:
  Buffer buffer_;
};

// Owns a stream of one GPU and everything that its operators need.
class CudaBackend final : public Backend {
 public:
  CudaBackend(const cuda::DeviceFacts& facts, const CudaBackendOptions& options)
      : facts_(facts), options_(options) {}
  ~CudaBackend() override;

  Status Open();

  Device device() const override { return {DeviceKind::kCuda, facts_.ordinal}; }
  std::string Describe() const override {
    return fmt::format("{}, CUDA {}.{}, compute capability {}.{}", facts_.properties.name,
                       facts_.driver_version / 1000, facts_.driver_version % 1000 / 10,
                       facts_.properties.major, facts_.properties.minor);
  }
  MemoryInfo Memory() const override;
  DType ActivationDType(DType weights) const override { return weights; }
  bool Supports(DType weights) const override {
    return weights == DType::kF32 || weights == DType::kBF16 || weights == DType::kF16;
  }

  Result<Buffer> Allocate(std::size_t bytes) override;
  Result<Buffer> AllocateHost(std::size_t bytes) override;
  void CopyToDevice(const void* host, const Tensor& to) override {
    staging_->Copy(host, to.raw(), to.num_bytes(), stream_);
  }
  void CopyToHost(const Tensor& from, void* host) override;
  void Synchronize() override { Check(cudaStreamSynchronize(stream_), "the device's work"); }

  using Backend::PackLinear;
  LinearWeight PackLinear(std::span<const WeightSlice> slices, DType dtype) override;
  Tensor PlaceTable(const Tensor& host, Buffer& owner) override;

  void Embed(const Tensor& table, const Tensor& ids, std::int64_t first_row,
             const Tensor& out) override;
  void TakeLastTokens(const SamplerState& state, const Tensor& slots, const Tensor& ids) override;
  void GatherRows(const Tensor& x, const Tensor& rows, const Tensor& out) override;
  void Add(const Tensor& x, const Tensor& y) override;
  void RmsNorm(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) override;
  void MatMul(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    gemm_->Multiply(x, weight, out, stream_);
  }
  void MatMulSiluAndMul(const Tensor& x, const LinearWeight& weight, const Tensor& gate_up,
                        const Tensor& out) override {
    if (gemm_->MultiplySilu(x, weight, out, stream_)) return;
    Backend::MatMulSiluAndMul(x, weight, gate_up, out);
  }
  void Rope(const Tensor& q, const Tensor& k, const Tensor& positions,
            const Tensor& cos_sin) override;
  void StoreKv(const Tensor& k, const Tensor& v, const Tensor& kv_slots,
               const KvLayer& cache) override;
  void Attend(const Tensor& q, const KvLayer& cache, const AttentionBatch& batch, float scale,
              const Tensor& out) override {
    attention_->Attend(q, cache, batch, scale, out, stream_);
  }
  void SiluAndMul(const Tensor& gate_up, const Tensor& out) override;
  void AddRmsNorm(const Tensor& x, const Tensor& residual, const Tensor& weight, float eps,
                  const Tensor& out) override;
  void RotateAndStoreKv(const Tensor& q, const Tensor& k, const Tensor& v, const QkTransform& how,
                        const AttentionBatch& batch, const KvLayer& cache) override;

  std::size_t KvBlockBytes(const KvLayerSpec& spec, int block_size) const override {
    return std::size_t{2} * static_cast<std::size_t>(spec.num_kv_heads) *
           static_cast<std::size_t>(spec.head_dim) * static_cast<std::size_t>(block_size) *
           SizeOf(spec.dtype);
  }
  void CopyKvBlock(const KvLayer& cache, BlockId from, BlockId to) override;

  void Sample(const Tensor& logits, const SamplingBatch& batch, const SamplerState& state,
              const SampledRows& out) override;
  void ScoreTokens(const Tensor& logits, std::int32_t num_top, const SampledRows& out) override;
  void ResetSlot(const SamplerState& state, SlotId slot, std::span<const TokenId> prompt,
                 std::span<const TokenId> output) override;

  Status PrepareSteps(const StepLimits& limits, std::span<const KvLayer> layers) override;
  void BeginStep(const AttentionBatch& batch, std::span<const KvLayer> layers) override {
    Check(cudaSetDevice(facts_.ordinal), "cudaSetDevice");
    attention_->Plan(batch, layers, stream_);
  }
  void Replay(std::uint64_t key, const std::function<void()>& launch) override {
    graphs_.Run(key, launch, stream_);
  }
  int ReplayBucket(int num_sequences) const override;
  std::uint64_t Mark() override;
  void WaitFor(std::uint64_t mark) override;
  float MicrosecondsBetween(std::uint64_t from, std::uint64_t to) override;
  bool asynchronous() const override { return true; }
  Status StartProfile() override { return cuda::StartProfiler(); }
  DeviceProfile StopProfile() override { return cuda::StopProfiler(); }
  void BeginRange(const char* name, std::int64_t value) override;
  void EndRange() override { nvtxRangePop(); }

 private:
  void UploadRows(const Tensor& host, DType dtype, std::byte* to);
  cuda::SamplingArgs ArgsOf(const Tensor& logits, const SampledRows& out);
  void* SamplingScratch(const cuda::SamplingArgs& args);
  template <class T>
  const T* Stage(std::span<const T> values, std::byte*& at);

  cuda::DeviceFacts facts_;
  CudaBackendOptions options_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<cuda::StagingRing> staging_;
  std::unique_ptr<cuda::CudaGemm> gemm_;
  std::unique_ptr<cuda::CudaAttention> attention_;
  cuda::GraphCache graphs_;
  DeviceScratch sampling_scratch_, sampling_tables_, conversion_;
  std::int64_t scratch_vocab_ = 0;  // what is left in sampling_scratch_ is for this vocabulary
  std::array<cudaEvent_t, kNumMarks> marks_{};
  std::uint64_t next_mark_ = 0;
};

Status CudaBackend::Open() {
  Check(cudaSetDevice(facts_.ordinal), "cudaSetDevice");
  Check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  for (cudaEvent_t& mark : marks_) Check(cudaEventCreate(&mark), "cudaEventCreate");
  auto staging = cuda::StagingRing::Make();
  if (!staging) return staging.error();
  staging_ = std::move(staging).value();
  cuda::GemmOptions gemm_options;
  gemm_options.hopper = options_.hopper;
  gemm_options.shipped_folder = options_.gemm_tables;
  gemm_options.cache_folder = cuda::GemmCacheFolder();
  auto gemm = cuda::CudaGemm::Make(facts_, gemm_options);
  if (!gemm) return gemm.error();
  gemm_ = std::move(gemm).value();
  return {};
}

CudaBackend::~CudaBackend() {
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  for (const cudaEvent_t mark : marks_)
    if (mark != nullptr) cudaEventDestroy(mark);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

MemoryInfo CudaBackend::Memory() const {
  MemoryInfo memory;
  Check(cudaMemGetInfo(&memory.available, &memory.total), "cudaMemGetInfo");
  return memory;
}

Result<Buffer> CudaBackend::Allocate(std::size_t bytes) {
  Check(cudaSetDevice(facts_.ordinal), "cudaSetDevice");
  void* data = nullptr;
  const std::size_t size = std::max<std::size_t>(bytes, 1);
  const cudaError_t status = cudaMalloc(&data, size);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not sticky
    return OutOfMemory(bytes);
  }
  Check(status, "cudaMalloc");
  Check(cudaMemsetAsync(data, 0, size, stream_), "cudaMemset");
  return Buffer(data, bytes, device(), FreeDevice);
}

Result<Buffer> CudaBackend::AllocateHost(std::size_t bytes) {
  void* data = nullptr;
  if (cudaHostAlloc(&data, std::max<std::size_t>(bytes, 1), cudaHostAllocDefault) != cudaSuccess) {
    cudaGetLastError();
    return Error{ErrorKind::kDevice,
                 fmt::format("{} MiB of pinned host memory are not to be had", bytes >> 20), "",
                 ""};
  }
  return Buffer(data, bytes, {}, FreeHost);
}

void CudaBackend::CopyToHost(const Tensor& from, void* host) {
  if (from.num_bytes() == 0) return;
  Check(cudaMemcpyAsync(host, from.raw(), from.num_bytes(), cudaMemcpyDeviceToHost, stream_),
        "cudaMemcpy");
  Synchronize();
}

// Rows of host memory, strided or not, as dense rows of `dtype`.
void CudaBackend::UploadRows(const Tensor& host, DType dtype, std::byte* to) {
  const auto size = static_cast<std::size_t>(host.row_size()) * SizeOf(host.dtype());
  std::byte* raw = to;
  if (host.dtype() != dtype)
    raw = static_cast<std::byte*>(
        conversion_.Get(size * static_cast<std::size_t>(host.rows()), stream_));
  if (host.dense()) {
    staging_->Copy(host.raw(), raw, host.num_bytes(), stream_);
  } else {
    for (std::int64_t row = 0; row < host.rows(); ++row)
      staging_->Copy(host.Rows(row, 1).raw(), raw + static_cast<std::size_t>(row) * size, size,
                     stream_);
  }
  if (host.dtype() == dtype) return;
  cuda::ConvertRows(host.dtype(), raw, host.row_size(), dtype, to, host.row_size(), host.rows(),
                    host.row_size(), stream_);
  Synchronize();  // the next conversion may move the scratch
}

LinearWeight CudaBackend::PackLinear(std::span<const WeightSlice> slices, DType dtype) {
  LinearWeight weight;
  weight.dtype = dtype;
  weight.in_features = slices[0].weight.dim(1);
  for (const WeightSlice& slice : slices) weight.out_features += slice.weight.rows();
  const std::size_t row_bytes = static_cast<std::size_t>(weight.in_features) * SizeOf(dtype);
  auto packed = Allocate(static_cast<std::size_t>(weight.out_features) * row_bytes);
  if (!packed) throw std::bad_alloc();
  weight.packed = std::move(packed).value();
  auto* to = static_cast<std::byte*>(weight.packed.data());
  for (const WeightSlice& slice : slices) {
    UploadRows(slice.weight, dtype, to);
    to += static_cast<std::size_t>(slice.weight.rows()) * row_bytes;
  }
  if (slices[0].bias.empty()) return weight;
  const GatheredRows bias = GatherBiases(slices);
  const std::size_t behind = cuda::FloatBiasOffset(weight);
  auto memory = Allocate(behind + static_cast<std::size_t>(weight.out_features) * sizeof(float));
  if (!memory) throw std::bad_alloc();
  weight.bias = std::move(memory).value();
  const Tensor row = bias.view.Reshape({1, weight.out_features});
  UploadRows(row, dtype, static_cast<std::byte*>(weight.bias.data()));
  UploadRows(row, DType::kF32, static_cast<std::byte*>(weight.bias.data()) + behind);
  return weight;
}

Tensor CudaBackend::PlaceTable(const Tensor& host, Buffer& owner) {
  auto memory = Allocate(host.num_bytes());
  if (!memory) throw std::bad_alloc();
  owner = std::move(memory).value();
  UploadRows(host, host.dtype(), static_cast<std::byte*>(owner.data()));
  return Tensor(owner.data(), host.dtype(), {host.rows(), host.row_size()}, device());
}

void CudaBackend::Embed(const Tensor& table, const Tensor& ids, std::int64_t first_row,
                        const Tensor& out) {
  cuda::Embed(table.dtype(), table.raw(), table.row_stride(), table.rows(),
              ids.data<std::int32_t>(), first_row, ids.rows(), table.row_size(), out.dtype(),
              out.raw(), out.row_stride(), stream_);
}

void CudaBackend::TakeLastTokens(const SamplerState& state, const Tensor& slots,
                                 const Tensor& ids) {
  cuda::TakeLastTokens(state.last_token.data<std::int32_t>(), slots.data<std::int32_t>(),
                       ids.rows(), ids.data<std::int32_t>(), stream_);
}

void CudaBackend::GatherRows(const Tensor& x, const Tensor& rows, const Tensor& out) {
  cuda::GatherRows(x.dtype(), x.raw(), x.row_stride(), rows.data<std::int32_t>(), out.rows(),
                   out.row_size(), out.raw(), out.row_stride(), stream_);
}

void CudaBackend::Add(const Tensor& x, const Tensor& y) {
  cuda::Add(x.dtype(), x.raw(), x.row_stride(), y.raw(), y.row_stride(), x.rows(), x.row_size(),
            stream_);
}

void CudaBackend::RmsNorm(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) {
  const std::int64_t width = weight.num_elements();
  cuda::RmsNorm(x.dtype(), x.raw(), x.row_stride(), weight.data<float>(), eps, out.raw(),
                out.row_stride(), x.rows(), x.row_size() / width, width, stream_);
}

void CudaBackend::AddRmsNorm(const Tensor& x, const Tensor& residual, const Tensor& weight,
                             float eps, const Tensor& out) {
  cuda::AddRmsNorm(x.dtype(), x.raw(), x.row_stride(), residual.raw(), residual.row_stride(),
                   weight.data<float>(), eps, out.raw(), out.row_stride(), x.rows(), x.row_size(),
                   stream_);
}

cuda::QkvRows RowsOf(const Tensor& q, const Tensor& k, const Tensor& v) {
  cuda::QkvRows rows;
  rows.dtype = k.dtype();
  rows.q = q.raw();
  rows.k = k.raw();
  rows.v = v.raw();
  rows.q_stride = q.row_stride();
  rows.k_stride = k.row_stride();
  rows.v_stride = v.row_stride();
  rows.tokens = k.rows();
  rows.num_heads = q.empty() ? 0 : static_cast<int>(q.dim(1));
  rows.num_kv_heads = static_cast<int>(k.dim(1));
  rows.head_dim = static_cast<int>(k.dim(2));
  return rows;
}

cuda::Rotation RotationOf(const Tensor& positions, const Tensor& cos_sin) {
  return {positions.data<std::int32_t>(), cos_sin.data<float>(),
          static_cast<int>(cos_sin.row_size())};
}

void CudaBackend::Rope(const Tensor& q, const Tensor& k, const Tensor& positions,
                       const Tensor& cos_sin) {
  cuda::Rope(RowsOf(q, k, {}), RotationOf(positions, cos_sin), stream_);
}

cuda::KvBlocks BlocksOf(const KvLayer& cache, const Tensor& kv_slots) {
  return {cache.spec.dtype, cache.data, cache.block_size, kv_slots.data<std::int32_t>()};
}

void CudaBackend::StoreKv(const Tensor& k, const Tensor& v, const Tensor& kv_slots,
                          const KvLayer& cache) {
  cuda::StoreKv(RowsOf({}, k, v), BlocksOf(cache, kv_slots), stream_);
}

void CudaBackend::RotateAndStoreKv(const Tensor& q, const Tensor& k, const Tensor& v,
                                   const QkTransform& how, const AttentionBatch& batch,
                                   const KvLayer& cache) {
  const cuda::HeadNorms norms{how.q_norm.data<float>(), how.k_norm.data<float>(), how.norm_eps};
  cuda::RotateAndStoreKv(RowsOf(q, k, v), norms, RotationOf(batch.positions, how.cos_sin),
                         BlocksOf(cache, batch.kv_slots), stream_);
}

void CudaBackend::SiluAndMul(const Tensor& gate_up, const Tensor& out) {
  cuda::SiluAndMul(out.dtype(), gate_up.raw(), gate_up.row_stride(), out.rows(), out.row_size(),
                   out.raw(), out.row_stride(), stream_);
}

void CudaBackend::CopyKvBlock(const KvLayer& cache, BlockId from, BlockId to) {
  cuda::CopyBlock(cache.data, static_cast<std::int64_t>(KvBlockBytes(cache.spec, cache.block_size)),
                  from.value, to.value, stream_);
}

template <class T>
const T* CudaBackend::Stage(std::span<const T> values, std::byte*& at) {
  const std::size_t bytes = values.size_bytes();
  auto* to = reinterpret_cast<T*>(at);
  if (bytes != 0) staging_->Copy(values.data(), to, bytes, stream_);
  at += (bytes + 15) / 16 * 16;
  return to;
}

cuda::SamplingArgs CudaBackend::ArgsOf(const Tensor& logits, const SampledRows& out) {
  cuda::SamplingArgs args;
  args.logits = logits.data<float>();
  args.logits_stride = logits.row_stride();
  args.vocab = logits.dim(1);
  args.rows = static_cast<std::int32_t>(logits.rows());
  args.tokens = out.tokens.data();
  args.faults = out.faults.data();
  args.logprobs = out.logprobs.data();
  args.ranks = out.ranks.data();
  args.top = out.top.data();
  args.max_top = out.max_top;
  return args;
}

void CudaBackend::Sample(const Tensor& logits, const SamplingBatch& batch,
                         const SamplerState& state, const SampledRows& out) {
  cuda::SamplingArgs args = ArgsOf(logits, out);
  const std::size_t bytes = batch.rows.size_bytes() + batch.biases.size_bytes() +
                            batch.allowed.size_bytes() + batch.banned.size_bytes() + 64;
  auto* at = static_cast<std::byte*>(sampling_tables_.Get(bytes, stream_));
  args.how = Stage(batch.rows, at);
  args.biases = Stage(batch.biases, at);
  args.allowed = Stage(batch.allowed, at);
  args.banned = Stage(batch.banned, at);
  if (!state.last_token.empty()) args.last_token = state.last_token.data<TokenId>();
  if (!state.token_counts.empty()) {
    args.token_counts = state.token_counts.data<std::int32_t>();
    args.counts_stride = state.token_counts.row_stride();
  }
  void* scratch = SamplingScratch(args);
  cuda::Sample(args, cuda::NeedsOf(batch.rows, args.vocab), scratch, stream_);
}

void* CudaBackend::SamplingScratch(const cuda::SamplingArgs& args) {
  void* scratch = sampling_scratch_.Get(cuda::SamplingScratchBytes(args.rows, args.vocab), stream_);
  if (args.vocab != scratch_vocab_) sampling_scratch_.Zero(stream_);
  scratch_vocab_ = args.vocab;
  return scratch;
}

void CudaBackend::ScoreTokens(const Tensor& logits, std::int32_t num_top, const SampledRows& out) {
  const cuda::SamplingArgs args = ArgsOf(logits, out);
  void* scratch = SamplingScratch(args);
  cuda::ScoreTokens(args, num_top, scratch, stream_);
}

void CudaBackend::ResetSlot(const SamplerState& state, SlotId slot, std::span<const TokenId> prompt,
                            std::span<const TokenId> output) {
  if (state.token_counts.empty()) return;
  auto* at = static_cast<std::byte*>(
      sampling_tables_.Get(prompt.size_bytes() + output.size_bytes() + 32, stream_));
  const TokenId* prompt_ids = Stage(prompt, at);
  const TokenId* output_ids = Stage(output, at);
  std::int32_t* counts =
      state.token_counts.data<std::int32_t>() + slot.value * state.token_counts.row_stride();
  cuda::ResetSlot(counts, state.token_counts.dim(1), prompt_ids,
                  static_cast<std::int64_t>(prompt.size()), output_ids,
                  static_cast<std::int64_t>(output.size()), stream_);
}

Status CudaBackend::PrepareSteps(const StepLimits& limits, std::span<const KvLayer> layers) {
  cuda::AttentionOptions options;
  options.max_sequences = limits.max_sequences;
  options.max_tokens = limits.max_tokens;
  options.hopper = options_.hopper;
  options.cap_shared_memory = !options_.hopper;
  auto attention = cuda::CudaAttention::Make(facts_.properties, options);
  if (!attention) return attention.error();
  attention_ = std::move(attention).value();
  QUIRE_RETURN_IF_ERROR(attention_->Supports(layers));
  return attention_->Prepare(layers);
}

// Fine buckets: attention, norms and products pay for every row.
int CudaBackend::ReplayBucket(int num_sequences) const {
  if (num_sequences > kMaxReplayed) return 0;
  if (num_sequences <= 2) return num_sequences;
  if (num_sequences <= 4) return 4;
  return (num_sequences + 7) / 8 * 8;
}

std::uint64_t CudaBackend::Mark() {
  Check(cudaGetLastError(), "a kernel's launch");
  Check(cudaEventRecord(marks_[next_mark_ % kNumMarks], stream_), "cudaEventRecord");
  return next_mark_++;
}

void CudaBackend::WaitFor(std::uint64_t mark) {
  // An older mark's event stands for a later point by now: waiting for that is right, too.
  Check(cudaEventSynchronize(marks_[mark % kNumMarks]), "the device's work");
}

void CudaBackend::BeginRange(const char* name, std::int64_t value) {
  nvtxEventAttributes_t range{};
  range.version = NVTX_VERSION;
  range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  range.messageType = NVTX_MESSAGE_TYPE_ASCII;
  range.message.ascii = name;
  range.payloadType = NVTX_PAYLOAD_TYPE_INT64;
  range.payload.llValue = value;
  nvtxRangePushEx(&range);
}

float CudaBackend::MicrosecondsBetween(std::uint64_t from, std::uint64_t to) {
  if (next_mark_ - from > kNumMarks) return 0;  // its event was needed again
  float ms = 0;
  Check(cudaEventElapsedTime(&ms, marks_[from % kNumMarks], marks_[to % kNumMarks]),
        "cudaEventElapsedTime");
  return 1000 * ms;
}

}  // namespace

bool HasCudaDevice() {
  int count = 0;
  const bool found = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
  cudaGetLastError();
  return found;
}

Result<std::unique_ptr<Backend>> MakeCudaBackend(const CudaBackendOptions& options) {
  auto facts = cuda::OpenDevice(options.ordinal);
  if (!facts) return facts.error();
  auto backend = std::make_unique<CudaBackend>(*facts, options);
  QUIRE_RETURN_IF_ERROR(backend->Open());
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace quire
