#include "backend/cpu/cpu_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "backend/cpu/attention.h"
#include "backend/cpu/cpu_info.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/sampling.h"
#include "backend/weight_slices.h"

namespace quire {
namespace {

using cpu::CpuKernels;

constexpr std::int64_t kPieceElements = 1 << 14;  // of a row operator, that a thread takes at once
constexpr int kMaxThreads = 4096;

// Owns the threads and the scratch of one CPU device. Activations are float32 whatever the weights
// are.
class CpuBackend final : public Backend {
 public:
  CpuBackend(const CpuKernels& kernels, int num_threads)
      : kernels_(kernels),
        pool_(num_threads),
        gemm_(kernels, pool_),
        attention_(kernels, pool_),
        sampler_(kernels, pool_) {}

  Device device() const override { return {}; }
  std::string Describe() const override {
    return fmt::format("CPU, {}, {} thread{}", kernels_.title, pool_.num_threads(),
                       pool_.num_threads() == 1 ? "" : "s");
  }
  MemoryInfo Memory() const override { return cpu::UsableMemory(); }
  DType ActivationDType(DType) const override { return DType::kF32; }
  bool Supports(DType weights) const override {
    return weights == DType::kF32 || weights == DType::kBF16 || weights == DType::kF16;
  }

  Result<Buffer> Allocate(std::size_t bytes) override { return cpu::AllocateHost(bytes); }
  void CopyToDevice(const void* host, const Tensor& to) override {
    if (to.num_bytes() != 0) std::memcpy(to.raw(), host, to.num_bytes());
  }
  void CopyToHost(const Tensor& from, void* host) override {
    if (from.num_bytes() != 0) std::memcpy(host, from.raw(), from.num_bytes());
  }
  void Synchronize() override {}
  Result<Buffer> AllocateHost(std::size_t bytes) override { return cpu::AllocateHost(bytes); }
  std::uint64_t Mark() override { return 0; }
  void WaitFor(std::uint64_t) override {}
  bool asynchronous() const override { return false; }

  using Backend::PackLinear;
  LinearWeight PackLinear(std::span<const WeightSlice> slices, DType dtype) override {
    if (slices.size() == 1) return gemm_.Pack(slices[0].weight, slices[0].bias, dtype);
    return gemm_.Pack(GatherWeights(slices).view, GatherBiases(slices).view, dtype);
  }
  Tensor PlaceTable(const Tensor& host, Buffer& owner) override;

  void Embed(const Tensor& table, const Tensor& ids, std::int64_t first_row,
             const Tensor& out) override;
  void TakeLastTokens(const SamplerState& state, const Tensor& slots, const Tensor& ids) override;
  void GatherRows(const Tensor& x, const Tensor& rows, const Tensor& out) override;
  void Add(const Tensor& x, const Tensor& y) override;
  void RmsNorm(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) override;
  void MatMul(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    gemm_.Multiply(x, weight, out);
  }
  void Rope(const Tensor& q, const Tensor& k, const Tensor& positions,
            const Tensor& cos_sin) override;
  void StoreKv(const Tensor& k, const Tensor& v, const Tensor& kv_slots,
               const KvLayer& cache) override;
  void Attend(const Tensor& q, const KvLayer& cache, const AttentionBatch& batch, float scale,
              const Tensor& out) override {
    attention_.Run(q, cache, batch, scale, out);
  }
  void SiluAndMul(const Tensor& gate_up, const Tensor& out) override;

  std::size_t KvBlockBytes(const KvLayerSpec& spec, int block_size) const override {
    return static_cast<std::size_t>(cpu::KvLayout(spec, block_size).block_bytes);
  }
  void CopyKvBlock(const KvLayer& cache, BlockId from, BlockId to) override;

  void Sample(const Tensor& logits, const SamplingBatch& batch, const SamplerState& state,
              const SampledRows& out) override {
    sampler_.Sample(logits, batch, state, out);
  }
  void ScoreTokens(const Tensor& logits, std::int32_t num_top, const SampledRows& out) override {
    sampler_.Score(logits, num_top, out);
  }
  void ResetSlot(const SamplerState& state, SlotId slot, std::span<const TokenId> prompt,
                 std::span<const TokenId> output) override {
    cpu::RowSampler::ResetSlot(state, slot, prompt, output);
  }

  void AddRmsNorm(const Tensor& x, const Tensor& residual, const Tensor& weight, float eps,
                  const Tensor& out) override;

 private:
  // body(row) for all rows, on several threads where rows · width is large.
  template <class Body>
  void ForRows(std::int64_t rows, std::int64_t width, const Body& body) {
    const std::int64_t grain =
        std::max<std::int64_t>(1, kPieceElements / std::max<std::int64_t>(1, width));
    pool_.ParallelFor(rows, grain, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t row = begin; row < end; ++row) body(row);
    });
  }

  const CpuKernels& kernels_;
  cpu::ThreadPool pool_;
  cpu::Gemm gemm_;
  cpu::Attention attention_;
  cpu::RowSampler sampler_;
};

float* RowOf(const Tensor& x, std::int64_t row) { return x.data<float>() + row * x.row_stride(); }

Tensor CpuBackend::PlaceTable(const Tensor& host, Buffer& owner) {
  const std::size_t size = SizeOf(host.dtype());
  if (host.dense() && reinterpret_cast<std::uintptr_t>(host.raw()) % size == 0) return host;
  Result<Buffer> copy = cpu::AllocateHost(host.num_bytes());
  if (!copy.ok()) throw std::bad_alloc();
  owner = std::move(*copy);
  Tensor table = owner.View(host.dtype(), {host.rows(), host.row_size()});
  const auto row_bytes = static_cast<std::size_t>(host.row_size()) * size;
  for (std::int64_t row = 0; row < host.rows(); ++row) {
    std::memcpy(table.Rows(row, 1).raw(), host.Rows(row, 1).raw(), row_bytes);
  }
  return table;
}

void CpuBackend::Embed(const Tensor& table, const Tensor& ids, std::int64_t first_row,
                       const Tensor& out) {
  const std::int64_t width = table.row_size();
  ForRows(ids.rows(), width, [&](std::int64_t i) {
    const std::int64_t row = ids.data<std::int32_t>()[i] - first_row;
    if (row < 0 || row >= table.rows()) {
      std::fill_n(RowOf(out, i), width, 0.0F);
      return;
    }
    const char* source = static_cast<const char*>(table.raw()) +
                         static_cast<std::size_t>(row * table.row_stride()) * SizeOf(table.dtype());
    kernels_.to_float(table.dtype(), source, width, RowOf(out, i));
  });
}

void CpuBackend::TakeLastTokens(const SamplerState& state, const Tensor& slots, const Tensor& ids) {
  for (std::int64_t i = 0; i < ids.rows(); ++i) {
    const std::int32_t slot = slots.data<std::int32_t>()[i];
    if (slot >= 0) ids.data<std::int32_t>()[i] = state.last_token.data<std::int32_t>()[slot];
  }
}

void CpuBackend::GatherRows(const Tensor& x, const Tensor& rows, const Tensor& out) {
  const std::int64_t width = out.row_size();
  ForRows(rows.rows(), width, [&](std::int64_t i) {
    std::copy_n(RowOf(x, rows.data<std::int32_t>()[i]), width, RowOf(out, i));
  });
}

void CpuBackend::Add(const Tensor& x, const Tensor& y) {
  ForRows(x.rows(), x.row_size(),
          [&](std::int64_t row) { kernels_.add(RowOf(x, row), RowOf(y, row), x.row_size()); });
}

void CpuBackend::RmsNorm(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) {
  const std::int64_t width = weight.num_elements();
  ForRows(x.rows(), x.row_size(), [&](std::int64_t row) {
    for (std::int64_t i = 0; i < x.row_size(); i += width) {
      kernels_.rms_norm(RowOf(x, row) + i, weight.data<float>(), eps, width, RowOf(out, row) + i);
    }
  });
}

void CpuBackend::AddRmsNorm(const Tensor& x, const Tensor& residual, const Tensor& weight,
                            float eps, const Tensor& out) {
  const std::int64_t width = x.row_size();
  ForRows(x.rows(), 2 * width, [&](std::int64_t row) {
    kernels_.add(RowOf(residual, row), RowOf(x, row), width);
    kernels_.rms_norm(RowOf(residual, row), weight.data<float>(), eps, width, RowOf(out, row));
  });
}

void CpuBackend::Rope(const Tensor& q, const Tensor& k, const Tensor& positions,
                      const Tensor& cos_sin) {
  const std::int64_t half = cos_sin.row_size() / 2;
  const auto rotate = [&](const Tensor& x, std::int64_t row, const float* table) {
    const std::int64_t head_dim = x.dim(2);
    for (std::int64_t i = 0; i < x.row_size(); i += head_dim) {
      kernels_.rope(RowOf(x, row) + i, table, table + half, half);
    }
  };
  ForRows(q.rows(), q.row_size() + k.row_size(), [&](std::int64_t row) {
    const float* table = RowOf(cos_sin, positions.data<std::int32_t>()[row]);
    rotate(q, row, table);
    rotate(k, row, table);
  });
}

void CpuBackend::StoreKv(const Tensor& k, const Tensor& v, const Tensor& kv_slots,
                         const KvLayer& cache) {
  const cpu::KvLayout layout(cache.spec, cache.block_size);
  const std::int64_t head_dim = cache.spec.head_dim;
  const auto size = static_cast<std::int64_t>(SizeOf(cache.spec.dtype));
  ForRows(k.rows(), 2 * k.row_size(), [&](std::int64_t row) {
    const std::int32_t slot = kv_slots.data<std::int32_t>()[row];
    char* block = static_cast<char*>(cache.data) + slot / cache.block_size * layout.block_bytes;
    const std::int64_t offset = slot % cache.block_size;
    for (std::int64_t h = 0; h < cache.spec.num_kv_heads; ++h) {
      char* keys = block + h * layout.head_key_bytes + offset * size;
      kernels_.store_keys(cache.spec.dtype, RowOf(k, row) + h * head_dim, head_dim,
                          cache.block_size, keys);
      kernels_.from_float(cache.spec.dtype, RowOf(v, row) + h * head_dim, head_dim,
                          block + layout.values_offset + h * layout.head_value_bytes +
                              offset * layout.value_stride * size);
    }
  });
}

void CpuBackend::SiluAndMul(const Tensor& gate_up, const Tensor& out) {
  const std::int64_t width = out.row_size();
  ForRows(out.rows(), 2 * width, [&](std::int64_t row) {
    const float* gate = RowOf(gate_up, row);
    kernels_.silu_and_mul(gate, gate + width, width, RowOf(out, row));
  });
}

void CpuBackend::CopyKvBlock(const KvLayer& cache, BlockId from, BlockId to) {
  const std::size_t bytes = KvBlockBytes(cache.spec, cache.block_size);
  char* data = static_cast<char*>(cache.data);
  std::memcpy(data + static_cast<std::size_t>(to.value) * bytes,
              data + static_cast<std::size_t>(from.value) * bytes, bytes);
}

}  // namespace

Result<std::unique_ptr<Backend>> MakeCpuBackend(const CpuBackendOptions& options) {
  const std::vector<const CpuKernels*> usable = cpu::UsableKernels();
  const CpuKernels* chosen = usable.back();
  if (!options.instruction_set.empty()) {
    const auto found = std::find_if(usable.begin(), usable.end(), [&](const CpuKernels* kernels) {
      return options.instruction_set == kernels->name;
    });
    if (found == usable.end()) {
      return ConfigFault(
          cpu::IsInstructionSet(options.instruction_set)
              ? fmt::format("this CPU lacks the instruction set {}", options.instruction_set)
              : fmt::format("unknown instruction set \"{}\"", options.instruction_set));
    }
    chosen = *found;
  }
  if (options.num_threads < 0 || options.num_threads > kMaxThreads) {
    return ConfigFault(fmt::format("number of threads {} is not between 0 and {}",
                                   options.num_threads, kMaxThreads));
  }
  const int threads = options.num_threads > 0 ? options.num_threads : cpu::UsableCores();
  return std::unique_ptr<Backend>(std::make_unique<CpuBackend>(*chosen, threads));
}

}  // namespace quire
