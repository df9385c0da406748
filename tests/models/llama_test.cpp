// Logits, greedy continuations and log-probabilities of the Llama family against transformers' in
// fp32, by the rules of the fixtures' README: tolerances come with each fixture.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "rank.h"
#include "weights/model_folder.h"

namespace quire::testing_models {
namespace {

const char* const kFixtures[] = {"llama_config_v5",
                                 "llama_gqa",
                                 "llama_mha_head_dim_default",
                                 "llama_rope_linear",
                                 "llama_rope_llama3",
                                 "llama_tied",
                                 "mistral_sliding",
                                 "qwen2",
                                 "qwen2_rope_yarn",
                                 "qwen2_tied",
                                 "qwen3"};

std::string FolderOf(const std::string& name) { return FixtureFolder(name); }

using Row = std::span<const float>;

std::vector<double> LogSoftmax(Row logits) {
  double max = -INFINITY, sum = 0.0;
  for (const float x : logits) max = std::max(max, static_cast<double>(x));
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - max);
  std::vector<double> out;
  for (const float x : logits) out.push_back(static_cast<double>(x) - max - std::log(sum));
  return out;
}

// What an engine would answer for one prompt: log-probabilities after every token of it and of the
// continuation.
struct Answer {
  std::vector<TokenId> greedy;
  std::vector<std::vector<double>>
      prompt_rows;                        // [length] distribution after each token of the prompt
  std::vector<std::vector<double>> rows;  // [greedy] distribution that greedy[k] is the best of
};

TokenId ArgMax(const std::vector<double>& row) {
  return static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin());
}

Answer Ask(RankUnderTest& rank, const std::vector<TokenId>& prompt, std::size_t num_tokens) {
  const auto vocab = static_cast<std::size_t>(rank.shape().vocab_size);
  Answer answer;
  const std::vector<float> logits = rank.Run(prompt, 0);
  for (std::size_t i = 0; i < prompt.size(); ++i)
    answer.prompt_rows.push_back(LogSoftmax(Row(logits).subspan(i * vocab, vocab)));
  answer.rows.push_back(answer.prompt_rows.back());
  answer.greedy.push_back(ArgMax(answer.rows.back()));
  int position = static_cast<int>(prompt.size());
  while (answer.greedy.size() < num_tokens) {
    const TokenId token = answer.greedy.back();
    answer.rows.push_back(LogSoftmax(rank.Run({&token, 1}, position++)));
    answer.greedy.push_back(ArgMax(answer.rows.back()));
  }
  return answer;
}

// How many leading tokens agree; a test failure where they part at something else than a near tie.
std::size_t Agreed(const Json& record, const std::vector<TokenId>& greedy, double gap) {
  for (std::size_t k = 0; k < greedy.size(); ++k) {
    if (greedy[k] == record["greedy"][k].get<TokenId>()) continue;
    double below = INFINITY;
    for (const Json& near : record["near"][k])
      if (near[0].get<TokenId>() == greedy[k]) below = near[1].get<double>();
    EXPECT_LT(below, gap) << "greedy token " << k << " is " << greedy[k];
    return k;
  }
  return greedy.size();
}

std::vector<double> Differences(const Json& record, const Answer& answer, std::size_t agreed) {
  std::vector<double> differences;
  const auto add = [&](double got, const Json& want) {
    EXPECT_TRUE(std::isfinite(got));
    differences.push_back(std::fabs(got - want.get<double>()));
  };
  const auto& ids = record["token_ids"];
  for (std::size_t j = 1; j < ids.size(); ++j)
    add(answer.prompt_rows[j - 1][ids[j].get<std::size_t>()], record["prompt_logprobs"][j]);
  for (std::size_t k = 0; k < agreed; ++k)
    add(answer.rows[k][static_cast<std::size_t>(answer.greedy[k])], record["greedy_logprobs"][k]);
  const auto& top = record["top5_ids"];
  for (std::size_t k = 0; k < std::min({agreed + 1, top.size(), answer.rows.size()}); ++k) {
    for (std::size_t i = 0; i < top[k].size(); ++i)
      add(answer.rows[k][top[k][i].get<std::size_t>()], record["top5_logprobs"][k][i]);
  }
  return differences;
}

void ExpectWithin(std::vector<double> differences, const Json& tolerance) {
  std::sort(differences.begin(), differences.end());
  const auto dropped = static_cast<std::size_t>(tolerance["outliers"].get<double>() *
                                                static_cast<double>(differences.size()));
  differences.resize(differences.size() - dropped);
  ASSERT_FALSE(differences.empty());
  double mean = 0.0;
  for (const double d : differences) mean += d / static_cast<double>(differences.size());
  EXPECT_LE(differences.back(), tolerance["value"].get<double>());
  EXPECT_LE(mean, tolerance["mean"].get<double>());
}

struct Case {
  const char* fixture;
  DType dtype;
};

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  return std::string(info.param.fixture) + "_" + Name(info.param.dtype);
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const char* fixture : kFixtures)
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16})
      cases.push_back({fixture, dtype});
  return cases;
}

class LlamaFamilyTest : public testing::TestWithParam<Case> {};

TEST_P(LlamaFamilyTest, AgreesWithTransformers) {
  const std::string folder = FolderOf(GetParam().fixture);
  const auto expect = ReadJsonFile(folder + "/expect.json");
  ASSERT_TRUE(expect.ok()) << expect.error().message;
  const Json& tolerance = (*expect)["tolerance"][Name(GetParam().dtype)];
  SoloCommunicator solo;
  RankOptions options;
  options.dtype = GetParam().dtype;
  const WeightSource weights = OpenWeights(folder);
  RankUnderTest rank(ReadConfig(folder), weights, solo, options);
  EXPECT_TRUE(weights.store()->Unused().empty());
  for (const Json& record : (*expect)["prompts"]) {
    SCOPED_TRACE("prompt of length " + std::to_string(record["length"].get<int>()));
    const Answer answer =
        Ask(rank, record["token_ids"].get<std::vector<TokenId>>(), record["greedy"].size());
    const std::size_t agreed = Agreed(record, answer.greedy, tolerance["gap"].get<double>());
    ExpectWithin(Differences(record, answer, agreed), tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(All, LlamaFamilyTest, testing::ValuesIn(AllCases()), CaseName);

// The float32 values of a little-endian .npy file.
std::vector<float> ReadNpy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  const std::string bytes = text.str();
  if (bytes.size() < 10 || bytes.find("'<f4'") == std::string::npos) return {};
  const std::size_t begin = 10 + static_cast<unsigned char>(bytes[8]) +
                            (static_cast<std::size_t>(static_cast<unsigned char>(bytes[9])) << 8);
  std::vector<float> values((bytes.size() - begin) / sizeof(float));
  std::memcpy(values.data(), bytes.data() + begin, values.size() * sizeof(float));
  return values;
}

class LlamaFixtureTest : public testing::TestWithParam<const char*> {};

TEST_P(LlamaFixtureTest, LastLogits) {
  const std::string folder = FolderOf(GetParam());
  const auto expect = ReadJsonFile(folder + "/expect.json");
  ASSERT_TRUE(expect.ok());
  const std::vector<float> want = ReadNpy(folder + "/last_logits.npy");
  const Json& record = (*expect)["prompts"][(*expect)["last_logits"]["prompt"].get<std::size_t>()];
  SoloCommunicator solo;
  RankUnderTest rank(ReadConfig(folder), OpenWeights(folder), solo, {});
  const auto prompt = record["token_ids"].get<std::vector<TokenId>>();
  const std::vector<float> logits = rank.Run(prompt, 0);
  const Row last = Row(logits).last(static_cast<std::size_t>(rank.shape().vocab_size));
  ASSERT_EQ(last.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(last[i], want[i], 2e-3) << i;
}

// Rule 8: in float32 the bits of a row do not depend on how its prompt was cut into steps.
TEST_P(LlamaFixtureTest, ChunksAndSingleTokensGiveTheSameBits) {
  const std::string folder = FolderOf(GetParam());
  SoloCommunicator solo;
  RankUnderTest rank(ReadConfig(folder), OpenWeights(folder), solo, {});
  std::vector<TokenId> ids;
  for (int i = 0; i < 100; ++i) ids.push_back(i * 37 % 384);
  const std::vector<float> whole = rank.Run(ids, 0);
  const auto vocab = static_cast<std::size_t>(rank.shape().vocab_size);
  const auto expect_same = [&](std::size_t first, const std::vector<float>& rows) {
    ASSERT_EQ(std::memcmp(rows.data(), whole.data() + first * vocab, rows.size() * sizeof(float)),
              0)
        << "from token " << first;
  };
  for (std::size_t i = 0; i < ids.size(); ++i)
    expect_same(i, rank.Run({&ids[i], 1}, static_cast<int>(i)));
  for (std::size_t first = 0, count = 1; first < ids.size();
       first += count, count = count * 2 + 1) {
    count = std::min(count, ids.size() - first);
    expect_same(first, rank.Run(std::span(ids).subspan(first, count), static_cast<int>(first)));
  }
}

INSTANTIATE_TEST_SUITE_P(All, LlamaFixtureTest, testing::ValuesIn(kFixtures), FixtureName);

TEST(DummyModelTest, AnyConfigurationBuildsAndRuns) {
  const Json config = Json::parse(R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 1000,
      "hidden_size": 96, "intermediate_size": 200, "num_hidden_layers": 2, "num_attention_heads": 6,
      "num_key_value_heads": 2, "head_dim": 48, "max_position_embeddings": 128,
      "attention_bias": true, "torch_dtype": "bfloat16"})");
  SoloCommunicator solo;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    RankOptions options;
    options.dtype = dtype;
    options.max_positions = 128;
    RankUnderTest rank(config, WeightSource(MakeDummyStore(3, dtype)), solo, options);
    std::vector<TokenId> ids(128, 999);
    const std::vector<float> logits = rank.Run(ids, 0);
    ASSERT_EQ(logits.size(), 128U * 1000U);
    EXPECT_TRUE(
        std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }));
    EXPECT_GT(*std::max_element(logits.begin(), logits.end()), 0.1F);
    EXPECT_GT(rank.loaded_bytes(), 0U);
  }
}

}  // namespace
}  // namespace quire::testing_models
