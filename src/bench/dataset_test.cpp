// Synthetic datasets: random, prefix_repetition, multi_turn, and what options are refused.
#include "bench/dataset.h"

#include <cmath>
#include <map>
#include <set>

#include "bench/dataset_rng.h"
#include "bench/dataset_test_kit.h"
#include "bench/synthetic_prompts.h"

namespace quire {
namespace {

TEST(DatasetRng, IsTheSameEverywhere) {
  DatasetRng rng(0);
  std::vector<int> drawn;
  for (int i = 0; i < 6; ++i) drawn.push_back(rng.Between(10, 99));
  EXPECT_EQ(drawn, (std::vector<int>{58, 63, 96, 52, 51, 25}));
  std::vector<int> order = {0, 1, 2, 3, 4, 5};
  rng.Shuffle(order);
  EXPECT_EQ(order, (std::vector<int>{3, 2, 5, 1, 4, 0}));
}

TEST(DatasetRng, CoversItsRangeEvenly) {
  DatasetRng rng(7, 3);
  std::vector<int> counts(6);
  for (int i = 0; i < 6000; ++i) ++counts[static_cast<std::size_t>(rng.Between(-2, 3) + 2)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(SyntheticPrompts, KeepsTheWordsThatAreOneToken) {
  WordCodec codec;
  const auto prompts = SyntheticPrompts::Make(codec, false);
  ASSERT_TRUE(prompts.ok());
  EXPECT_EQ(prompts->num_words(), 99U);  // 100 but for the special one
  PairCodec pairs;
  const auto none = SyntheticPrompts::Make(pairs, false);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->num_words(), 0U);
}

TEST(DatasetRandom, HasTheLengthsWithOneRequestAPrompt) {
  WordCodec codec;
  DatasetOptions options = DatasetNamed("random");
  options.num_prompts = 200;
  options.random_input_len = 100;
  options.random_output_len = 20;
  options.random_range_ratio = 0.25;
  const BenchWorkload workload = WorkloadOf(options, &codec);
  ASSERT_EQ(workload.NumRequests(), 200);
  EXPECT_LE(codec.num_encodes + codec.num_decodes, 220);
  ExpectExactLengths(workload, codec);
  std::set<int> inputs, outputs;
  for (const auto& conversation : workload.conversations) {
    EXPECT_FALSE(conversation.arrival_s.has_value());
    inputs.insert(conversation.turns.at(0).input_tokens);
    outputs.insert(conversation.turns.at(0).output_tokens);
  }
  EXPECT_GT(inputs.size(), 30U);
  EXPECT_LE(75, *inputs.begin());
  EXPECT_LE(*inputs.rbegin(), 125);
  EXPECT_EQ(*outputs.begin(), 15);
  EXPECT_EQ(*outputs.rbegin(), 25);
}

TEST(DatasetRandom, SharesThePrefix) {
  WordCodec codec;
  DatasetOptions options = DatasetNamed("random");
  options.num_prompts = 5;
  options.random_prefix_len = 50;
  options.random_input_len = 10;
  const BenchWorkload workload = WorkloadOf(options, &codec);
  std::set<std::string> prefixes, texts;
  for (const auto& conversation : workload.conversations) {
    const BenchTurn& turn = conversation.turns.at(0);
    EXPECT_EQ(turn.input_tokens, 60);
    prefixes.insert(turn.text.substr(0, 200));
    texts.insert(turn.text);
  }
  EXPECT_EQ(prefixes.size(), 1U);
  EXPECT_EQ(texts.size(), 5U);
}

TEST(DatasetRandom, SeedsAndIds) {
  WordCodec codec;
  DatasetOptions options = DatasetNamed("random");
  options.num_prompts = 3;
  options.random_input_len = 30;
  options.seed = 5;
  const BenchWorkload a = WorkloadOf(options, &codec);
  const BenchWorkload b = WorkloadOf(options, &codec);
  options.token_ids = true;
  const BenchWorkload ids = WorkloadOf(options, &codec);
  options.token_ids = false;
  options.seed = 6;
  const BenchWorkload other = WorkloadOf(options, &codec);
  ASSERT_EQ(ids.NumRequests(), 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string& text = a.conversations[i].turns[0].text;
    EXPECT_EQ(text, b.conversations[i].turns[0].text);
    EXPECT_NE(text, other.conversations[i].turns[0].text);
    EXPECT_TRUE(ids.conversations[i].turns[0].text.empty());
    EXPECT_EQ(*codec.Decode(ids.conversations[i].turns[0].token_ids), text);
    EXPECT_EQ(ids.conversations[i].turns[0].input_tokens, 30);
  }
}

TEST(DatasetRandom, FitsTextOfATokenizerWithoutWords) {
  PairCodec codec;
  DatasetOptions options = DatasetNamed("random");
  options.num_prompts = 50;
  options.random_input_len = 33;
  options.random_range_ratio = 0.5;
  ExpectExactLengths(WorkloadOf(options, &codec), codec);
  PairCodec stubborn(true);
  EXPECT_NE(FaultOf(options, &stubborn).find("no prompt of exactly"), std::string::npos);
  options.token_ids = true;
  EXPECT_EQ(WorkloadOf(options, &stubborn).NumRequests(), 50);
}

TEST(DatasetPrefixRepetition, RepeatsEachPrefix) {
  WordCodec codec;
  DatasetOptions options = DatasetNamed("prefix_repetition");
  options.num_prompts = 23;
  options.prefix_len = 20;
  options.suffix_len = 30;
  options.num_prefixes = 5;
  options.prefix_output_len = 9;
  const BenchWorkload workload = WorkloadOf(options, &codec);
  ASSERT_EQ(workload.NumRequests(), 23);
  ExpectExactLengths(workload, codec);
  std::map<std::string, int> prefixes;
  std::vector<std::string> order;
  for (const auto& conversation : workload.conversations) {
    EXPECT_EQ(conversation.turns.at(0).input_tokens, 50);
    EXPECT_EQ(conversation.turns.at(0).output_tokens, 9);
    order.push_back(conversation.turns.at(0).text.substr(0, 80));
    ++prefixes[order.back()];
  }
  ASSERT_EQ(prefixes.size(), 5U);
  for (const auto& [prefix, count] : prefixes) EXPECT_TRUE(count == 4 || count == 5) << count;
  EXPECT_NE(order[0] == order[1] && order[1] == order[2], true);  // shuffled
}

TEST(DatasetMultiTurn, MakesTurns) {
  WordCodec codec;
  DatasetOptions options = DatasetNamed("multi_turn");
  options.num_prompts = 4;
  options.turns = 3;
  options.think_s = 0.5;
  options.random_input_len = 16;
  options.random_prefix_len = 8;
  options.random_output_len = 7;
  const BenchWorkload workload = WorkloadOf(options, &codec);
  EXPECT_EQ(workload.NumRequests(), 12);
  ExpectExactLengths(workload, codec);
  for (const auto& conversation : workload.conversations) {
    ASSERT_EQ(conversation.turns.size(), 3U);
    EXPECT_EQ(conversation.think_s, 0.5);
    EXPECT_EQ(conversation.turns[0].input_tokens, 24);
    EXPECT_EQ(conversation.turns[2].input_tokens, 16);
    EXPECT_EQ(conversation.turns[1].output_tokens, 7);
  }
}

TEST(Dataset, NamesTheFlagThatIsWrong) {
  WordCodec codec;
  const auto fault = [&](void (*change)(DatasetOptions&)) {
    DatasetOptions options;
    change(options);
    return FaultOf(options, &codec);
  };
  using O = DatasetOptions;
  EXPECT_NE(fault([](O& o) { o.name = "hf"; }).find("--dataset-name: 'hf'"), std::string::npos);
  EXPECT_NE(fault([](O& o) { o.num_prompts = 0; }).find("--num-prompts"), std::string::npos);
  EXPECT_NE(fault([](O& o) { o.num_prompts = -5; }).find("--num-prompts"), std::string::npos);
  EXPECT_NE(fault([](O& o) { o.random_range_ratio = 1; }).find("range-ratio"), std::string::npos);
  EXPECT_NE(fault([](O& o) { o.random_range_ratio = std::nan(""); }).find("range-ratio"),
            std::string::npos);
  EXPECT_NE(fault([](O& o) { o.random_input_len = 0; }).find("--random-input-len"),
            std::string::npos);
  EXPECT_NE(fault([](O& o) { o.random_output_len = 2000000000; }).find("--random-output-len"),
            std::string::npos);
  EXPECT_NE(fault([](O& o) { o.name = "azure"; }).find("--dataset-path"), std::string::npos);
  EXPECT_NE(FaultOf(DatasetOptions(), nullptr).find("--tokenizer"), std::string::npos);
}

TEST(DatasetRandom, IsExactWithTheDemoTokenizer) {
  const auto codec = FolderCodec(DemoModelFolder());
  ASSERT_NE(codec, nullptr);
  const auto prompts = SyntheticPrompts::Make(*codec, false);
  ASSERT_TRUE(prompts.ok());
  EXPECT_GT(prompts->num_words(), 30U);
  DatasetOptions options = DatasetNamed("random");
  options.num_prompts = 40;
  options.random_input_len = 200;
  options.random_range_ratio = 0.9;
  options.random_prefix_len = 17;
  ExpectExactLengths(WorkloadOf(options, codec.get()), *codec);
}

class SharedTokenizers : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedTokenizers, RandomPromptsAreExact) {
  const auto folder = SharedBenchFile(std::string("tokenizers/") + GetParam());
  if (!folder) GTEST_SKIP() << "DATA does not name the shared data";
  const auto codec = FolderCodec(*folder);
  ASSERT_NE(codec, nullptr);
  const auto prompts = SyntheticPrompts::Make(*codec, false);
  ASSERT_TRUE(prompts.ok());
  EXPECT_GT(prompts->num_words(), 500U);
  DatasetOptions options = DatasetNamed("random");
  options.num_prompts = 20;
  options.random_input_len = 1024;
  options.random_range_ratio = 0.5;
  ExpectExactLengths(WorkloadOf(options, codec.get()), *codec);
}

INSTANTIATE_TEST_SUITE_P(Dataset, SharedTokenizers,
                         ::testing::Values("qwen2.5", "llama3.1", "llama2", "gpt-oss",
                                           "mistral-7b-instruct-v0.3", "phi-3-mini"));

}  // namespace
}  // namespace quire
