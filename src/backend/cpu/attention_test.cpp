// Paged attention on every instruction set of this CPU against plain double-precision softmax.
#include <algorithm>
#include <numeric>

#include "backend/cpu/cpu_test_util.h"

namespace quire {
namespace {

using cpu_test::Ints;
using cpu_test::Matrix;
using cpu_test::Rounded;
using cpu_test::SameBits;

struct SequenceShape {
  int context = 0;  // tokens, with this step's
  int count = 0;    // of this step
};

struct ModelShape {
  int num_heads = 1;
  int num_kv_heads = 1;
  int head_dim = 8;
  int window = 0;
  int block_size = 16;
  DType dtype = DType::kF32;
};

// Owns some sequences with a full cache, and the batch that computes their last tokens.
class Cached {
 public:
  Cached(Backend& backend, const ModelShape& model, const std::vector<int>& contexts)
      : backend_(backend), model_(model) {
    layer_.spec = {model.num_kv_heads, model.head_dim, model.window, model.dtype};
    layer_.block_size = model.block_size;
    for (std::size_t s = 0; s < contexts.size(); ++s) {
      const auto seed = static_cast<std::uint32_t>(10 * s);
      k_.push_back(Matrix::Random(contexts[s], model.num_kv_heads * model.head_dim, seed + 1));
      v_.push_back(Matrix::Random(contexts[s], model.num_kv_heads * model.head_dim, seed + 2));
      q_.push_back(Matrix::Random(contexts[s], model.num_heads * model.head_dim, seed + 3));
      const int blocks = (contexts[s] + model.block_size - 1) / model.block_size;
      max_blocks_ = std::max(max_blocks_, blocks);
      layer_.num_blocks += blocks + 1;
    }
    const std::size_t bytes = backend.KvBlockBytes(layer_.spec, layer_.block_size);
    data_ = std::move(*backend.Allocate(bytes * static_cast<std::size_t>(layer_.num_blocks)));
    std::memset(data_.data(), 0xFF, data_.bytes());  // NaN wherever nothing is stored
    layer_.data = data_.data();
    PlaceBlocks(contexts);
    Store();
  }

  Matrix Attend(const std::vector<SequenceShape>& shapes) {
    std::vector<std::int32_t> query_start{0};
    std::vector<std::int32_t> context_len;
    AttentionBatch batch;
    for (const SequenceShape& shape : shapes) {
      query_start.push_back(query_start.back() + shape.count);
      context_len.push_back(shape.context);
      batch.max_query_len = std::max(batch.max_query_len, shape.count);
      batch.max_context_len = std::max(batch.max_context_len, shape.context);
    }
    const int width = model_.num_heads * model_.head_dim;
    Matrix q(query_start.back(), width, model_.head_dim);
    for (std::size_t s = 0; s < shapes.size(); ++s) {
      for (int i = 0; i < shapes[s].count; ++i) {
        for (int c = 0; c < width; ++c) {
          q.at(query_start[s] + i, c) = q_[s].at(shapes[s].context - shapes[s].count + i, c);
        }
      }
    }
    batch.num_sequences = static_cast<int>(shapes.size());
    batch.num_tokens = query_start.back();
    batch.query_start = Ints(query_start);
    batch.context_len = Ints(context_len);
    std::vector<std::int32_t> block_start;
    for (std::size_t s = 0; s <= shapes.size(); ++s) {
      block_start.push_back(static_cast<std::int32_t>(s) * max_blocks_);
    }
    batch.block_start = Ints(block_start);
    batch.blocks = Ints(blocks_);
    Matrix out(q.rows(), width);
    backend_.Attend(q.tensor(model_.num_heads), layer_, batch, scale(),
                    out.tensor(model_.num_heads));
    return out;
  }

  // The attention of one head of one token, in double precision.
  std::vector<double> Reference(std::size_t s, int position, int head) const {
    const int kv_head = head / (model_.num_heads / model_.num_kv_heads);
    const int first = model_.window > 0 ? std::max(0, position - model_.window + 1) : 0;
    std::vector<double> weights;
    for (int t = first; t <= position; ++t) {
      double score = 0;
      for (int d = 0; d < model_.head_dim; ++d) {
        score += double{q_[s].at(position, head * model_.head_dim + d)} *
                 double{Rounded(k_[s].at(t, kv_head * model_.head_dim + d), model_.dtype)};
      }
      weights.push_back(score * double{scale()});
    }
    const double max = *std::max_element(weights.begin(), weights.end());
    for (double& w : weights) w = std::exp(w - max);
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<double> out(static_cast<std::size_t>(model_.head_dim), 0.0);
    for (int t = first; t <= position; ++t) {
      for (int d = 0; d < model_.head_dim; ++d) {
        out[static_cast<std::size_t>(d)] +=
            weights[static_cast<std::size_t>(t - first)] / sum *
            double{Rounded(v_[s].at(t, kv_head * model_.head_dim + d), model_.dtype)};
      }
    }
    return out;
  }

  void Check(const std::vector<SequenceShape>& shapes) {
    const Matrix out = Attend(shapes);
    std::int64_t row = 0;
    for (std::size_t s = 0; s < shapes.size(); ++s) {
      for (int i = 0; i < shapes[s].count; ++i, ++row) {
        for (int h = 0; h < model_.num_heads; ++h) {
          const std::vector<double> want = Reference(s, shapes[s].context - shapes[s].count + i, h);
          for (int d = 0; d < model_.head_dim; ++d) {
            ASSERT_NEAR(out.at(row, h * model_.head_dim + d), want[static_cast<std::size_t>(d)],
                        2e-5)
                << "sequence " << s << " token " << i << " head " << h;
          }
        }
      }
    }
  }

  const KvLayer& layer() const { return layer_; }
  std::vector<std::int32_t>& blocks() { return blocks_; }

 private:
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(model_.head_dim)); }

  // Ids in no order; −1 where a sequence has no block, which a kernel must not follow.
  void PlaceBlocks(const std::vector<int>& contexts) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(layer_.num_blocks));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(7));
    blocks_.assign(contexts.size() * static_cast<std::size_t>(max_blocks_), -1);
    std::size_t next = 0;
    for (std::size_t s = 0; s < contexts.size(); ++s) {
      for (int b = 0; b * model_.block_size < contexts[s]; ++b) {
        blocks_[s * static_cast<std::size_t>(max_blocks_) + static_cast<std::size_t>(b)] =
            ids[next++];
      }
    }
  }

  void Store() {
    for (std::size_t s = 0; s < k_.size(); ++s) {
      std::vector<std::int32_t> slots;
      for (int t = 0; t < k_[s].rows(); ++t) {
        const std::size_t block = s * static_cast<std::size_t>(max_blocks_) +
                                  static_cast<std::size_t>(t / model_.block_size);
        slots.push_back(blocks_[block] * model_.block_size + t % model_.block_size);
      }
      backend_.StoreKv(k_[s].tensor(model_.num_kv_heads), v_[s].tensor(model_.num_kv_heads),
                       Ints(slots), layer_);
    }
  }

  Backend& backend_;
  ModelShape model_;
  KvLayer layer_;
  Buffer data_;
  std::vector<Matrix> k_, v_, q_;
  std::vector<std::int32_t> blocks_;
  int max_blocks_ = 0;
};

class AttentionTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> backend_ = cpu_test::Make(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Cpu, AttentionTest, testing::ValuesIn(cpu_test::InstructionSets()),
                         [](const auto& test) { return test.param; });

TEST_P(AttentionTest, MatchesTheReference) {
  const ModelShape models[] = {
      {4, 4, 8, 0, 16, DType::kF32},    {4, 2, 16, 0, 32, DType::kF32},
      {14, 2, 64, 0, 16, DType::kBF16}, {8, 2, 128, 0, 16, DType::kF16},
      {6, 6, 80, 20, 16, DType::kF32},  {7, 1, 24, 100, 48, DType::kBF16},
      {70, 1, 12, 0, 16, DType::kF32},
  };
  for (const ModelShape& model : models) {
    SCOPED_TRACE(std::to_string(model.num_heads) + " heads of " + std::to_string(model.head_dim));
    Cached cached(*backend_, model, {1, 70, 33, 150});
    // Prefill, chunks over a cached prefix and decodes in one step.
    cached.Check({{1, 1}, {70, 70}, {33, 1}, {150, 5}});
  }
}

TEST_P(AttentionTest, LongContexts) {
  for (const int window : {0, 700}) {
    Cached cached(*backend_, {4, 2, 32, window, 16, DType::kF32}, {1100, 513, 1024});
    cached.Check({{1100, 1}, {513, 1}, {1024, 3}});
  }
}

TEST_P(AttentionTest, RowsDoNotDependOnTheBatch) {
  for (const DType dtype : cpu_test::kFloatTypes) {
    for (const int window : {0, 90}) {
      Cached cached(*backend_, {14, 2, 16, window, 16, dtype}, {600, 40, 600});
      const Matrix whole = cached.Attend({{600, 600}});
      const Matrix mixed = cached.Attend({{600, 300}, {40, 40}, {600, 1}});
      for (std::int64_t i = 0; i < 300; ++i) {
        ASSERT_TRUE(SameBits(whole, 300 + i, mixed, i)) << i;
      }
      const std::unique_ptr<Backend> alone = cpu_test::Make(GetParam(), 1);
      Cached single(*alone, {14, 2, 16, window, 16, dtype}, {600});
      for (const int context : {1, 7, 64, 128, 300, 511, 512, 513, 599, 600}) {
        const Matrix decode = cached.Attend({{context, 1}});
        ASSERT_TRUE(SameBits(decode, 0, whole, context - 1)) << context;
        ASSERT_TRUE(SameBits(single.Attend({{context, 1}}), 0, whole, context - 1)) << context;
      }
    }
  }
}

TEST_P(AttentionTest, BlocksOutsideOfTheWindowAreNotRead) {
  Cached cached(*backend_, {2, 1, 16, 20, 16, DType::kF32}, {100});
  const Matrix before = cached.Attend({{100, 1}});
  // The window begins at 80: blocks 0 to 4 may be gone.
  for (std::size_t b = 0; b < 5; ++b) cached.blocks()[b] = -1000000;
  const Matrix after = cached.Attend({{100, 1}});
  EXPECT_TRUE(SameBits(before, 0, after, 0));
}

TEST_P(AttentionTest, CopiedBlocksHoldTheSame) {
  Cached cached(*backend_, {2, 1, 16, 0, 16, DType::kBF16}, {16});
  const Matrix before = cached.Attend({{16, 16}});
  const BlockId from{cached.blocks()[0]};
  const BlockId to{1 - from.value};  // the one spare block
  backend_->CopyKvBlock(cached.layer(), from, to);
  cached.blocks()[0] = to.value;
  const Matrix after = cached.Attend({{16, 16}});
  for (std::int64_t i = 0; i < 16; ++i) EXPECT_TRUE(SameBits(before, i, after, i));
}

}  // namespace
}  // namespace quire
