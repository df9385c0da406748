// A model split over ranks gives what one rank gives.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "parallel/thread_communicator.h"
#include "rank.h"

namespace quire::testing_models {
namespace {

// Logits that each rank has; a rank's exception ends up in its message.
struct RankResult {
  std::vector<float> prefill;
  std::vector<float> decode;
  std::string fault;
};

std::vector<RankResult> RunRanks(int num_ranks, const Json& config, const WeightSource& weights) {
  ThreadGroup group(num_ranks);
  std::vector<RankResult> results(static_cast<std::size_t>(num_ranks));
  std::vector<std::thread> threads;
  std::vector<TokenId> ids;
  for (int i = 0; i < 40; ++i) ids.push_back((i * 53 + 7) % 384);
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      RankResult& result = results[static_cast<std::size_t>(rank)];
      ThreadCommunicator tp(group, rank);
      RankOptions options;
      options.parallel.tensor_parallel_size = num_ranks;
      options.parallel.tensor_rank = rank;
      options.num_threads = 1;
      options.max_positions = 64;
      try {
        RankUnderTest under_test(config, weights, tp, options);
        result.prefill = under_test.Run(ids, 0);
        const TokenId next = 11;
        result.decode = under_test.Run({&next, 1}, static_cast<int>(ids.size()));
      } catch (const LoadError& error) {
        result.fault = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

void ExpectNear(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-4) << i;
}

void ExpectSplitEqualsWhole(int num_ranks, const Json& config, const WeightSource& weights) {
  const std::vector<RankResult> whole = RunRanks(1, config, weights);
  ASSERT_EQ(whole[0].fault, "");
  for (const RankResult& rank : RunRanks(num_ranks, config, weights)) {
    ASSERT_EQ(rank.fault, "");
    ExpectNear(rank.prefill, whole[0].prefill);
    ExpectNear(rank.decode, whole[0].decode);
  }
}

class TensorParallelTest : public testing::TestWithParam<const char*> {};

TEST_P(TensorParallelTest, TwoRanksEqualOne) {
  const std::string folder = FixtureFolder(GetParam());
  ExpectSplitEqualsWhole(2, ReadConfig(folder), OpenWeights(folder));
}

// Grouped heads, one KV head for both ranks, biases, q/k norms, tied tables, windows.
INSTANTIATE_TEST_SUITE_P(All, TensorParallelTest,
                         testing::Values("llama_gqa", "llama_rope_linear", "qwen2", "qwen2_tied",
                                         "qwen3", "mistral_sliding"),
                         FixtureName);

Json ManyHeads() {
  return Json::parse(R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 384,
      "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 8,
      "num_key_value_heads": 2, "max_position_embeddings": 64, "attention_bias": true,
      "mlp_bias": true})");
}

TEST(TensorParallelShapesTest, FourRanksShareTwoKvHeads) {
  ExpectSplitEqualsWhole(4, ManyHeads(), WeightSource(MakeDummyStore(5, DType::kF32)));
}

TEST(TensorParallelShapesTest, SaysWhatDoesNotDivide) {
  for (const auto& [field, value] : {std::pair<const char*, int>{"num_attention_heads", 6},
                                     {"vocab_size", 383},
                                     {"intermediate_size", 98}}) {
    Json config = ManyHeads();
    config[field] = value;
    if (std::string(field) == "num_attention_heads") config["head_dim"] = 8;
    const std::vector<RankResult> results =
        RunRanks(4, config, WeightSource(MakeDummyStore(5, DType::kF32)));
    for (const RankResult& rank : results)
      EXPECT_NE(rank.fault.find("--tensor-parallel-size 4"), std::string::npos) << rank.fault;
  }
}

}  // namespace
}  // namespace quire::testing_models
