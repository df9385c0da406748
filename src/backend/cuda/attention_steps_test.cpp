// Whole steps of paged attention, planned and replayed, against the CPU back end, which computes
// them in float32. (attention_test.cpp tests the kernels one by one.)
#include <algorithm>
#include <numeric>
#include <optional>
#include <random>

#include "backend/cuda/cuda_test_util.h"

namespace quire {
namespace {

using cuda_test::Allocated;
using cuda_test::DeviceInts;
using cuda_test::DeviceMatrix;
using cuda_test::Matrix;
using cuda_test::Noise;
using cuda_test::Poison;
using cuda_test::Reference;
using cuda_test::Rounded;
using cuda_test::SameBits;

constexpr DType kF32 = DType::kF32;
constexpr DType kBF16 = DType::kBF16;
constexpr DType kF16 = DType::kF16;

struct SequenceShape {
  int context = 0;  // tokens, with this step's
  int count = 0;    // of this step
};
using Step = std::vector<SequenceShape>;

struct ModelShape {
  int num_heads = 1;
  int num_kv_heads = 1;
  int head_dim = 64;
  int window = 0;
  int block_size = 16;
  DType dtype = kBF16;
};

std::string Describe(const ModelShape& m) {
  return std::to_string(m.num_heads) + " / " + std::to_string(m.num_kv_heads) + " heads of " +
         std::to_string(m.head_dim) + " " + Name(m.dtype) + ", window " + std::to_string(m.window) +
         ", blocks of " + std::to_string(m.block_size);
}

// A step's id tables on the host.
struct Tables {
  std::vector<std::int32_t> query_start{0}, context_len, block_start{0}, blocks;

  AttentionBatch Geometry() const {
    AttentionBatch batch;
    batch.num_sequences = static_cast<int>(context_len.size());
    batch.num_tokens = query_start.back();
    for (std::size_t s = 0; s < context_len.size(); ++s) {
      batch.max_query_len = std::max(batch.max_query_len, query_start[s + 1] - query_start[s]);
      batch.max_context_len = std::max(batch.max_context_len, context_len[s]);
    }
    return batch;
  }
};

// Owns some sequences with a full cache on both back ends, and computes some of their tokens.
class Cached {
 public:
  static constexpr int kMaxSequences = 512;
  static constexpr int kMaxTokens = 4200;

  Cached(Backend& backend, const ModelShape& model, const std::vector<int>& contexts)
      : backend_(backend),
        model_(model),
        query_start_(backend, kMaxSequences + 1),
        context_len_(backend, kMaxSequences),
        block_start_(backend, kMaxSequences + 1),
        block_ids_(backend, 1 << 17),
        q_(backend, kMaxTokens, (model.num_heads + 2 * model.num_kv_heads) * model.head_dim,
           model.dtype),
        out_(backend, kMaxTokens, model.num_heads * model.head_dim, model.dtype) {
    PlaceBlocks(contexts);
    cpu_ = MakeLayer(Reference(), cpu_data_);
    cuda_ = MakeLayer(backend, cuda_data_);
    std::memset(cpu_data_.data(), 0xFF, cpu_data_.bytes());
    Poison(backend, cuda_data_);
    for (std::size_t s = 0; s < contexts.size(); ++s) Store(s, contexts[s]);
    const Status status = backend.PrepareSteps({kMaxSequences, kMaxTokens}, {&cuda_, 1});
    EXPECT_TRUE(status.ok());
  }

  // On the device, with padding sequences behind the others; a step of a key is replayed.
  Matrix Attend(const Step& step, int padding = 0, std::optional<std::uint64_t> key = {}) {
    Tables tables = TablesOf(step, true);
    for (int i = 0; i < padding; ++i) {
      tables.query_start.push_back(tables.query_start.back() + 1);
      tables.context_len.push_back(0);
      tables.block_start.push_back(tables.block_start.back());
    }
    AttentionBatch batch = tables.Geometry();
    batch.replayed = key.has_value();
    batch.query_start = query_start_.Set(tables.query_start);
    batch.context_len = context_len_.Set(tables.context_len);
    batch.block_start = block_start_.Set(tables.block_start);
    batch.blocks = block_ids_.Set(tables.blocks);
    batch.host_query_start = tables.query_start;
    batch.host_context_len = tables.context_len;
    batch.host_block_start = tables.block_start;
    const Tensor q = q_.tensor().Rows(0, batch.num_tokens);
    UploadQueries(step, q);
    out_.Clear();
    const Tensor out = out_.tensor(model_.num_heads).Rows(0, batch.num_tokens);
    const auto launch = [&] {
      backend_.Attend(q.Columns(0, width()).SplitColumns(model_.num_heads, model_.head_dim), cuda_,
                      batch, scale(), out);
    };
    backend_.BeginStep(batch, {&cuda_, 1});
    if (key.has_value()) {
      backend_.Replay(*key, launch);
    } else {
      launch();
    }
    const Matrix all = out_.GetRows(batch.num_tokens + 1);
    EXPECT_TRUE(std::isnan(all.at(batch.num_tokens, 0))) << "written behind the last row";
    return all;
  }

  Matrix Wanted(const Step& step) {
    Tables tables = TablesOf(step, false);
    AttentionBatch batch = tables.Geometry();
    batch.query_start = cpu_test::Ints(tables.query_start);
    batch.context_len = cpu_test::Ints(tables.context_len);
    batch.block_start = cpu_test::Ints(tables.block_start);
    batch.blocks = cpu_test::Ints(tables.blocks);
    Matrix q = Queries(step);
    Matrix out(batch.num_tokens, width());
    Reference().Attend(q.tensor(model_.num_heads), cpu_, batch, scale(),
                       out.tensor(model_.num_heads));
    return out;
  }

  void Check(const Step& step, int padding = 0, std::optional<std::uint64_t> key = {}) {
    const Matrix got = Attend(step, padding, key);
    const Matrix want = Wanted(step);
    const double limit = model_.dtype == kF32 ? 1e-5 : model_.dtype == kBF16 ? 6e-3 : 1.2e-3;
    double error = 0, norm = 0;
    int bad = 0;
    for (std::int64_t r = 0; r < want.rows(); ++r) {
      for (int h = 0; h < model_.num_heads; ++h) {
        double head_error = 0, head_norm = 0;
        for (std::int64_t c = h * model_.head_dim; c < (h + 1) * model_.head_dim; ++c) {
          head_error += std::pow(double{got.at(r, c)} - double{want.at(r, c)}, 2);
          head_norm += std::pow(double{want.at(r, c)}, 2);
        }
        error += head_error;
        norm += head_norm;
        if (std::sqrt(head_error) <= 4 * limit * std::sqrt(head_norm)) continue;  // no NaN
        if (++bad <= 3)
          ADD_FAILURE() << "row " << r << " head " << h << ": relative error "
                        << std::sqrt(head_error / head_norm) << " > " << 4 * limit;
      }
    }
    EXPECT_EQ(bad, 0) << "rows of heads of " << want.rows() * model_.num_heads;
    EXPECT_LE(std::sqrt(error / norm), limit);
    for (std::int64_t r = want.rows(); r < want.rows() + padding; ++r) {
      for (std::int64_t c = 0; c < width(); ++c) ASSERT_EQ(got.at(r, c), 0.0F) << "padding " << r;
    }
  }

  void CopyBlock(std::size_t sequence, std::size_t block, std::int32_t to) {
    backend_.CopyKvBlock(cuda_, BlockId{blocks_[sequence][block]}, BlockId{to});
    blocks_[sequence][block] = to;
  }
  std::int32_t spare_block() const { return spare_; }

 private:
  // A matrix that is as large as the largest step.
  class Rows : public DeviceMatrix {
   public:
    Rows(Backend& backend, std::int64_t rows, std::int64_t columns, DType dtype)
        : DeviceMatrix(backend, rows, columns, dtype),
          backend_(backend),
          nan_(static_cast<std::size_t>(rows * columns) * SizeOf(dtype), char(-1)) {}
    void Clear() { backend_.CopyToDevice(nan_.data(), tensor()); }
    Matrix GetRows(std::int64_t count) const {
      const Tensor part = tensor().Rows(0, count);
      std::vector<char> bytes(part.num_bytes());
      backend_.CopyToHost(part, bytes.data());
      Matrix values(count, part.row_size());
      for (std::int64_t i = 0; i < part.num_elements(); ++i) {
        values.at(i / part.row_size(), i % part.row_size()) =
            cuda_test::Decoded(bytes, i, part.dtype());
      }
      return values;
    }

   private:
    Backend& backend_;
    std::vector<char> nan_;
  };

  int width() const { return model_.num_heads * model_.head_dim; }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(model_.head_dim)); }

  // Ids in no order.
  void PlaceBlocks(const std::vector<int>& contexts) {
    num_blocks_ = 3;
    for (const int context : contexts)
      num_blocks_ += (context + model_.block_size - 1) / model_.block_size;
    std::vector<std::int32_t> ids(static_cast<std::size_t>(num_blocks_));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(7));
    std::size_t next = 0;
    for (const int context : contexts) {
      blocks_.emplace_back();
      for (int b = 0; b * model_.block_size < context; ++b) blocks_.back().push_back(ids[next++]);
    }
    spare_ = ids[next];
  }

  KvLayer MakeLayer(Backend& backend, Buffer& data) const {
    KvLayer layer;
    layer.spec = {model_.num_kv_heads, model_.head_dim, model_.window, model_.dtype,
                  model_.num_heads};
    layer.block_size = model_.block_size;
    layer.num_blocks = num_blocks_;
    const std::size_t bytes = backend.KvBlockBytes(layer.spec, layer.block_size);
    data = Allocated(backend, bytes * static_cast<std::size_t>(num_blocks_));
    layer.data = data.data();
    return layer;
  }

  void Store(std::size_t s, int context) {
    const int kv_width = model_.num_kv_heads * model_.head_dim;
    Matrix k = cuda_test::RandomAs(model_.dtype, context, kv_width, 10 * s + 1);
    Matrix v = cuda_test::RandomAs(model_.dtype, context, kv_width, 10 * s + 2);
    std::vector<std::int32_t> slots;
    for (int t = 0; t < context; ++t) {
      const std::int32_t block = blocks_[s][static_cast<std::size_t>(t / model_.block_size)];
      slots.push_back(block * model_.block_size + t % model_.block_size);
    }
    Reference().StoreKv(k.tensor(model_.num_kv_heads), v.tensor(model_.num_kv_heads),
                        cpu_test::Ints(slots), cpu_);
    const DeviceMatrix device_k(backend_, k, model_.dtype);
    const DeviceMatrix device_v(backend_, v, model_.dtype);
    const DeviceInts device_slots(backend_, slots);
    backend_.StoreKv(device_k.tensor(model_.num_kv_heads), device_v.tensor(model_.num_kv_heads),
                     device_slots.tensor(), cuda_);
    backend_.Synchronize();
  }

  // What lies before all windows of the step is gone from the device's tables.
  Tables TablesOf(const Step& step, bool forget) const {
    Tables tables;
    for (std::size_t s = 0; s < step.size(); ++s) {
      const auto [context, count] = step[s];
      tables.query_start.push_back(tables.query_start.back() + count);
      tables.context_len.push_back(context);
      const int first = model_.window > 0 && forget ? context - count + 1 - model_.window : 0;
      for (int b = 0; b * model_.block_size < context; ++b) {
        const bool gone = (b + 1) * model_.block_size <= first;
        tables.blocks.push_back(gone ? -1000000 : blocks_[s][static_cast<std::size_t>(b)]);
      }
      tables.block_start.push_back(static_cast<std::int32_t>(tables.blocks.size()));
    }
    return tables;
  }

  // A function of sequence and position.
  Matrix Queries(const Step& step) const {
    int rows = 0;
    for (const SequenceShape& s : step) rows += s.count;
    Matrix q(rows, width());
    std::int64_t row = 0;
    for (std::size_t s = 0; s < step.size(); ++s) {
      for (int i = step[s].context - step[s].count; i < step[s].context; ++i, ++row) {
        const auto first = static_cast<std::uint64_t>(i) * static_cast<std::uint64_t>(width());
        for (int c = 0; c < width(); ++c) {
          q.at(row, c) =
              Rounded(Noise(10 * s + 3, first + static_cast<std::uint64_t>(c)), model_.dtype);
        }
      }
    }
    return q;
  }
  // q is cut out of wider rows, which hold nothing else.
  void UploadQueries(const Step& step, const Tensor& rows) {
    const Matrix q = Queries(step);
    Matrix wide(rows.rows(), rows.row_size());
    for (std::int64_t r = 0; r < rows.rows(); ++r) {
      for (int c = 0; c < width(); ++c) wide.at(r, c) = r < q.rows() ? q.at(r, c) : 0.0F;
    }
    const std::vector<char> bytes = cpu_test::Encoded(wide, model_.dtype);
    backend_.CopyToDevice(bytes.data(), rows);
  }

  Backend& backend_;
  ModelShape model_;
  KvLayer cpu_, cuda_;
  Buffer cpu_data_, cuda_data_;
  std::int64_t num_blocks_ = 0;
  std::vector<std::vector<std::int32_t>> blocks_;  // of each sequence
  std::int32_t spare_ = 0;
  DeviceInts query_start_, context_len_, block_start_, block_ids_;
  Rows q_, out_;
};

// Whether kernels for Hopper may be taken.
class CudaAttentionTest : public testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<Backend> backend_ = cuda_test::MakeCuda(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Cuda, CudaAttentionTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "hopper" : "portable"; });

TEST_P(CudaAttentionTest, SmallShapes) {
  const ModelShape models[] = {
      {4, 4, 64, 0, 16, kBF16},  {14, 2, 64, 0, 16, kF16},  {8, 2, 128, 0, 16, kBF16},
      {7, 1, 80, 20, 16, kBF16}, {8, 1, 256, 0, 16, kBF16}, {6, 6, 80, 0, 16, kF32},
      {7, 1, 128, 20, 32, kF32},
  };
  for (const ModelShape& model : models) {
    SCOPED_TRACE(Describe(model));
    Cached cached(*backend_, model, {1, 70, 33, 150});
    // Prefill, chunks over a cached prefix and decodes in one step.
    cached.Check({{1, 1}, {70, 70}, {33, 1}, {150, 5}});
    cached.Check({{1, 1}, {69, 1}, {33, 1}, {149, 1}}, 3);
  }
}

TEST_P(CudaAttentionTest, HeadsAndTypes) {
  for (const DType dtype : {kF32, kBF16, kF16}) {
    for (const int head_dim : {64, 128, 256, 80}) {
      for (const auto& [heads, kv_heads] : {std::pair{3, 3}, {8, 2}, {14, 2}, {8, 1}}) {
        for (const int window : {0, 100}) {
          const ModelShape model{heads, kv_heads, head_dim, window, 16, dtype};
          SCOPED_TRACE(Describe(model));
          Cached cached(*backend_, model, {300, 1, 257, 523, 129, 17});
          cached.Check({{300, 300}, {1, 1}, {257, 17}, {523, 223}, {129, 1}, {17, 2}});
          cached.Check({{299, 1}, {1, 1}, {256, 1}, {512, 1}, {128, 1}, {16, 1}}, 2);
          cached.Check({{1, 1}});
        }
      }
    }
  }
}

TEST_P(CudaAttentionTest, LongContexts) {
  const ModelShape models[] = {{28, 4, 128, 0, 16, kBF16},   {14, 2, 64, 0, 16, kF16},
                               {8, 1, 256, 0, 32, kBF16},    {8, 8, 128, 1000, 16, kBF16},
                               {8, 8, 128, 0, 16, kF16},     {4, 1, 80, 0, 16, kBF16},
                               {8, 2, 128, 2048, 64, kBF16}, {4, 2, 64, 700, 16, kF32}};
  for (const ModelShape& model : models) {
    SCOPED_TRACE(Describe(model));
    Cached cached(*backend_, model, {4096, 1023, 2049, 3000});
    cached.Check({{4096, 1}, {1023, 1}, {2049, 1}, {3000, 1}});
    cached.Check({{4096, 1}});
    cached.Check({{4095, 257}, {1023, 1023}, {2049, 3}, {3000, 1}});
    cached.Check({{4096, 1023}});
    cached.Check({{4096, 1}, {1, 1}, {17, 1}, {2999, 600}});
  }
}

TEST_P(CudaAttentionTest, ManySequences) {
  for (const ModelShape& model :
       {ModelShape{28, 4, 128, 0, 16, kBF16}, {14, 2, 64, 0, 16, kF16}, {4, 4, 80, 0, 16, kF32}}) {
    SCOPED_TRACE(Describe(model));
    std::vector<int> contexts;
    for (int i = 0; i < 300; ++i) contexts.push_back(i % 50 == 0 ? 1500 : 1 + i * 37 % 400);
    Cached cached(*backend_, model, contexts);
    Step decode, mixed;
    for (const int context : contexts) {
      decode.push_back({context, 1});
      mixed.push_back({context, mixed.size() % 30 == 7 ? std::min(context, 100) : 1});
    }
    cached.Check(decode, 4);
    cached.Check(mixed);
    decode.resize(17);
    cached.Check(decode);
  }
}

TEST_P(CudaAttentionTest, AReplayedStepServesOtherLengths) {
  const ModelShape models[] = {{28, 4, 128, 0, 16, kBF16}, {14, 2, 64, 200, 16, kF16},
                               {8, 1, 256, 0, 16, kBF16},  {4, 4, 64, 0, 16, kBF16},
                               {7, 1, 80, 0, 16, kBF16},   {4, 2, 128, 0, 16, kF32}};
  std::uint64_t key = 1;
  for (const ModelShape& model : models) {
    SCOPED_TRACE(Describe(model));
    Cached cached(*backend_, model, {4000, 900, 64, 2000, 1500});
    const Step steps[] = {{{1, 1}, {17, 1}, {64, 1}, {2, 1}, {16, 1}},
                          {{33, 1}, {1, 1}, {2, 1}, {100, 1}, {700, 1}},
                          {{4000, 1}, {900, 1}, {64, 1}, {2000, 1}, {1500, 1}},
                          {{1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
                          {{3999, 1}, {128, 1}, {3, 1}}};
    for (const Step& step : steps) {
      const int padded = backend_->ReplayBucket(5);
      cached.Check(step, padded - static_cast<int>(step.size()), key);
    }
    ++key;
    for (const int context : {1, 40, 4000, 17}) cached.Check({{context, 1}}, 0, key);
    ++key;
    cached.Check({{900, 900}, {33, 1}});  // and none of it is in the way of others
  }
}

TEST_P(CudaAttentionTest, RowsOfFloat32DoNotDependOnTheBatch) {
  for (const int window : {0, 90}) {
    for (const int head_dim : {64, 80, 128}) {
      Cached cached(*backend_, {14, 2, head_dim, window, 16, kF32}, {600, 40, 600});
      const Matrix whole = cached.Attend({{600, 600}});
      const Matrix mixed = cached.Attend({{600, 300}, {40, 40}, {600, 1}});
      for (std::int64_t i = 0; i < 300; ++i) {
        ASSERT_TRUE(SameBits(whole, 300 + i, mixed, i)) << head_dim << " row " << i;
      }
      for (const int context : {1, 7, 64, 128, 300, 511, 512, 513, 599, 600}) {
        const Matrix decode = cached.Attend({{context, 1}});
        ASSERT_TRUE(SameBits(decode, 0, whole, context - 1)) << head_dim << " row " << context;
      }
    }
  }
}

TEST_P(CudaAttentionTest, CopiedBlocksHoldTheSame) {
  for (const DType dtype : {kF32, kBF16}) {
    Cached cached(*backend_, {4, 2, 64, 0, 16, dtype}, {40});
    const Matrix before = cached.Attend({{40, 40}});
    cached.CopyBlock(0, 1, cached.spare_block());
    const Matrix after = cached.Attend({{40, 40}});
    for (std::int64_t i = 0; i < 40; ++i) EXPECT_TRUE(SameBits(before, i, after, i));
  }
}

TEST_P(CudaAttentionTest, UnsupportedShapesAreErrors) {
  KvLayer layer;
  layer.spec = {1, 64, 0, kBF16, 1};
  layer.block_size = 24;
  EXPECT_EQ(backend_->PrepareSteps({8, 64}, {&layer, 1}).error().kind, ErrorKind::kConfig);
  layer.block_size = 16;
  layer.spec.head_dim = 4096;
  EXPECT_EQ(backend_->PrepareSteps({8, 64}, {&layer, 1}).error().kind, ErrorKind::kModel);
}

}  // namespace
}  // namespace quire
