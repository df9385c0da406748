// Datasets that are files: traces, sharegpt, custom, sonnet, conversations.
#include <algorithm>
#include <map>
#include <set>

#include "bench/dataset.h"
#include "bench/dataset_test_kit.h"

namespace quire {
namespace {

DatasetOptions AllOf(const std::string& name, const std::string& path) {
  DatasetOptions options = DatasetNamed(name, path);
  options.num_prompts = 0;
  return options;
}

TEST(DatasetAzure, ReplaysTimesAndLengths) {
  WordCodec codec;
  DatasetOptions options = AllOf("azure", BenchTestData("azure.csv"));
  options.trace_speed = 2;
  const BenchWorkload workload = WorkloadOf(options, &codec);
  ASSERT_EQ(workload.NumRequests(), 3);
  ExpectExactLengths(workload, codec);
  const auto& all = workload.conversations;
  EXPECT_EQ(all[0].arrival_s, 0);
  EXPECT_NEAR(*all[1].arrival_s, 0.875, 1e-6);  // over the end of a year
  EXPECT_NEAR(*all[2].arrival_s, 2, 1e-6);
  EXPECT_EQ(all[1].turns[0].input_tokens, 40);
  EXPECT_EQ(all[1].turns[0].output_tokens, 109);

  options.max_input_len = 12;
  EXPECT_EQ(WorkloadOf(options, &codec).NumRequests(), 2);
  options.num_prompts = 1;
  EXPECT_EQ(WorkloadOf(options, &codec).NumRequests(), 1);
  options.max_input_len = 2;
  EXPECT_NE(FaultOf(options, &codec).find("--max-input-len"), std::string::npos);
}

std::size_t SharedBytes(const std::string& a, const std::string& b) {
  std::size_t n = 0;
  while (n < std::min(a.size(), b.size()) && a[n] == b[n]) ++n;
  return n;
}

TEST(DatasetMooncake, EqualHashesAreEqualText) {
  WordCodec codec;  // 4 bytes a token
  DatasetOptions options = AllOf("mooncake", BenchTestData("mooncake.jsonl"));
  const BenchWorkload workload = WorkloadOf(options, &codec);
  ASSERT_EQ(workload.NumRequests(), 3);
  ExpectExactLengths(workload, codec);
  const auto& all = workload.conversations;
  EXPECT_EQ(*all[0].arrival_s, 0);
  EXPECT_DOUBLE_EQ(*all[1].arrival_s, 1.5);  // by time, not by line
  EXPECT_DOUBLE_EQ(*all[2].arrival_s, 3);
  const std::string& a = all[0].turns[0].text;  // blocks 0 1 2, the last partial
  const std::string& b = all[1].turns[0].text;  // blocks 0 1 2
  const std::string& c = all[2].turns[0].text;  // blocks 0 3
  EXPECT_EQ(all[0].turns[0].input_tokens, 1030);
  EXPECT_EQ(SharedBytes(a, b), a.size());
  EXPECT_LT(SharedBytes(a, c), 512 * 4 + 40U);
  EXPECT_GE(SharedBytes(a, c), 512 * 4U);
  options.seed = 1;
  EXPECT_LT(SharedBytes(a, WorkloadOf(options, &codec).conversations[0].turns[0].text), 40U);
  options.token_ids = true;
  EXPECT_EQ(WorkloadOf(options, &codec).conversations[1].turns[0].token_ids.size(), 1536U);
}

TEST(DatasetMooncake, IsExactWithTheDemoTokenizer) {
  const auto codec = FolderCodec(DemoModelFolder());
  ASSERT_NE(codec, nullptr);
  const auto workload = WorkloadOf(AllOf("mooncake", BenchTestData("mooncake.jsonl")), codec.get());
  ASSERT_EQ(workload.NumRequests(), 3);
  ExpectExactLengths(workload, *codec);
}

TEST(DatasetShareGpt, TakesTheFirstTwoTurns) {
  const auto codec = FolderCodec(DemoModelFolder());
  ASSERT_NE(codec, nullptr);
  DatasetOptions options = AllOf("sharegpt", BenchTestData("sharegpt.json"));
  const BenchWorkload workload = WorkloadOf(options, codec.get());
  ASSERT_EQ(workload.NumRequests(), 2);
  ExpectExactLengths(workload, *codec);
  std::map<std::string, int> outputs;
  for (const auto& conversation : workload.conversations) {
    outputs[conversation.turns.at(0).text] = conversation.turns[0].output_tokens;
  }
  EXPECT_EQ(
      static_cast<std::size_t>(outputs.at("Tell me a long story about the little dog, please.")),
      EncodedSize(*codec,
                  "Once upon a time there was a little dog who liked to run [in] the "
                  "\"park\"."));
  EXPECT_EQ(outputs.count("You are kind."), 1U);  // vLLM looks at places, not at roles
  options.num_prompts = 5;                        // repeats
  options.output_len = 77;
  const BenchWorkload more = WorkloadOf(options, codec.get());
  ASSERT_EQ(more.NumRequests(), 5);
  EXPECT_EQ(more.conversations[4].turns[0].output_tokens, 77);
  EXPECT_NE(FaultOf(options, nullptr).find("--tokenizer"), std::string::npos);
}

TEST(DatasetCustom, ReadsItsKindsOfLines) {
  DatasetOptions options = AllOf("custom", BenchTestData("custom.jsonl"));
  const BenchWorkload workload = WorkloadOf(options, nullptr);
  ASSERT_EQ(workload.conversations.size(), 4U);
  EXPECT_EQ(workload.NumRequests(), 6);
  std::map<std::string, BenchConversation> by_text;
  for (const auto& c : workload.conversations) by_text[c.turns.at(0).text] = c;
  EXPECT_EQ(by_text.at("What is the capital of India?").turns[0].output_tokens, 10);
  EXPECT_EQ(by_text.at("What is the capital of Iran?").turns[0].output_tokens, 20);
  EXPECT_EQ(by_text.at("Write a poem.").turns[0].output_tokens, 256);
  EXPECT_EQ(by_text.at("Write a poem.").turns[1].text, "Make it shorter.");
  EXPECT_EQ(by_text.at("Be brief.\n\nHello!").turns[1].text, "Bye!");
  EXPECT_EQ(by_text.at("Write a poem.").turns[0].input_tokens, 0);  // unknown without a codec

  WordCodec codec;
  options.output_len = 3;
  options.num_prompts = 9;
  options.token_ids = true;
  const BenchWorkload ids = WorkloadOf(options, &codec);
  ASSERT_EQ(ids.conversations.size(), 9U);
  for (const auto& c : ids.conversations) {
    EXPECT_EQ(c.turns.at(0).output_tokens, 3);
    EXPECT_TRUE(c.turns[0].text.empty());
    EXPECT_EQ(c.turns[0].token_ids.size(), static_cast<std::size_t>(c.turns[0].input_tokens));
  }
  EXPECT_NE(FaultOf(options, nullptr).find("--tokenizer"), std::string::npos);
}

TEST(DatasetCustom, OrderIsBySeed) {
  DatasetOptions options = AllOf("custom", BenchTestData("custom.jsonl"));
  std::set<std::string> firsts;
  for (options.seed = 0; options.seed < 20; ++options.seed) {
    const BenchWorkload a = WorkloadOf(options, nullptr);
    const BenchWorkload b = WorkloadOf(options, nullptr);
    ASSERT_EQ(a.conversations.size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(a.conversations[i].turns[0].text, b.conversations[i].turns[0].text);
    }
    firsts.insert(a.conversations[0].turns[0].text);
  }
  EXPECT_GT(firsts.size(), 2U);
}

TEST(DatasetMultiTurn, ReadsConversations) {
  const auto codec = FolderCodec(DemoModelFolder());
  ASSERT_NE(codec, nullptr);
  DatasetOptions options = AllOf("multi_turn", BenchTestData("sharegpt.json"));
  options.think_s = 2;
  const BenchWorkload workload = WorkloadOf(options, codec.get());
  ASSERT_EQ(workload.conversations.size(), 4U);
  ExpectExactLengths(workload, *codec);
  std::map<std::string, BenchConversation> by_text;
  for (const auto& c : workload.conversations) by_text[c.turns.at(0).text] = c;
  const auto& dog = by_text.at("Tell me a long story about the little dog, please.");
  ASSERT_EQ(dog.turns.size(), 2U);
  EXPECT_EQ(dog.think_s, 2);
  EXPECT_EQ(dog.turns[1].text, "And what did the dog do then?");
  EXPECT_EQ(static_cast<std::size_t>(dog.turns[1].output_tokens),
            EncodedSize(*codec, "The dog went home and slept."));
  EXPECT_EQ(by_text.count("You are kind.\n\nWhat is the name of the cat that lives over there?"),
            1U);
  EXPECT_EQ(by_text.at("Is anybody there at all?").turns[0].output_tokens, 256);
  EXPECT_NE(FaultOf(options, nullptr).find("--tokenizer"), std::string::npos);
  options.output_len = 8;
  EXPECT_EQ(WorkloadOf(options, nullptr).NumRequests(), 5);
}

TEST(DatasetSonnet, KeepsTheInputLength) {
  std::string poem;
  for (int i = 0; i < 50; ++i) poem += "Line " + std::to_string(i) + " of a poem about the sea,\n";
  const DatasetTestFile file(poem);
  WordCodec codec;
  DatasetOptions options = DatasetNamed("sonnet", file.path());
  options.num_prompts = 8;
  const BenchWorkload workload = WorkloadOf(options, &codec);
  ASSERT_EQ(workload.NumRequests(), 8);
  ExpectExactLengths(workload, codec);
  const std::string& first = workload.conversations[0].turns[0].text;
  for (const auto& c : workload.conversations) {
    EXPECT_LE(c.turns[0].input_tokens, 550);
    EXPECT_GT(c.turns[0].input_tokens, 480);
    EXPECT_EQ(c.turns[0].output_tokens, 150);
    EXPECT_GE(SharedBytes(c.turns[0].text, first), 170U);
  }
  EXPECT_NE(first, workload.conversations[1].turns[0].text);
  options.sonnet_input_len = 20;
  EXPECT_NE(FaultOf(options, &codec).find("--sonnet-input-len"), std::string::npos);
}

struct BrokenFile {
  const char* dataset;
  std::string text;
  const char* fault;
};

TEST(Dataset, SaysWhereAFileIsWrong) {
  const std::string head = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  const std::string deep = "[" + std::string(300000, '[');
  const BrokenFile files[] = {
      {"azure", "", "line 1: the file is empty"},
      {"azure", "TIMESTAMP,ContextTokens\n", "line 1: field GeneratedTokens"},
      {"azure", head + "2023-11-16 18:15:46,1,2\n\nyesterday,1,2\n", "line 4: field TIMESTAMP"},
      {"azure", head + "2023-11-16 18:15:46,1\n", "line 2: only 2 columns"},
      {"azure", head + "2023-11-16 18:15:46,-1,2\n", "line 2: field ContextTokens"},
      {"azure", head + "2023-11-16 18:15:46,1,99999999999999999999\n",
       "line 2: field GeneratedTokens"},
      {"azure", head + "2023-13-16 18:15:46,1,2\n", "line 2: field TIMESTAMP"},
      {"azure", head, "no request is left"},
      {"mooncake", "{}\n", "line 1: field timestamp"},
      {"mooncake", "nonsense\n", "line 1: "},
      {"mooncake", "[1]\n", "line 1: expected a JSON object"},
      {"mooncake", R"({"timestamp": "0"})", "line 1: field timestamp"},
      {"mooncake", R"({"timestamp": 0, "input_length": 1.5})", "line 1: field input_length"},
      {"mooncake", R"({"timestamp": 0, "input_length": 1e300})", "line 1: field input_length"},
      {"mooncake", R"({"timestamp": 0, "input_length": 5})", "line 1: field output_length"},
      {"mooncake", R"({"timestamp": 0, "input_length": 5, "output_length": 1})",
       "line 1: field hash_ids"},
      {"mooncake", R"({"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": ["a"]})",
       "line 1: field hash_ids"},
      {"mooncake", R"({"timestamp": 0, "input_length": 513, "output_length": 1, "hash_ids": [1]})",
       "line 1: field hash_ids"},
      {"sharegpt", "[\n{\"conversations\": 5}\n]", "line 2: field conversations"},
      {"sharegpt", "[\n{\"conversations\": [{\"from\": \"human\", \"value\": 1}]}\n]",
       "line 2: field conversations[0].value"},
      {"sharegpt", "[\n{\"conversations\": [1]}\n]", "line 2: field conversations[0].from"},
      {"sharegpt", "[{},\n", "the array does not end"},
      {"sharegpt", "[] []", "something behind the array"},
      {"sharegpt", "[]", "no entry"},
      {"sharegpt", "[,]", "line 1: "},
      {"sharegpt", "[{}]", "line 1: field conversations: it is missing"},
      {"sharegpt", deep, "the array does not end"},
      {"sharegpt", deep + std::string(300001, ']'), "line 1: "},
      {"sharegpt", "[\"\\", "the array does not end"},
      {"custom", "", "line 1: the file is empty"},
      {"custom", "{\"prompt\": 4}", "line 1: field prompt"},
      {"custom", "{\"prompt\": \"\"}", "line 1: field prompt"},
      {"custom", "{\"prompt\": \"a\", \"output_tokens\": \"many\"}", "line 1: field output_tokens"},
      {"custom", "{\"text\": \"a\"}", "line 1: field prompt"},
      {"custom", "{\"turns\": [\"a\", null]}", "line 1: field turns"},
      {"custom", std::string(1 << 20, '{'), "line 1: "},
      {"custom", std::string("{\"prompt\": \"\xff\"}"), "line 1: "},
      {"multi_turn", "[{\"messages\": [{\"role\": \"user\", \"content\": []}]}]",
       "line 1: field messages[0].content"},
      {"sonnet", "\n\n", "line 1: the file is empty"},
  };
  WordCodec codec;
  for (const BrokenFile& broken : files) {
    const DatasetTestFile file(broken.text);
    DatasetOptions options = DatasetNamed(broken.dataset, file.path());
    const std::string fault = FaultOf(options, &codec);
    EXPECT_NE(fault.find(broken.fault), std::string::npos)
        << broken.dataset << ' ' << broken.text.substr(0, 60) << ": " << fault;
    EXPECT_NE(fault.find(file.path()), std::string::npos) << fault;
    EXPECT_LT(fault.size(), 400U);
  }
  for (const char* path : {"/", "/nonexistent/file"}) {
    const std::string fault = FaultOf(DatasetNamed("custom", path), &codec);
    EXPECT_NE(fault.find(std::string("--dataset-path ") + path), std::string::npos) << fault;
  }
}

TEST(Dataset, TakesAByteOrderMarkAndLongLines) {
  const DatasetTestFile file("\xEF\xBB\xBF{\"prompt\": \"" + std::string(5 << 20, 'x') + "\"}\r\n");
  const auto workload = WorkloadOf(AllOf("custom", file.path()), nullptr);
  ASSERT_EQ(workload.NumRequests(), 1);
  EXPECT_EQ(workload.conversations[0].turns[0].text.size(), std::size_t{5} << 20);
}

TEST(DatasetShared, TracesAreReplayed) {
  const auto azure = SharedBenchFile("traces/azure2023/AzureLLMInferenceTrace_conv.csv");
  const auto mooncake = SharedBenchFile("traces/mooncake/conversation_trace.jsonl");
  const auto folder = SharedBenchFile("tokenizers/qwen2.5");
  if (!azure || !mooncake || !folder) GTEST_SKIP() << "DATA does not name the shared data";
  const auto codec = FolderCodec(*folder);
  ASSERT_NE(codec, nullptr);
  DatasetOptions options = AllOf("azure", *azure);
  options.token_ids = true;
  const BenchWorkload all = WorkloadOf(options, codec.get());
  ASSERT_EQ(all.NumRequests(), 19366);
  EXPECT_NEAR(*all.conversations.back().arrival_s, 3501.72, 0.01);
  EXPECT_EQ(all.conversations[2].turns[0].token_ids.size(), 879U);
  options.token_ids = false;
  options.num_prompts = 50;
  ExpectExactLengths(WorkloadOf(options, codec.get()), *codec);

  options.name = "mooncake";
  options.path = *mooncake;
  options.num_prompts = 12;
  const BenchWorkload some = WorkloadOf(options, codec.get());
  ASSERT_EQ(some.NumRequests(), 12);
  ExpectExactLengths(some, *codec);
  const auto first = codec->Encode(some.conversations[0].turns[0].text);
  const auto second = codec->Encode(some.conversations[1].turns[0].text);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(std::equal(first->begin(), first->begin() + 512, second->begin()));
  EXPECT_FALSE(std::equal(first->begin(), first->begin() + 530, second->begin()));
}

TEST(DatasetShared, SonnetAndMtBench) {
  const auto sonnet = SharedBenchFile("traces/vllm/sonnet.txt");
  const auto mt_bench = SharedBenchFile("prompts/mt-bench/question.jsonl");
  const auto folder = SharedBenchFile("tokenizers/llama3.1");
  if (!sonnet || !mt_bench || !folder) GTEST_SKIP() << "DATA does not name the shared data";
  const auto codec = FolderCodec(*folder);
  ASSERT_NE(codec, nullptr);
  DatasetOptions options = DatasetNamed("sonnet", *sonnet);
  options.num_prompts = 30;
  const BenchWorkload poems = WorkloadOf(options, codec.get());
  ASSERT_EQ(poems.NumRequests(), 30);
  ExpectExactLengths(poems, *codec);
  for (const auto& c : poems.conversations) {
    EXPECT_LE(c.turns[0].input_tokens, 550);
    EXPECT_GT(c.turns[0].input_tokens, 450);
  }
  const BenchWorkload chats = WorkloadOf(AllOf("custom", *mt_bench), codec.get());
  EXPECT_EQ(chats.conversations.size(), 80U);
  EXPECT_EQ(chats.NumRequests(), 160);
}

}  // namespace
}  // namespace quire
