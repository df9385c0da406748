// Speed of the CPU back end at the shapes of Qwen2-0.5B: GEMM in GFLOP/s and GB/s of weights,
// attention, whole steps in tokens per second, and beside them what the machine can stream.
//   backend_cpu_bench --benchmark_filter=… [--isa=avx512bf16] [--threads=2]
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "backend/cpu/cpu_backend.h"

namespace quire {
namespace {

constexpr std::int64_t kHidden = 896;
constexpr std::int64_t kInter = 4864;
constexpr std::int64_t kVocab = 151936;
constexpr int kLayers = 24;
constexpr int kHeads = 14;
constexpr int kKvHeads = 2;
constexpr int kHeadDim = 64;
constexpr std::int64_t kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;
constexpr int kBlockSize = 16;

// Owns memory for one tensor.
struct Owned {
  Owned(Backend& backend, DType dtype, std::initializer_list<std::int64_t> shape) {
    std::int64_t elements = 1;
    for (const std::int64_t side : shape) elements *= side;
    auto allocated = backend.Allocate(static_cast<std::size_t>(elements) * SizeOf(dtype));
    if (!allocated.ok()) {
      std::fprintf(stderr, "%s\n", allocated.error().message.c_str());
      std::exit(4);
    }
    buffer = std::move(*allocated);
    tensor = buffer.View(dtype, shape);
  }
  Buffer buffer;
  Tensor tensor;
};

void FillRandom(const Tensor& x, float scale) {
  std::minstd_rand generator(1);
  for (std::int64_t i = 0; i < x.num_elements(); ++i) {
    const float unit = static_cast<float>(generator()) * 0x1p-30F - 1.0F;
    x.data<float>()[i] = unit * scale;
  }
}

LinearWeight RandomWeight(Backend& backend, std::int64_t out, std::int64_t in, DType dtype) {
  // Rows repeat: only their speed matters.
  const std::int64_t distinct = out < 4096 ? out : 4096;
  Owned rows(backend, DType::kF32, {distinct, in});
  FillRandom(rows.tensor, 0.03F);
  Owned all(backend, DType::kF32, {out, in});
  for (std::int64_t r = 0; r < out; ++r) {
    std::memcpy(all.tensor.Rows(r, 1).raw(), rows.tensor.Rows(r % distinct, 1).raw(),
                static_cast<std::size_t>(in) * sizeof(float));
  }
  return backend.PackLinear(all.tensor, {}, dtype);
}

// One product, over so many copies of the weight that none stays in the caches.
void BenchGemm(benchmark::State& state, Backend& backend, DType dtype, std::int64_t in,
               std::int64_t out) {
  const std::int64_t rows = state.range(0);
  const std::int64_t bytes = in * out * static_cast<std::int64_t>(SizeOf(dtype));
  std::vector<LinearWeight> weights;
  while (static_cast<std::int64_t>(weights.size()) * bytes < (std::int64_t{256} << 20)) {
    weights.push_back(RandomWeight(backend, out, in, dtype));
  }
  Owned x(backend, DType::kF32, {rows, in});
  Owned y(backend, DType::kF32, {rows, out});
  FillRandom(x.tensor, 1.0F);
  std::size_t next = 0;
  for (auto _ : state) {
    backend.MatMul(x.tensor, weights[next], y.tensor);
    next = (next + 1) % weights.size();
  }
  const auto products = static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(
      products * 2e-9 * static_cast<double>(rows * in * out), benchmark::Counter::kIsRate);
  state.counters["GB/s"] =
      benchmark::Counter(products * 1e-9 * static_cast<double>(bytes), benchmark::Counter::kIsRate);
}

// What all threads together read from memory: the bound of decoding.
void BenchStream(benchmark::State& state, int threads) {
  constexpr std::size_t kWords = std::size_t{32} << 20;
  std::vector<std::vector<std::uint64_t>> data(static_cast<std::size_t>(threads),
                                               std::vector<std::uint64_t>(kWords, 1));
  const auto sum = [](const std::vector<std::uint64_t>& words) {
    std::uint64_t sums[8] = {};
    for (std::size_t i = 0; i < kWords; i += 64) {
      for (std::size_t j = 0; j < 64; j += 8) sums[j / 8] += words[i + j] ^ words[i + j + 4];
    }
    benchmark::DoNotOptimize(std::accumulate(sums, sums + 8, std::uint64_t{0}));
  };
  for (auto _ : state) {
    std::vector<std::thread> others;
    for (std::size_t i = 1; i < data.size(); ++i) {
      others.emplace_back([&, i] { sum(data[i]); });
    }
    sum(data[0]);
    for (std::thread& other : others) other.join();
  }
  state.counters["GB/s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * 8e-9 * static_cast<double>(kWords * data.size()),
      benchmark::Counter::kIsRate);
}

// Owns a batch of `sequences` that compute `count` tokens each of a context of `context`.
struct Batch {
  Batch(Backend& backend, int sequences, int count, int context)
      : query_start(backend, DType::kI32, {sequences + 1}),
        context_len(backend, DType::kI32, {sequences}),
        block_start(backend, DType::kI32, {sequences + 1}),
        blocks(backend, DType::kI32, {sequences * Blocks(context)}),
        positions(backend, DType::kI32, {sequences * count}),
        kv_slots(backend, DType::kI32, {sequences * count}) {
    for (int s = 0; s < sequences; ++s) {
      query_start.tensor.data<std::int32_t>()[s + 1] = (s + 1) * count;
      context_len.tensor.data<std::int32_t>()[s] = context;
      block_start.tensor.data<std::int32_t>()[s + 1] = (s + 1) * Blocks(context);
      for (int b = 0; b < Blocks(context); ++b) {
        blocks.tensor.data<std::int32_t>()[s * Blocks(context) + b] = b * sequences + s;
      }
      for (int i = 0; i < count; ++i) {
        const int position = context - count + i;
        positions.tensor.data<std::int32_t>()[s * count + i] = position;
        kv_slots.tensor.data<std::int32_t>()[s * count + i] =
            (position / kBlockSize * sequences + s) * kBlockSize + position % kBlockSize;
      }
    }
    batch = {sequences,
             sequences * count,
             count,
             context,
             /*replayed=*/false,
             query_start.tensor,
             context_len.tensor,
             block_start.tensor,
             blocks.tensor,
             positions.tensor,
             kv_slots.tensor,
             {},
             {},
             {}};
  }
  static int Blocks(int context) { return (context + kBlockSize - 1) / kBlockSize; }

  Owned query_start, context_len, block_start, blocks, positions, kv_slots;
  AttentionBatch batch;
};

// Owns one layer's cache for a Batch.
struct Cache {
  Cache(Backend& backend, DType dtype, int sequences, int context) {
    layer.spec = {kKvHeads, kHeadDim, 0, dtype};
    layer.block_size = kBlockSize;
    layer.num_blocks = std::int64_t{sequences} * Batch::Blocks(context);
    const std::size_t bytes = backend.KvBlockBytes(layer.spec, kBlockSize);
    data = std::move(*backend.Allocate(bytes * static_cast<std::size_t>(layer.num_blocks)));
    layer.data = data.data();
  }
  Buffer data;
  KvLayer layer;
};

void BenchAttention(benchmark::State& state, Backend& backend, DType dtype) {
  const auto sequences = static_cast<int>(state.range(0));
  const auto count = static_cast<int>(state.range(1));
  const auto context = static_cast<int>(state.range(2));
  const Batch batch(backend, sequences, count, context);
  const Cache cache(backend, dtype, sequences, context);
  Owned q(backend, DType::kF32, {sequences * count, kHeads, kHeadDim});
  Owned out(backend, DType::kF32, {sequences * count, kHeads, kHeadDim});
  FillRandom(q.tensor, 1.0F);
  for (auto _ : state) backend.Attend(q.tensor, cache.layer, batch.batch, 0.125F, out.tensor);
  const double pairs = static_cast<double>(sequences) * count * (context - 0.5 * (count - 1));
  state.counters["GFLOP/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * 4e-9 * pairs * kHeads * kHeadDim,
                         benchmark::Counter::kIsRate);
}

// Owns a model of Qwen2-0.5B's shape, every layer with weights of its own.
class Model {
 public:
  Model(Backend& backend, DType dtype) : backend_(backend) {
    for (int i = 0; i < kLayers; ++i) {
      layers_.push_back({RandomWeight(backend, kQkv, kHidden, dtype),
                         RandomWeight(backend, kHidden, kHeads * kHeadDim, dtype),
                         RandomWeight(backend, 2 * kInter, kHidden, dtype),
                         RandomWeight(backend, kHidden, kInter, dtype)});
    }
    head_ = RandomWeight(backend, kVocab, kHidden, dtype);
  }

  // One step: all layers, logits of each sequence's last token, greedy sampling.
  void Step(const Batch& batch, const std::vector<Cache>& caches) {
    const std::int64_t tokens = batch.batch.num_tokens;
    const std::int64_t sequences = batch.batch.num_sequences;
    Prepare(tokens, sequences);
    const Tensor hidden = hidden_->tensor.Rows(0, tokens);
    const Tensor normed = normed_->tensor.Rows(0, tokens);
    FillRandom(hidden.Rows(0, 1), 1.0F);
    backend_.RmsNorm(hidden, norm_->tensor, 1e-6F, normed);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      Layer(layers_[i], batch.batch, caches[i].layer, hidden, normed);
    }
    const Tensor last = last_->tensor.Rows(0, sequences);
    std::vector<std::int32_t> rows(static_cast<std::size_t>(sequences));
    for (std::int64_t i = 0; i < sequences; ++i) {
      rows[static_cast<std::size_t>(i)] =
          static_cast<std::int32_t>((i + 1) * tokens / sequences - 1);
    }
    backend_.GatherRows(normed, {rows.data(), DType::kI32, {sequences}}, last);
    const Tensor logits = logits_->tensor.Rows(0, sequences);
    backend_.MatMul(last, head_, logits);
    std::vector<SamplingRow> how(rows.size());
    for (SamplingRow& row : how) row.temperature = 0.0F;
    std::vector<TokenId> sampled(rows.size());
    std::vector<std::uint8_t> faults(rows.size());
    backend_.Sample(logits, {how, {}, {}, {}}, {}, {sampled, faults, {}, {}, {}, 0});
    benchmark::DoNotOptimize(sampled.data());
  }

 private:
  struct LayerWeights {
    LinearWeight qkv, o, gate_up, down;
  };

  void Prepare(std::int64_t tokens, std::int64_t sequences) {
    if (hidden_ != nullptr && tokens <= hidden_->tensor.rows() &&
        sequences <= last_->tensor.rows()) {
      return;
    }
    const auto make = [&](std::int64_t rows, std::int64_t columns) {
      return std::make_unique<Owned>(backend_, DType::kF32,
                                     std::initializer_list<std::int64_t>{rows, columns});
    };
    hidden_ = make(tokens, kHidden);
    normed_ = make(tokens, kHidden);
    qkv_ = make(tokens, kQkv);
    attended_ = make(tokens, kHeads * kHeadDim);
    gate_up_ = make(tokens, 2 * kInter);
    activated_ = make(tokens, kInter);
    last_ = make(sequences, kHidden);
    logits_ = make(sequences, kVocab);
    cos_sin_ = make(8192, kHeadDim);
    norm_ = std::make_unique<Owned>(backend_, DType::kF32,
                                    std::initializer_list<std::int64_t>{kHidden});
    FillRandom(norm_->tensor, 1.0F);
    FillRandom(cos_sin_->tensor, 1.0F);
    FillRandom(hidden_->tensor, 1.0F);
  }

  void Layer(const LayerWeights& weights, const AttentionBatch& batch, const KvLayer& cache,
             const Tensor& hidden, const Tensor& normed) {
    const std::int64_t tokens = batch.num_tokens;
    const Tensor qkv = qkv_->tensor.Rows(0, tokens);
    const Tensor attended = attended_->tensor.Rows(0, tokens);
    const Tensor gate_up = gate_up_->tensor.Rows(0, tokens);
    const Tensor activated = activated_->tensor.Rows(0, tokens);
    backend_.MatMul(normed, weights.qkv, qkv);
    const Tensor q = qkv.Columns(0, kHeads * kHeadDim).SplitColumns(kHeads, kHeadDim);
    const Tensor k =
        qkv.Columns(kHeads * kHeadDim, kKvHeads * kHeadDim).SplitColumns(kKvHeads, kHeadDim);
    const Tensor v = qkv.Columns((kHeads + kKvHeads) * kHeadDim, kKvHeads * kHeadDim)
                         .SplitColumns(kKvHeads, kHeadDim);
    backend_.Rope(q, k, batch.positions, cos_sin_->tensor);
    backend_.StoreKv(k, v, batch.kv_slots, cache);
    backend_.Attend(q, cache, batch, 0.125F, attended.SplitColumns(kHeads, kHeadDim));
    backend_.MatMul(attended, weights.o, normed);
    backend_.AddRmsNorm(normed, hidden, norm_->tensor, 1e-6F, normed);
    backend_.MatMul(normed, weights.gate_up, gate_up);
    backend_.SiluAndMul(gate_up, activated);
    backend_.MatMul(activated, weights.down, normed);
    backend_.AddRmsNorm(normed, hidden, norm_->tensor, 1e-6F, normed);
  }

  Backend& backend_;
  std::vector<LayerWeights> layers_;
  LinearWeight head_;
  std::unique_ptr<Owned> hidden_, normed_, qkv_, attended_, gate_up_, activated_, last_, logits_,
      cos_sin_, norm_;
};

void BenchStep(benchmark::State& state, Backend& backend, std::unique_ptr<Model>& model,
               DType dtype) {
  const auto sequences = static_cast<int>(state.range(0));
  const auto count = static_cast<int>(state.range(1));
  const auto context = static_cast<int>(state.range(2));
  if (model == nullptr) model = std::make_unique<Model>(backend, dtype);
  const Batch batch(backend, sequences, count, context);
  std::vector<Cache> caches;
  for (int i = 0; i < kLayers; ++i) caches.emplace_back(backend, dtype, sequences, context);
  model->Step(batch, caches);
  for (auto _ : state) model->Step(batch, caches);
  state.counters["tok/s"] = benchmark::Counter(
      static_cast<double>(state.iterations() * sequences * count), benchmark::Counter::kIsRate);
}

void RegisterAll(Backend& backend, int threads, std::unique_ptr<Model>& model) {
  benchmark::RegisterBenchmark("stream", [threads](benchmark::State& s) {
    BenchStream(s, threads);
  })->UseRealTime();
  struct Shape {
    const char* name;
    std::int64_t in, out;
  };
  for (const DType dtype : {DType::kBF16, DType::kF32, DType::kF16}) {
    for (const Shape& shape : {Shape{"qkv", kHidden, kQkv}, Shape{"gate_up", kHidden, 2 * kInter},
                               Shape{"down", kInter, kHidden}, Shape{"head", kHidden, kVocab}}) {
      auto* bench = benchmark::RegisterBenchmark(
          (std::string("gemm/") + Name(dtype) + "/" + shape.name).c_str(),
          [&backend, dtype, shape](benchmark::State& s) {
            BenchGemm(s, backend, dtype, shape.in, shape.out);
          });
      for (const std::int64_t rows : {1, 4, 16, 64, 512}) {
        if (shape.out != kVocab || rows <= 16) bench->Arg(rows);
      }
      bench->UseRealTime();
    }
    benchmark::RegisterBenchmark(
        (std::string("attention/") + Name(dtype)).c_str(),
        [&backend, dtype](benchmark::State& s) { BenchAttention(s, backend, dtype); })
        ->Args({1, 512, 512})
        ->Args({1, 1, 512})
        ->Args({1, 1, 4096})
        ->Args({16, 1, 512})
        ->UseRealTime();
  }
  benchmark::RegisterBenchmark(
      "step/bfloat16",
      [&backend, &model](benchmark::State& s) { BenchStep(s, backend, model, DType::kBF16); })
      ->Args({1, 512, 512})
      ->Args({1, 1, 128})
      ->Args({16, 1, 128})
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

int Main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  CpuBackendOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--isa=")) {
      options.instruction_set = argument.substr(6);
    } else if (argument.starts_with("--threads=")) {
      options.num_threads = std::atoi(argv[i] + 10);
    } else {
      std::fprintf(stderr, "unknown argument %s\n", argv[i]);
      return 2;
    }
  }
  const auto backend = MakeCpuBackend(options);
  if (!backend.ok()) {
    std::fprintf(stderr, "%s\n", backend.error().message.c_str());
    return 2;
  }
  std::printf("%s\n", (*backend)->Describe().c_str());
  const int threads = options.num_threads > 0
                          ? options.num_threads
                          : static_cast<int>(std::thread::hardware_concurrency());
  std::unique_ptr<Model> model;
  RegisterAll(**backend, threads, model);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) { return quire::Main(argc, argv); }
