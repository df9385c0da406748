#include "text/tokenizer.h"

#include <ctime>
#include <thread>

#include "text/tokenizer_testing.h"

namespace quire {
namespace {

using Ids = std::vector<TokenId>;

std::shared_ptr<const Tokenizer> MustLoad(const std::string& text) {
  auto loaded = LoadTestTokenizer(text);
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
  return loaded.ok() ? *loaded : nullptr;
}

// "model.byte_fallback" names a member of a member.
void Change(Json& json, const std::string& path, const Json& value) {
  Json* at = &json;
  std::stringstream keys(path);
  for (std::string key; std::getline(keys, key, '.');) at = &(*at)[key];
  *at = value;
}

// expected.json is made by the tokenizers library 0.23.3.
TEST(Tokenizer, GivesTheIdsOfTheLibrary) {
  const Json expected = Json::parse(ReadTestFile(TestTokenizers() / "expected.json"));
  ASSERT_GT(expected.size(), 20u);
  for (const Json& group : expected) {
    SCOPED_TRACE(group["folder"].get<std::string>() + ": " + group["name"].get<std::string>());
    Json json = TestTokenizerJson(group["folder"]);
    for (const auto& [path, value] : group["changes"].items()) Change(json, path, value);
    const auto tokenizer = MustLoad(json.dump());
    ASSERT_NE(tokenizer, nullptr);
    for (const Json& example : group["cases"]) {
      const std::string text = example["text"];
      const Ids ids = example["ids"];
      EXPECT_EQ(tokenizer->Encode(text, false), ids) << example;
      if (example.contains("decoded")) {
        EXPECT_EQ(tokenizer->Decode(ids, false), example["decoded"]);
      }
    }
    const Json& special = group["with_special_tokens"];
    EXPECT_EQ(tokenizer->Encode(special["text"].get<std::string>(), true), Ids(special["ids"]));
  }
}

TEST(Tokenizer, KnowsItsTokens) {
  const auto loaded = Tokenizer::Load(TestTokenizers() / "stories260K");
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const Tokenizer& tokenizer = **loaded;
  EXPECT_EQ(tokenizer.vocab_size(), 512);
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.special_tokens().at("eos_token"), "</s>");
  EXPECT_EQ(tokenizer.IdOf("</s>"), 2);
  EXPECT_EQ(tokenizer.IdOf("no such token"), std::nullopt);
  EXPECT_TRUE(tokenizer.IsSpecial(1));
  EXPECT_FALSE(tokenizer.IsSpecial(300));
  EXPECT_EQ(tokenizer.TokenString(13), "<0x0A>");
  EXPECT_EQ(tokenizer.TokenBytes(13), "\n");
  EXPECT_EQ(tokenizer.TokenBytes(1), "<s>");
  const std::optional<TokenId> the = tokenizer.IdOf("▁the");
  ASSERT_TRUE(the.has_value());
  EXPECT_EQ(tokenizer.TokenBytes(*the), " the");
  for (const TokenId id : {-1, 512, 1 << 30, INT32_MIN, INT32_MAX}) {
    EXPECT_EQ(tokenizer.TokenBytes(id), "");
    EXPECT_EQ(tokenizer.TokenString(id), "");
    EXPECT_FALSE(tokenizer.IsSpecial(id));
    EXPECT_EQ(tokenizer.Decode(Ids{id, *the, id}, false), "the");
  }
  EXPECT_EQ(tokenizer.Decode(Ids{1, *the, 2}, true), "the");
  EXPECT_EQ(tokenizer.Decode(Ids{1, *the, 2}, false), "<s> the</s>");
}

TEST(Tokenizer, RepairsTextThatIsNotUtf8) {
  const auto loaded = Tokenizer::Load(TestTokenizers() / "bytelevel");
  ASSERT_TRUE(loaded.ok());
  const std::string broken = "a\xFFz\xE2\x82";
  EXPECT_EQ((*loaded)->Decode((*loaded)->Encode(broken, false), false), "a\uFFFDz\uFFFD");
}

TEST(Tokenizer, ThreadsShareOne) {
  const auto loaded = Tokenizer::Load(TestTokenizers() / "bytelevel");
  ASSERT_TRUE(loaded.ok());
  const std::string text = "Several threads, one tokenizer; each gets the same ids as the others. ";
  const Ids expected = (*loaded)->Encode(text, false);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) EXPECT_EQ((*loaded)->Encode(text, false), expected);
    });
  for (std::thread& thread : threads) thread.join();
}

double CpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double EncodeSeconds(const Tokenizer& tokenizer, const std::string& piece, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += piece;
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const double start = CpuSeconds();
    EXPECT_FALSE(tokenizer.Encode(text, false).empty());
    best = std::min(best, CpuSeconds() - start);
  }
  return best;
}

TEST(Tokenizer, TimeIsLinear) {
  Json o200k = TestTokenizerJson("bytelevel");
  for (const Json& group : Json::parse(ReadTestFile(TestTokenizers() / "expected.json")))
    if (group["name"] == "o200k pattern")
      o200k["pre_tokenizer"] = group["changes"]["pre_tokenizer"];
  o200k["normalizer"] = {{"type", "NFC"}};
  const auto byte_level = MustLoad(o200k.dump());
  const auto sentencepiece = MustLoad(TestTokenizerJson("stories260K").dump());
  ASSERT_TRUE(byte_level && sentencepiece);
  for (const auto& tokenizer : {byte_level, sentencepiece}) {
    for (const std::string piece :
         {"a", "A", "ab", " ", "\n", "\r\n", ".", "漢", "1", "😀", "\u0301\u0316", "<s", "<s>", " a",
          "The quick brown fox ", " \n", "'"}) {
      const double small = EncodeSeconds(*tokenizer, piece, 25'000);
      const double big = EncodeSeconds(*tokenizer, piece, 100'000);
      EXPECT_LT(big, 8 * small + 0.01) << piece;  // quadratic would be 16 times
    }
  }
}

TEST(TokenizerFolder, ReadsTheConfigFiles) {
  const TestFolder folder;
  folder.Write("tokenizer.json", TestTokenizerJson("bytelevel").dump());
  folder.Write("tokenizer_config.json", R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>",
      "pad_token": null, "add_bos_token": true, "image_token": "<unk>",
      "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}],
      "added_tokens_decoder": {"1": {"content": "<s>"}, "400": {"content": "<new>", "special": true},
                               "5": {"content": "<taken>"}}})");
  folder.Write("special_tokens_map.json", R"({"pad_token": "</s>", "eos_token": "<unk>"})");
  auto loaded = Tokenizer::Load(folder.path());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const std::map<std::string, std::string> tokens = {
      {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"pad_token", "</s>"}, {"image_token", "<unk>"}};
  EXPECT_EQ((*loaded)->special_tokens(), tokens);
  EXPECT_EQ((*loaded)->bos_id(), 1);
  EXPECT_EQ((*loaded)->chat_template(), "D");
  EXPECT_EQ((*loaded)->Encode("<new>", false), Ids{400});
  EXPECT_TRUE((*loaded)->IsSpecial(400));
  EXPECT_EQ((*loaded)->vocab_size(), 401);
  EXPECT_EQ((*loaded)->IdOf("<taken>"), std::nullopt);
  EXPECT_EQ((*loaded)->TokenBytes(350), "");  // a gap

  folder.Write("chat_template.jinja", "J");
  loaded = Tokenizer::Load(folder.path());
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ((*loaded)->chat_template(), "J");
}

TEST(TokenizerFolder, NamesTheConfigFileThatIsBroken) {
  const std::pair<const char*, const char*> broken[] = {
      {"tokenizer_config.json", R"({"bos_token": 5})"},
      {"tokenizer_config.json", R"({"bos_token": {"id": 5}})"},
      {"tokenizer_config.json", R"({"chat_template": 5})"},
      {"tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "a"}}})"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"5000000000": {"content": "a"}}})"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": []})"},
      {"tokenizer_config.json", R"([])"},
      {"tokenizer_config.json", R"({"bos_token": )"},
      {"special_tokens_map.json", R"({"eos_token": true})"},
      {"chat_template.jinja", "\xFF"}};
  for (const auto& [name, text] : broken) {
    const TestFolder folder;
    folder.Write("tokenizer.json", TestTokenizerJson("bytelevel").dump());
    folder.Write(name, text);
    const auto loaded = Tokenizer::Load(folder.path());
    ASSERT_FALSE(loaded.ok()) << text;
    EXPECT_EQ(loaded.error().kind, ErrorKind::kModel);
    EXPECT_NE(loaded.error().message.find(name), std::string::npos) << loaded.error().message;
  }
}

}  // namespace
}  // namespace quire
