// Attention on the GPU against softmax in double precision on the CPU: each kernel, odd shapes, the
// cache and the output poisoned with NaN wherever nothing may be read or left.
#include "backend/cuda/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace quire::cuda {
namespace {

// Device memory with a copy of what it held at first.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& host) : size_(host.size()) {
    EXPECT_EQ(cudaMalloc(&data_, size_ * sizeof(T) + 16), cudaSuccess);
    Set(host);
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  void Set(const std::vector<T>& host) {
    cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice);
  }
  std::vector<T> Get() const {
    std::vector<T> host(size_);
    cudaMemcpy(host.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost);
    return host;
  }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  std::size_t size_;
};

// Numbers of a dtype as bytes.
class Numbers {
 public:
  Numbers(DType dtype, std::size_t size)
      : dtype_(dtype), bytes_(size * SizeOf(dtype), std::uint8_t{0xFF}) {}  // all NaN
  void Put(std::size_t i, float value) {
    if (dtype_ == DType::kF32) return Store(i, value);
    Store(i, dtype_ == DType::kBF16 ? FloatToBF16(value) : FloatToF16(value));
  }
  double operator[](std::size_t i) const {
    if (dtype_ == DType::kF32) return Load<float>(i);
    const auto bits = Load<std::uint16_t>(i);
    return dtype_ == DType::kBF16 ? BF16ToFloat(bits) : F16ToFloat(bits);
  }
  std::vector<std::uint8_t>& bytes() { return bytes_; }

 private:
  template <class T>
  void Store(std::size_t i, T value) {
    std::memcpy(bytes_.data() + i * sizeof(T), &value, sizeof(T));
  }
  template <class T>
  T Load(std::size_t i) const {
    T value;
    std::memcpy(&value, bytes_.data() + i * sizeof(T), sizeof(T));
    return value;
  }
  DType dtype_;
  std::vector<std::uint8_t> bytes_;
};

struct Shape {
  int num_heads = 28, num_kv_heads = 4, head_dim = 128, window = 0, block_size = 16;
  DType dtype = DType::kBF16;
};
struct SequenceShape {
  int context = 0, count = 0;  // a context of 0: padding
};

class Case {
 public:
  Case(const Shape& shape, const std::vector<SequenceShape>& sequences)
      : shape_(shape), cache_(shape.dtype, 0), q_(shape.dtype, 0) {
    for (const SequenceShape& s : sequences) {
      query_start_.push_back(query_start_.back() + s.count);
      context_len_.push_back(s.context);
      const int blocks = (s.context + shape.block_size - 1) / shape.block_size;
      block_start_.push_back(block_start_.back() + blocks);
    }
    blocks_.resize(static_cast<std::size_t>(block_start_.back()));
    std::iota(blocks_.begin(), blocks_.end(), 1);
    std::shuffle(blocks_.begin(), blocks_.end(), random_);
    cache_ = Numbers(shape.dtype, (blocks_.size() + 1) * block_elements());
    q_ = Numbers(shape.dtype, static_cast<std::size_t>(tokens()) * q_stride());
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < static_cast<std::size_t>(tokens()) * q_stride(); ++i) {
      q_.Put(i, normal(random_));
    }
    for (std::size_t s = 0; s < context_len_.size(); ++s) {
      for (int t = FirstKey(s, query_start_[s]); t < context_len_[s]; ++t) {
        for (int x = 0; x < 2 * shape.num_kv_heads * shape.head_dim; ++x) {
          const int head = x / shape.head_dim;  // of keys, then of values
          cache_.Put(At(s, t, head) + static_cast<std::size_t>(x % shape.head_dim),
                     normal(random_));
        }
      }
    }
    ComputeReference();
  }

  void Check(const AttentionOptions& options, bool replayed = false) {
    cudaDeviceProp device{};
    ASSERT_EQ(cudaGetDeviceProperties(&device, 0), cudaSuccess);
    AttentionOptions with_limits = options;
    with_limits.max_sequences = 1024;
    with_limits.max_tokens = 4096;
    auto attention = CudaAttention::Make(device, with_limits);
    ASSERT_TRUE(attention.ok());
    OnDevice<std::uint8_t> cache(cache_.bytes()), q(q_.bytes());
    Numbers poison(shape_.dtype, static_cast<std::size_t>(tokens()) * out_stride());
    OnDevice<std::uint8_t> out(poison.bytes());
    OnDevice<std::int32_t> query_start(query_start_), context_len(context_len_),
        block_start(block_start_), blocks(blocks_);
    KvLayer layer;
    layer.spec.num_heads = shape_.num_heads;
    layer.spec.num_kv_heads = shape_.num_kv_heads;
    layer.spec.head_dim = shape_.head_dim;
    layer.spec.sliding_window = shape_.window;
    layer.spec.dtype = shape_.dtype;
    layer.block_size = shape_.block_size;
    layer.num_blocks = static_cast<std::int64_t>(blocks_.size()) + 1;
    layer.data = cache.data();
    const auto n = static_cast<std::int64_t>(context_len_.size());
    AttentionBatch batch;
    batch.num_sequences = static_cast<int>(n);
    batch.num_tokens = tokens();
    batch.replayed = replayed;
    batch.query_start = Tensor(query_start.data(), DType::kI32, {n + 1});
    batch.context_len = Tensor(context_len.data(), DType::kI32, {n});
    batch.block_start = Tensor(block_start.data(), DType::kI32, {n + 1});
    batch.blocks = Tensor(blocks.data(), DType::kI32, {static_cast<std::int64_t>(blocks_.size())});
    batch.host_query_start = query_start_;
    batch.host_context_len = context_len_;
    batch.host_block_start = block_start_;
    const auto width = static_cast<std::int64_t>(out_stride());
    const Tensor queries =
        Tensor(q.data(), shape_.dtype, {tokens(), static_cast<std::int64_t>(q_stride())})
            .Columns(0, width)
            .SplitColumns(shape_.num_heads, shape_.head_dim);
    const Tensor result(out.data(), shape_.dtype, {tokens(), shape_.num_heads, shape_.head_dim});
    ASSERT_TRUE((*attention)->Prepare({&layer, 1}).ok());
    for (int i = 0; i < 2; ++i) {  // the second time finds the counters as the first left them
      out.Set(poison.bytes());
      (*attention)->Plan(batch, {&layer, 1}, nullptr);
      (*attention)->Attend(queries, layer, batch, scale(), result, nullptr);
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      Compare(out.Get());
    }
  }

 private:
  void Compare(std::vector<std::uint8_t> bytes) {
    Numbers got(shape_.dtype, 0);
    got.bytes() = std::move(bytes);
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < want_.size(); ++i) {
      const double error = got[i] - want_[i];
      ASSERT_TRUE(std::isfinite(error)) << "token " << i / out_stride() << " of " << tokens();
      difference += error * error;
      norm += want_[i] * want_[i];
    }
    const double bound = shape_.dtype == DType::kF32 ? 2e-6 : 6e-3;
    EXPECT_LE(std::sqrt(difference), bound * std::sqrt(norm));
  }

  void ComputeReference() {
    for (std::size_t s = 0; s < context_len_.size(); ++s) {
      for (int token = query_start_[s]; token < query_start_[s + 1]; ++token) {
        for (int head = 0; head < shape_.num_heads; ++head) {
          const std::vector<double> row = Reference(s, token, head);
          want_.insert(want_.end(), row.begin(), row.end());
        }
      }
    }
  }

  std::vector<double> Reference(std::size_t s, int token, int head) const {
    std::vector<double> out(static_cast<std::size_t>(shape_.head_dim));
    if (context_len_[s] == 0) return out;
    const int kv_head = head / (shape_.num_heads / shape_.num_kv_heads);
    const int end = context_len_[s] - (query_start_[s + 1] - 1 - token);
    const int first = FirstKey(s, token);
    std::vector<double> weights;
    for (int t = first; t < end; ++t) {
      double score = 0;
      for (std::size_t d = 0; d < out.size(); ++d) {
        score += q_[static_cast<std::size_t>(token) * q_stride() +
                    static_cast<std::size_t>(head * shape_.head_dim) + d] *
                 cache_[At(s, t, kv_head) + d];
      }
      weights.push_back(score * double{scale()});
    }
    const double max = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (double& w : weights) sum += w = std::exp(w - max);
    for (int t = first; t < end; ++t) {
      const double weight = weights[static_cast<std::size_t>(t - first)] / sum;
      for (std::size_t d = 0; d < out.size(); ++d) {
        out[d] += weight * cache_[At(s, t, shape_.num_kv_heads + kv_head) + d];
      }
    }
    return out;
  }

  int tokens() const { return query_start_.back(); }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(shape_.head_dim)); }
  std::size_t out_stride() const {
    return static_cast<std::size_t>(shape_.num_heads * shape_.head_dim);
  }
  std::size_t q_stride() const {  // q, k and v of a token lie side by side
    return out_stride() + static_cast<std::size_t>(2 * shape_.num_kv_heads * shape_.head_dim);
  }
  std::size_t block_elements() const {
    return static_cast<std::size_t>(2 * shape_.num_kv_heads * shape_.block_size * shape_.head_dim);
  }
  // The first key that a token sees.
  int FirstKey(std::size_t s, int token) const {
    const int end = context_len_[s] - (query_start_[s + 1] - 1 - token);
    return shape_.window > 0 ? std::max(0, end - shape_.window) : 0;
  }
  // The key of a position in kv head `head`, or, with num_kv_heads more, its value.
  std::size_t At(std::size_t s, int position, int head) const {
    const std::int32_t block =
        blocks_[static_cast<std::size_t>(block_start_[s] + position / shape_.block_size)];
    return static_cast<std::size_t>(block) * block_elements() +
           static_cast<std::size_t>((head * shape_.block_size + position % shape_.block_size) *
                                    shape_.head_dim);
  }

  Shape shape_;
  std::mt19937 random_{7};
  std::vector<std::int32_t> query_start_{0}, context_len_, block_start_{0}, blocks_;
  Numbers cache_, q_;
  std::vector<double> want_;  // [tokens, num_heads, head_dim]
};

class AttentionTest : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
      GTEST_SKIP() << "no CUDA device";
  }
  static void CheckAll(const Shape& shape, const std::vector<SequenceShape>& sequences) {
    AttentionOptions ampere;
    ampere.hopper = false;
    ampere.cap_shared_memory = true;
    AttentionOptions invariant;
    invariant.batch_invariant = true;
    Case attention(shape, sequences);
    attention.Check({});
    attention.Check(ampere);
    attention.Check(invariant);
    attention.Check({}, true);
  }
};

TEST_F(AttentionTest, DecodesAndPrefills) {
  for (const int head_dim : {64, 128, 256}) {
    Shape shape;
    shape.head_dim = head_dim;
    CheckAll(shape, {{1, 1}, {15, 1}, {17, 1}, {300, 1}, {0, 1}, {37, 37}, {100, 37}, {50, 2}});
  }
}

TEST_F(AttentionTest, AnyGroup) {
  for (const auto& [heads, kv_heads] :
       std::vector<std::pair<int, int>>{{8, 8}, {32, 8}, {14, 2}, {5, 1}, {24, 1}, {40, 1}}) {
    Shape shape;
    shape.num_heads = heads;
    shape.num_kv_heads = kv_heads;
    shape.head_dim = 64;
    CheckAll(shape, {{1, 1}, {200, 1}, {60, 45}, {33, 3}});
  }
}

TEST_F(AttentionTest, WindowsAndBlockSizes) {
  for (const int block_size : {8, 16, 32, 64}) {
    for (const int window : {0, 1, 50}) {
      Shape shape;
      shape.num_heads = 7;
      shape.num_kv_heads = 1;
      shape.head_dim = 64;
      shape.window = window;
      shape.block_size = block_size;
      CheckAll(shape, {{300, 1}, {49, 1}, {200, 150}, {40, 40}});
    }
  }
}

TEST_F(AttentionTest, LongContextsAreSplit) {
  Shape shape;
  shape.num_heads = 14;
  shape.num_kv_heads = 2;
  CheckAll(shape, {{5000, 1}, {3000, 20}});
}

TEST_F(AttentionTest, ManySequences) {
  std::vector<SequenceShape> sequences;
  for (int i = 0; i < 257; ++i) sequences.push_back({1 + i * 37 % 90, 1});
  Shape shape;
  shape.head_dim = 64;
  CheckAll(shape, sequences);
}

TEST_F(AttentionTest, Float32AndOddHeadDims) {
  for (const int head_dim : {8, 12, 33, 80, 128, 256}) {
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      Shape shape;
      shape.num_heads = 6;
      shape.num_kv_heads = 2;
      shape.head_dim = head_dim;
      shape.window = head_dim == 80 ? 20 : 0;
      shape.dtype = dtype;
      CheckAll(shape, {{1, 1}, {17, 3}, {333, 20}, {0, 1}});
    }
  }
}

}  // namespace
}  // namespace quire::cuda
