// Sampling: masks, penalties, log-probabilities and distributions against plain arithmetic and, for
// what is not random, the CPU back end.
#include <map>
#include <numeric>
#include <set>

#include "backend/cuda/cuda_test_util.h"

namespace quire {
namespace {

using cuda_test::DeviceInts;
using cuda_test::DeviceMatrix;
using cuda_test::kNaN;
using cuda_test::Matrix;
using cuda_test::RandomAs;
using cuda_test::Reference;
using cuda_test::SameBits;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr DType kF32 = DType::kF32;

// Owns the state of a few slots and the outputs of a call.
class CudaSamplingTest : public testing::Test {
 protected:
  static constexpr std::int32_t kSlots = 64;
  static constexpr std::int32_t kMaxRows = 512;
  static constexpr std::int32_t kMaxTop = 5;

  // A back end of its own for each vocabulary, as an engine has.
  void Begin(std::int64_t vocab) {
    Forget();
    backend_ = cuda_test::MakeCuda();
    BeginOnTheSame(vocab);
  }
  void BeginOnTheSame(std::int64_t vocab) {
    vocab_ = vocab;
    last_ = std::make_unique<DeviceInts>(*backend_, std::vector<std::int32_t>(kSlots, -7));
    counts_ = std::make_unique<DeviceInts>(
        *backend_, std::vector<std::int32_t>(static_cast<std::size_t>(kSlots * vocab), 0));
    results_ = std::move(*backend_->AllocateHost(kMaxRows * (13 + kMaxTop * sizeof(TokenLogprob))));
  }
  void Forget() {
    last_.reset();
    counts_.reset();
    results_ = {};
  }
  SamplerState state() const {
    return {last_->tensor(), counts_->tensor().Reshape({kSlots, vocab_})};
  }
  std::int32_t last(std::size_t slot) const { return last_->Get()[slot]; }
  std::int32_t count(std::int64_t slot, std::int64_t token) const {
    return counts_->Get()[static_cast<std::size_t>(slot * vocab_ + token)];
  }
  // Poisoned memory for the results of so many rows.
  SampledRows Outputs(std::size_t rows) {
    auto* at = static_cast<std::byte*>(results_.data());
    const auto take = [&]<class T>(std::span<T>& span, std::size_t size, T value) {
      span = {reinterpret_cast<T*>(at), size};
      std::fill(span.begin(), span.end(), value);
      at += span.size_bytes();
    };
    take(out_.top, rows * kMaxTop, TokenLogprob{-1, kNaN});
    take(out_.tokens, rows, TokenId{-2});
    take(out_.logprobs, rows, kNaN);
    take(out_.ranks, rows, std::int32_t{-1});
    take(out_.faults, rows, std::uint8_t{9});
    out_.max_top = kMaxTop;
    return out_;
  }
  void SampleRows(const Matrix& logits, const std::vector<SamplingRow>& rows,
                  std::int64_t gap = 0) {
    const DeviceMatrix device(*backend_, logits, kF32, gap);
    const SampledRows out = Outputs(rows.size());
    backend_->Sample(device.tensor(), {rows, biases_, allowed_, banned_}, state(), out);
    backend_->WaitFor(backend_->Mark());
  }
  TokenId SampleOne(const Matrix& logits, const SamplingRow& row) {
    SampleRows(logits, {row});
    return out_.tokens[0];
  }
  // How often each token is drawn with seeds 0 to draws − 1.
  std::map<TokenId, int> Histogram(const Matrix& logits, const SamplingRow& row, int draws) {
    std::map<TokenId, int> histogram;
    for (int first = 0; first < draws; first += kMaxRows) {
      const int count = std::min(kMaxRows, draws - first);
      Matrix all(count, vocab_);
      std::vector<SamplingRow> rows(static_cast<std::size_t>(count), row);
      for (int i = 0; i < count; ++i) {
        for (std::int64_t c = 0; c < vocab_; ++c) all.at(i, c) = logits.at(0, c);
        rows[static_cast<std::size_t>(i)].seed = static_cast<std::uint64_t>(first + i);
        rows[static_cast<std::size_t>(i)].slot = i % kSlots;
      }
      SampleRows(all, rows);
      for (const TokenId token : out_.tokens) ++histogram[token];
    }
    return histogram;
  }

  // The same rows on both back ends; for rows whose token is not random.
  void CompareWithCpu(const Matrix& logits, const std::vector<SamplingRow>& rows,
                      std::vector<std::int32_t> counts);

  std::unique_ptr<Backend> backend_;
  std::int64_t vocab_ = 0;
  std::unique_ptr<DeviceInts> last_, counts_;
  Buffer results_;
  SampledRows out_;
  std::vector<TokenBias> biases_;
  std::vector<TokenId> allowed_, banned_;
};

void CudaSamplingTest::CompareWithCpu(const Matrix& logits, const std::vector<SamplingRow>& rows,
                                      std::vector<std::int32_t> counts) {
  counts_->Set(counts);
  SampleRows(logits, rows);
  const std::size_t n = rows.size();
  std::vector<std::int32_t> last(kSlots, -7);
  std::vector<TokenId> tokens(n, -2);
  std::vector<std::uint8_t> faults(n, 9);
  std::vector<float> logprobs(n, kNaN);
  std::vector<std::int32_t> ranks(n, -1);
  std::vector<TokenLogprob> top(n * kMaxTop, {-1, kNaN});
  Matrix copy = logits;
  const SamplerState cpu{cpu_test::Ints(last), {counts.data(), DType::kI32, {kSlots, vocab_}}};
  Reference().Sample(copy.tensor(), {rows, biases_, allowed_, banned_}, cpu,
                     {tokens, faults, logprobs, ranks, top, kMaxTop});
  EXPECT_EQ(last_->Get(), last);
  EXPECT_EQ(counts_->Get(), counts);
  for (std::size_t i = 0; i < n; ++i) {
    SCOPED_TRACE("row " + std::to_string(i));
    EXPECT_EQ(out_.tokens[i], tokens[i]);
    EXPECT_EQ(out_.faults[i], faults[i]);
    if (rows[i].num_logprobs < 0 || faults[i] != 0) continue;
    EXPECT_NEAR(out_.logprobs[i], logprobs[i], 3e-5);
    EXPECT_EQ(out_.ranks[i], ranks[i]);
    for (std::size_t j = i * kMaxTop; j < (i + 1) * kMaxTop; ++j) {
      EXPECT_EQ(out_.top[j].token, top[j].token) << j;
      if (top[j].token >= 0) {
        EXPECT_NEAR(out_.top[j].logprob, top[j].logprob, 3e-5);
      }
    }
  }
}

TEST_F(CudaSamplingTest, GreedyTakesTheLowestIdAmongEquals) {
  for (const std::int64_t vocab : {1000, 9001, 152064}) {
    Begin(vocab);
    Matrix logits = RandomAs(kF32, 1, vocab, 1);
    for (const std::int64_t best : {std::int64_t{500}, std::int64_t{700}, vocab - 1})
      logits.at(0, best) = 50.0F;
    for (const float temperature : {0.0F, 1e-45F, 1e-6F}) {
      SamplingRow row;
      row.slot = 2;
      row.temperature = temperature;
      EXPECT_EQ(SampleOne(logits, row), 500);
      EXPECT_EQ(out_.faults[0], 0);
      EXPECT_EQ(last(2), 500);
      EXPECT_EQ(count(2, 500), 0);  // counted only where there are penalties
    }
  }
}

TEST_F(CudaSamplingTest, BrokenLogitsAreFaults) {
  Begin(5000);
  for (const float temperature : {0.0F, 1.0F}) {
    SamplingRow row;
    row.temperature = temperature;
    last_->Set(std::vector<std::int32_t>(kSlots, -7));
    for (const float bad : {kNaN, kInfinity}) {
      for (const std::int64_t where : {0, 50, 4999}) {
        Matrix logits = RandomAs(kF32, 1, 5000, 1);
        logits.at(0, where) = bad;
        EXPECT_EQ(SampleOne(logits, row), -1);
        EXPECT_EQ(out_.faults[0], 1);
        EXPECT_EQ(last(0), -7);
      }
    }
    Matrix none(1, 5000);
    for (std::int64_t i = 0; i < 5000; ++i) none.at(0, i) = -kInfinity;
    EXPECT_EQ(SampleOne(none, row), -1);
    none.at(0, 4200) = -3.0F;
    EXPECT_EQ(SampleOne(none, row), 4200);
    EXPECT_EQ(out_.faults[0], 0);
    banned_ = {4200};
    row.banned_end = 1;
    EXPECT_EQ(SampleOne(none, row), -1);
    EXPECT_EQ(out_.faults[0], 1);
  }
}

TEST_F(CudaSamplingTest, ABrokenRowLeavesTheOthersAlone) {
  Begin(5000);
  Matrix logits = RandomAs(kF32, 17, 5000, 1);
  std::vector<SamplingRow> rows(17);
  for (std::int32_t i = 0; i < 17; ++i) {
    rows[static_cast<std::size_t>(i)].slot = i;
    rows[static_cast<std::size_t>(i)].temperature = 0.0F;
  }
  logits.at(5, 4321) = kNaN;
  CompareWithCpu(logits, rows,
                 std::vector<std::int32_t>(static_cast<std::size_t>(kSlots * vocab_), 0));
}

TEST_F(CudaSamplingTest, BiasesAndMasks) {
  Begin(50);
  Matrix logits(1, 50);
  for (std::int64_t i = 0; i < 50; ++i) logits.at(0, i) = static_cast<float>(i) * 0.1F;
  biases_ = {{3, 100.0F}, {4, 50.0F}, {5, 1.0F}};
  allowed_ = {9, 4, 3, 9};
  banned_ = {49, 3};
  SamplingRow row;
  row.temperature = 0.0F;
  EXPECT_EQ(SampleOne(logits, row), 49);
  row.banned_end = 1;
  EXPECT_EQ(SampleOne(logits, row), 48);
  row.bias_begin = 2;
  row.bias_end = 3;
  EXPECT_EQ(SampleOne(logits, row), 48);
  row.bias_begin = 0;
  EXPECT_EQ(SampleOne(logits, row), 3);
  row.banned_end = 2;
  EXPECT_EQ(SampleOne(logits, row), 4);
  row.bias_end = 0;
  row.allowed_end = 4;
  EXPECT_EQ(SampleOne(logits, row), 9);
  row.temperature = 1.0F;
  for (const auto& [token, times] : Histogram(logits, row, 100)) {
    EXPECT_TRUE(token == 9 || token == 4) << token;
  }
}

TEST_F(CudaSamplingTest, Penalties) {
  Begin(40);
  Matrix logits(1, 40);
  for (std::int64_t i = 0; i < 40; ++i) logits.at(0, i) = -1.0F;
  logits.at(0, 1) = 4.0F;  // in the prompt
  logits.at(0, 2) = 3.9F;  // generated twice
  logits.at(0, 3) = 2.5F;  // neither
  const TokenId prompt[] = {1, 1, 7};
  const TokenId output[] = {2, 2};
  backend_->ResetSlot(state(), SlotId{1}, prompt, output);
  EXPECT_EQ(count(1, 1), kInPrompt);
  EXPECT_EQ(count(1, 2), 2);
  SamplingRow row;
  row.slot = 1;
  row.temperature = 0.0F;
  row.num_logprobs = 1;
  row.presence_penalty = 0.1F;
  EXPECT_EQ(SampleOne(logits, row), 1);  // presence counts generated tokens alone
  EXPECT_EQ(count(1, 1), kInPrompt + 1);
  backend_->ResetSlot(state(), SlotId{1}, prompt, output);
  row.presence_penalty = 0.0F;
  row.repetition_penalty = 1.5F;
  EXPECT_EQ(SampleOne(logits, row), 1);  // 4 / 1.5 against 2.6 and 2.5
  row.repetition_penalty = 2.0F;
  EXPECT_EQ(SampleOne(logits, row), 3);  // 2 and 1.95 against 2.5
  // Log-probabilities are of the raw logits.
  double sum = 0;
  for (std::int64_t i = 0; i < 40; ++i) sum += std::exp(double{logits.at(0, i)});
  EXPECT_NEAR(out_.logprobs[0], 2.5 - std::log(sum), 1e-5);
  EXPECT_EQ(out_.ranks[0], 3);
  EXPECT_EQ(out_.top[0].token, 1);
  EXPECT_NEAR(out_.top[0].logprob, 4.0 - std::log(sum), 1e-5);
  row.repetition_penalty = 1.0F;
  row.frequency_penalty = -0.2F;
  backend_->ResetSlot(state(), SlotId{1}, prompt, output);
  EXPECT_EQ(SampleOne(logits, row), 2);  // 3.9 + 0.4
  EXPECT_EQ(count(1, 2), 3);
  backend_->ResetSlot(state(), SlotId{1}, {}, {});
  EXPECT_EQ(count(1, 2), 0);
}

// Greedy rows, and rows whose top_k leaves one token, with whatever changes their logits.
TEST_F(CudaSamplingTest, WhatIsNotRandomIsAsOnTheCpu) {
  for (const std::int64_t vocab : {1, 17, 100, 4097, 152064}) {
    SCOPED_TRACE(vocab);
    Begin(vocab);
    const auto id = [&](std::uint64_t i) {
      return static_cast<TokenId>(i * 2654435761U % static_cast<std::uint64_t>(vocab + 2)) - 1;
    };
    biases_.clear();
    allowed_.clear();
    banned_.clear();
    for (std::uint64_t i = 0; i < 40; ++i) {
      // No token twice: sums in another order would differ.
      if (id(i) < vocab && std::none_of(biases_.begin(), biases_.end(),
                                        [&](const TokenBias& b) { return b.token == id(i); }))
        biases_.push_back({id(i), static_cast<float>(i % 7) - 2.0F});
      allowed_.push_back(id(3 * i + 1));
      banned_.push_back(id(5 * i + 2));
    }
    std::vector<std::int32_t> counts(static_cast<std::size_t>(kSlots * vocab), 0);
    for (std::size_t i = 0; i < counts.size(); i += 3)
      counts[i] = i % 2 == 0 ? kInPrompt + static_cast<std::int32_t>(i % 3)
                             : static_cast<std::int32_t>(1 + i % 4);
    std::vector<SamplingRow> rows(33);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      SamplingRow& row = rows[i];
      row.slot = static_cast<std::int32_t>((i * 5) % kSlots);
      row.temperature = i % 3 == 0 ? 0.7F : 0.0F;
      row.top_k = 1;
      row.num_logprobs = static_cast<std::int32_t>(i % 8) - 1;
      if (i % 2 == 1) row.repetition_penalty = 1.25F;
      if (i % 5 == 1) row.presence_penalty = 0.5F;
      if (i % 5 == 2) row.frequency_penalty = 0.25F;
      if (i % 4 == 1) row.bias_end = static_cast<std::int32_t>(biases_.size());
      // The CPU back end reads no more of a list than the vocabulary is long.
      if (i % 7 == 1)
        row.allowed_end = static_cast<std::int32_t>(std::min<std::int64_t>(40, vocab));
      if (i % 6 == 1) row.banned_end = 40;
    }
    CompareWithCpu(RandomAs(kF32, 33, vocab, 3, 3.0F), rows, counts);
  }
}

TEST_F(CudaSamplingTest, DistributionFollowsTheTemperature) {
  Begin(5000);
  Matrix logits = RandomAs(kF32, 1, 5000, 3, 0.1F);
  for (const int best : {7, 2048, 4999}) logits.at(0, best) = 7.0F + static_cast<float>(best % 3);
  SamplingRow row;
  row.temperature = 0.9F;
  constexpr int kDraws = 8192;
  const std::map<TokenId, int> histogram = Histogram(logits, row, kDraws);
  double total = 0;
  std::map<TokenId, double> weight;
  for (TokenId i = 0; i < 5000; ++i) {
    weight[i] = std::exp(double{logits.at(0, i)} / double{row.temperature});
    total += weight[i];
  }
  // The three likely tokens, and the others by blocks of a thousand.
  double chi_square = 0;
  const auto add = [&](double probability, int times) {
    const double expected = probability * kDraws;
    chi_square += (times - expected) * (times - expected) / expected;
  };
  std::map<TokenId, double> left;
  std::map<TokenId, int> left_times;
  for (TokenId i = 0; i < 5000; ++i) {
    const auto found = histogram.find(i);
    const int times = found == histogram.end() ? 0 : found->second;
    if (i == 7 || i == 2048 || i == 4999) {
      add(weight[i] / total, times);
    } else {
      left[i / 1000] += weight[i] / total;
      left_times[i / 1000] += times;
    }
  }
  for (const auto& [block, probability] : left) add(probability, left_times[block]);
  EXPECT_LT(chi_square, 30.0);  // 7 degrees of freedom: 1e-4
}

TEST_F(CudaSamplingTest, DrawsAmongFewTokensFollowTheirWeights) {
  Begin(3000);
  Matrix logits = RandomAs(kF32, 1, 3000, 4);
  for (std::int64_t i = 0; i < 8; ++i)
    logits.at(0, 300 * i + 5) = 8.0F + 0.2F * static_cast<float>(i);
  for (const int how : {0, 1, 2}) {
    SamplingRow row;
    if (how == 0) row.top_k = 8;
    if (how == 1) row.min_p = 0.2F;
    if (how == 2) {
      row.top_k = 8;
      row.top_p = 0.9999F;
    }
    const std::map<TokenId, int> histogram = Histogram(logits, row, 8192);
    double total = 0;
    for (int i = 0; i < 8; ++i) total += std::exp(0.2 * i);
    double chi_square = 0;
    for (int i = 0; i < 8; ++i) {
      const double expected = 8192 * std::exp(0.2 * i) / total;
      const auto found = histogram.find(300 * i + 5);
      const int times = found == histogram.end() ? 0 : found->second;
      chi_square += (times - expected) * (times - expected) / expected;
    }
    EXPECT_EQ(histogram.size(), 8U) << how;
    EXPECT_LT(chi_square, 30.0) << how;
  }
}

TEST_F(CudaSamplingTest, TruncationKeepsExactlyTheRightTokens) {
  for (const std::int64_t vocab : {3000, 32000}) {
    Begin(vocab);
    Matrix logits = RandomAs(kF32, 1, vocab, 5, 2.0F);
    logits.at(0, 100) = logits.at(0, 200) = logits.at(0, 300) = 9.0F;  // equal
    std::vector<TokenId> order(static_cast<std::size_t>(vocab));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](TokenId a, TokenId b) { return logits.at(0, a) > logits.at(0, b); });
    const auto weight = [&](TokenId token) { return std::exp(double{logits.at(0, token)} - 9.0); };
    const auto check = [&](const SamplingRow& row, std::size_t kept, bool exact = true) {
      const std::set<TokenId> want(order.begin(),
                                   order.begin() + static_cast<std::ptrdiff_t>(kept));
      std::set<TokenId> seen;
      for (const auto& [token, times] : Histogram(logits, row, 300)) {
        EXPECT_TRUE(want.contains(token)) << token << " among " << kept;
        seen.insert(token);
      }
      if (exact && kept <= 4) {
        EXPECT_EQ(seen, want);
      }
    };
    SamplingRow row;
    for (const std::int32_t k : {1, 2, 4, 60, 2900}) {
      row.top_k = k;
      check(row, static_cast<std::size_t>(k));
    }
    row.top_k = 0;
    double total = 0;
    for (const TokenId token : order) total += weight(token);
    for (const float p : {1e-6F, 0.01F, 0.3F, 0.8F, 0.999F}) {
      row.top_p = p;
      double mass = 0;
      std::size_t kept = 0;
      while (mass < double{p} * total) mass += weight(order[kept++]);
      // Rounding may move the far edge by one.
      check(row, kept + (p > 0.2F ? 1 : 0), p <= 0.2F);
    }
    row.top_p = 0.5F;  // of the three that top_k leaves
    row.top_k = 3;
    check(row, 2);
    row.top_p = 1.0F;
    row.top_k = 0;
    row.min_p = 0.2F;
    check(row, static_cast<std::size_t>(std::count_if(
                   order.begin(), order.end(), [&](TokenId t) { return weight(t) >= 0.2; })));
  }
}

// The kernels' scratch serves one vocabulary at a time.
TEST_F(CudaSamplingTest, TheVocabularyMayChange) {
  Begin(3000);
  for (const std::int64_t vocab : {3000, 32000, 100, 32000, 4097}) {
    BeginOnTheSame(vocab);
    Matrix logits = RandomAs(kF32, 1, vocab, 6, 2.0F);
    for (const TokenId best : {10, 20, 30}) logits.at(0, best) = 9.0F;
    SamplingRow row;
    row.num_logprobs = 3;
    row.top_p = 0.9F;
    row.top_k = 3;
    for (const auto& [token, times] : Histogram(logits, row, 300)) {
      EXPECT_TRUE(token == 10 || token == 20 || token == 30)
          << token << " of " << vocab << ", " << times << " times";
    }
    for (std::size_t i = 0; i < out_.tokens.size(); ++i)
      ASSERT_EQ(out_.top[i * kMaxTop + 2].token, 30) << "row " << i << " of " << vocab;
  }
}

TEST_F(CudaSamplingTest, DrawsAreAFunctionOfSeedAndIndex) {
  constexpr std::int64_t kVocab = 9001;
  Begin(kVocab);
  const Matrix one = RandomAs(kF32, 1, kVocab, 1);
  for (const float top_p : {1.0F, 0.9F}) {
    SamplingRow row;
    row.seed = 42;
    row.top_p = top_p;
    row.num_logprobs = 2;
    std::vector<TokenId> alone;
    std::vector<float> logprobs;
    for (row.output_index = 0; row.output_index < 16; ++row.output_index) {
      alone.push_back(SampleOne(one, row));
      logprobs.push_back(out_.logprobs[0]);
    }
    EXPECT_GT(std::set<TokenId>(alone.begin(), alone.end()).size(), 10U);
    Matrix batch(48, kVocab);
    std::vector<SamplingRow> rows(48);
    for (std::int32_t i = 0; i < 48; ++i) {
      SamplingRow& mine = rows[static_cast<std::size_t>(i)];
      for (std::int64_t c = 0; c < kVocab; ++c) batch.at(i, c) = one.at(0, c);
      if (i % 3 == 0) mine = row;  // between others that are greedy or drawn otherwise
      mine.temperature = i % 3 == 1 ? 0.0F : 1.0F;
      mine.output_index = i / 3;
      mine.slot = i;
    }
    SampleRows(batch, rows, 3);
    for (std::size_t i = 0; i < 16; ++i) {
      EXPECT_EQ(out_.tokens[3 * i], alone[i]) << i;
      EXPECT_EQ(out_.logprobs[3 * i], logprobs[i]) << i;
    }
    row.seed = 43;
    row.output_index = 0;
    int same = 0;
    for (std::size_t i = 0; i < 16; ++i, ++row.output_index)
      same += SampleOne(one, row) == alone[i] ? 1 : 0;
    EXPECT_LT(same, 4);
  }
}

TEST_F(CudaSamplingTest, ScoresGivenTokens) {
  for (const std::int64_t vocab : {777, 152064}) {
    Begin(vocab);
    Matrix logits = RandomAs(kF32, 3, vocab, 9, 3.0F);
    logits.at(2, 5) = kNaN;
    const DeviceMatrix device(*backend_, logits, kF32, 5);
    const SampledRows out = Outputs(3);
    out.tokens[0] = 0;
    out.tokens[1] = 500;
    out.tokens[2] = 1;
    backend_->ScoreTokens(device.tensor(), 4, out);
    backend_->WaitFor(backend_->Mark());
    EXPECT_EQ(out.faults[0], 0);
    EXPECT_EQ(out.faults[1], 0);
    EXPECT_EQ(out.faults[2], 1);
    EXPECT_TRUE(SameBits(device.Get(), 1, logits, 1));
    for (std::int64_t r = 0; r < 2; ++r) {
      const auto row = static_cast<std::size_t>(r);
      double sum = 0;
      std::vector<float> sorted;
      for (std::int64_t c = 0; c < vocab; ++c) {
        sum += std::exp(double{logits.at(r, c)});
        sorted.push_back(logits.at(r, c));
      }
      std::sort(sorted.rbegin(), sorted.rend());
      const float own = logits.at(r, out.tokens[row]);
      EXPECT_NEAR(out.logprobs[row], double{own} - std::log(sum), 3e-5);
      EXPECT_EQ(out.ranks[row],
                1 + (std::find(sorted.begin(), sorted.end(), own) - sorted.begin()));
      for (std::size_t j = 0; j < 4; ++j) {
        const TokenLogprob& entry = out.top[row * kMaxTop + j];
        ASSERT_GE(entry.token, 0);
        EXPECT_EQ(logits.at(r, entry.token), sorted[j]);
        EXPECT_NEAR(entry.logprob, double{logits.at(r, entry.token)} - std::log(sum), 3e-5);
      }
      EXPECT_EQ(out.top[row * kMaxTop + 4].token, -1);
    }
  }
}

}  // namespace
}  // namespace quire
