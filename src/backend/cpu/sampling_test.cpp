// Sampling: masks, penalties, log-probabilities and distributions against plain arithmetic.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "backend/cpu/cpu_test_util.h"

namespace quire {
namespace {

using cpu_test::Ints;
using cpu_test::Matrix;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Owns the state of a few slots and the outputs of a call.
class SamplingTest : public testing::TestWithParam<std::string> {
 protected:
  static constexpr std::int32_t kSlots = 16;
  static constexpr std::int32_t kMaxTop = 5;

  void Begin(std::int64_t vocab) {
    vocab_ = vocab;
    last_.assign(kSlots, -7);
    counts_.assign(static_cast<std::size_t>(kSlots * vocab), 0);
  }
  SamplerState state() { return {Ints(last_), {counts_.data(), DType::kI32, {kSlots, vocab_}}}; }
  std::int32_t& count(std::int64_t slot, std::int64_t token) {
    return counts_[static_cast<std::size_t>(slot * vocab_ + token)];
  }
  SampledRows Outputs(std::size_t rows) {
    tokens_.assign(rows, -2);
    faults_.assign(rows, 9);
    logprobs_.assign(rows, 1.0F);
    ranks_.assign(rows, -1);
    top_.assign(rows * kMaxTop, {-1, 1.0F});
    return {tokens_, faults_, logprobs_, ranks_, top_, kMaxTop};
  }
  TokenId SampleOne(const Matrix& logits, const SamplingRow& row) {
    Matrix copy = logits;
    const SampledRows out = Outputs(1);
    backend_->Sample(copy.tensor(), {{&row, 1}, biases_, allowed_, banned_}, state(), out);
    return tokens_[0];
  }
  // How often each token is drawn with seeds 0 to draws − 1.
  std::map<TokenId, int> Histogram(const Matrix& logits, SamplingRow row, int draws) {
    std::map<TokenId, int> histogram;
    for (int i = 0; i < draws; ++i) {
      row.seed = static_cast<std::uint64_t>(i);
      ++histogram[SampleOne(logits, row)];
    }
    return histogram;
  }

  std::unique_ptr<Backend> backend_ = cpu_test::Make(GetParam());
  std::int64_t vocab_ = 0;
  std::vector<std::int32_t> last_, counts_;
  std::vector<TokenId> tokens_;
  std::vector<std::uint8_t> faults_;
  std::vector<float> logprobs_;
  std::vector<std::int32_t> ranks_;
  std::vector<TokenLogprob> top_;
  std::vector<TokenBias> biases_;
  std::vector<TokenId> allowed_, banned_;
};

INSTANTIATE_TEST_SUITE_P(Cpu, SamplingTest, testing::ValuesIn(cpu_test::InstructionSets()),
                         [](const auto& test) { return test.param; });

TEST_P(SamplingTest, GreedyTakesTheLowestIdAmongEquals) {
  Begin(1000);
  Matrix logits = Matrix::Random(1, 1000, 1);
  logits.at(0, 500) = logits.at(0, 700) = 50.0F;
  for (const float temperature : {0.0F, 1e-45F, 1e-6F}) {
    SamplingRow row;
    row.slot = 2;
    row.temperature = temperature;
    EXPECT_EQ(SampleOne(logits, row), 500);
    EXPECT_EQ(faults_[0], 0);
    EXPECT_EQ(last_[2], 500);
    EXPECT_EQ(count(2, 500), 0);  // counted only where there are penalties
  }
}

TEST_P(SamplingTest, BrokenLogitsAreFaults) {
  Begin(100);
  SamplingRow row;
  for (const float temperature : {0.0F, 1.0F}) {
    row.temperature = temperature;
    last_[0] = -7;
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
      for (const std::int64_t where : {0, 50, 99}) {
        Matrix logits = Matrix::Random(1, 100, 1);
        logits.at(0, where) = bad;
        EXPECT_EQ(SampleOne(logits, row), -1);
        EXPECT_EQ(faults_[0], 1);
        EXPECT_EQ(last_[0], -7);
      }
    }
    Matrix none(1, 100);
    for (std::int64_t i = 0; i < 100; ++i) none.at(0, i) = -kInfinity;
    EXPECT_EQ(SampleOne(none, row), -1);
    none.at(0, 42) = -3.0F;
    EXPECT_EQ(SampleOne(none, row), 42);
    EXPECT_EQ(faults_[0], 0);
    banned_ = {42};
    row.banned_end = 1;
    EXPECT_EQ(SampleOne(none, row), -1);
    EXPECT_EQ(faults_[0], 1);
    row.banned_end = 0;
  }
}

TEST_P(SamplingTest, BiasesAndMasks) {
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

TEST_P(SamplingTest, Penalties) {
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
  EXPECT_NEAR(logprobs_[0], 2.5 - std::log(sum), 1e-5);
  EXPECT_EQ(ranks_[0], 3);
  EXPECT_EQ(top_[0].token, 1);
  EXPECT_NEAR(top_[0].logprob, 4.0 - std::log(sum), 1e-5);
  row.repetition_penalty = 1.0F;
  row.frequency_penalty = -0.2F;
  backend_->ResetSlot(state(), SlotId{1}, prompt, output);
  EXPECT_EQ(SampleOne(logits, row), 2);  // 3.9 + 0.4
  EXPECT_EQ(count(1, 2), 3);
  backend_->ResetSlot(state(), SlotId{1}, {}, {});
  EXPECT_EQ(count(1, 2), 0);
}

TEST_P(SamplingTest, DistributionFollowsTheTemperature) {
  Begin(5000);
  Matrix logits = Matrix::Random(1, 5000, 3, 0, 0.1F);
  for (const int best : {7, 2048, 4999}) logits.at(0, best) = 7.0F + static_cast<float>(best % 3);
  SamplingRow row;
  row.temperature = 0.9F;
  constexpr int kDraws = 4000;
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

TEST_P(SamplingTest, TruncationKeepsExactlyTheRightTokens) {
  Begin(3000);
  Matrix logits = Matrix::Random(1, 3000, 5, 0, 2.0F);
  logits.at(0, 100) = logits.at(0, 200) = logits.at(0, 300) = 9.0F;  // equal
  std::vector<TokenId> order(3000);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](TokenId a, TokenId b) { return logits.at(0, a) > logits.at(0, b); });
  const auto weight = [&](TokenId token) { return std::exp(double{logits.at(0, token)} - 9.0); };
  const auto check = [&](const SamplingRow& row, std::size_t kept) {
    const std::set<TokenId> want(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept));
    std::set<TokenId> seen;
    for (const auto& [token, times] : Histogram(logits, row, 300)) {
      EXPECT_TRUE(want.contains(token)) << token;
      seen.insert(token);
    }
    if (kept <= 4) {
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
  for (const float p : {1e-6F, 0.3F, 0.8F, 0.999F}) {
    row.top_p = p;
    double mass = 0;
    std::size_t kept = 0;
    while (mass < double{p} * total) mass += weight(order[kept++]);
    check(row, kept + (p > 0.9F ? 1 : 0));  // rounding may move the far edge by one
  }
  row.top_p = 0.5F;  // of the three that top_k leaves
  row.top_k = 3;
  check(row, 2);
  row.top_p = 1.0F;
  row.top_k = 0;
  row.min_p = 0.2F;
  check(row, static_cast<std::size_t>(std::count_if(order.begin(), order.end(),
                                                    [&](TokenId t) { return weight(t) >= 0.2; })));
}

TEST_P(SamplingTest, DrawsAreAFunctionOfSeedAndIndex) {
  constexpr std::int64_t kVocab = 2000;
  Begin(kVocab);
  const Matrix one = Matrix::Random(1, kVocab, 1);
  SamplingRow row;
  row.seed = 42;
  std::vector<TokenId> alone;
  for (row.output_index = 0; row.output_index < 16; ++row.output_index) {
    alone.push_back(SampleOne(one, row));
  }
  EXPECT_GT(std::set<TokenId>(alone.begin(), alone.end()).size(), 10U);
  Matrix batch(16, kVocab, 3);
  std::vector<SamplingRow> rows(16);
  for (std::int32_t i = 0; i < 16; ++i) {
    for (std::int64_t c = 0; c < kVocab; ++c) batch.at(i, c) = one.at(0, c);
    rows[static_cast<std::size_t>(i)].seed = 42;
    rows[static_cast<std::size_t>(i)].output_index = i;
    rows[static_cast<std::size_t>(i)].slot = i;
  }
  const SampledRows out = Outputs(16);
  backend_->Sample(batch.tensor(), {rows, {}, {}, {}}, state(), out);
  EXPECT_EQ(tokens_, alone);
  row.seed = 43;
  row.output_index = 0;
  int same = 0;
  for (std::size_t i = 0; i < 16; ++i, ++row.output_index)
    same += SampleOne(one, row) == alone[i] ? 1 : 0;
  EXPECT_LT(same, 4);
}

TEST_P(SamplingTest, ScoresGivenTokens) {
  constexpr std::int64_t kVocab = 777;
  Begin(kVocab);
  Matrix logits = Matrix::Random(3, kVocab, 9, 5, 3.0F);
  logits.at(2, 5) = std::numeric_limits<float>::quiet_NaN();
  const SampledRows out = Outputs(3);
  tokens_ = {0, 500, 1};
  backend_->ScoreTokens(logits.tensor(), 4, out);
  EXPECT_EQ(faults_, (std::vector<std::uint8_t>{0, 0, 1}));
  for (std::int64_t r = 0; r < 2; ++r) {
    double sum = 0;
    for (std::int64_t c = 0; c < kVocab; ++c) sum += std::exp(double{logits.at(r, c)});
    const float own = logits.at(r, tokens_[static_cast<std::size_t>(r)]);
    EXPECT_NEAR(logprobs_[static_cast<std::size_t>(r)], double{own} - std::log(sum), 2e-5);
    std::vector<float> sorted;
    for (std::int64_t c = 0; c < kVocab; ++c) sorted.push_back(logits.at(r, c));
    std::sort(sorted.rbegin(), sorted.rend());
    EXPECT_EQ(ranks_[static_cast<std::size_t>(r)],
              1 + (std::find(sorted.begin(), sorted.end(), own) - sorted.begin()));
    for (std::int64_t j = 0; j < 4; ++j) {
      const TokenLogprob& entry = top_[static_cast<std::size_t>(r * kMaxTop + j)];
      EXPECT_EQ(logits.at(r, entry.token), sorted[static_cast<std::size_t>(j)]);
      EXPECT_NEAR(entry.logprob, double{logits.at(r, entry.token)} - std::log(sum), 2e-5);
    }
    EXPECT_EQ(top_[static_cast<std::size_t>(r * kMaxTop + 4)].token, -1);
  }
}

}  // namespace
}  // namespace quire
