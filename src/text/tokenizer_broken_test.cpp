// Malformed tokenizer.json files: an error that names the file and the field, never a crash.
#include <random>

#include "text/tokenizer_testing.h"

namespace quire {
namespace {

struct Broken {
  std::string pointer;   // where the value is put, as a JSON pointer
  std::string value;     // JSON, or empty to take the member out
  std::string mentions;  // what the error must name
};

const Broken kBroken[] = {
    {"/model", "", "model"},
    {"/model", "[]", "model"},
    {"/model/type", "\"WordPiece\"", "WordPiece"},
    {"/model/vocab", "", "vocab"},
    {"/model/vocab", "[]", "model.vocab"},
    {"/model/vocab/a", "-1", "model.vocab"},
    {"/model/vocab/a", "2147483648", "model.vocab"},
    {"/model/vocab/a", "18446744073709551615", "model.vocab"},
    {"/model/vocab/a", "16777216", "model.vocab"},
    {"/model/vocab/a", "1.5", "model.vocab"},
    {"/model/vocab/a", "\"7\"", "model.vocab"},
    {"/model/vocab/a", "null", "model.vocab"},
    {"/model/vocab/a", "7", "model.vocab"},  // another token has it
    {"/model/merges", "", "merges"},
    {"/model/merges", "{}", "model.merges"},
    {"/model/merges/0", "\"a\"", "model.merges[0]"},
    {"/model/merges/0", "\"a b c\"", "model.merges[0]"},
    {"/model/merges/0", "[\"a\"]", "model.merges[0]"},
    {"/model/merges/0", "[\"a\", 5]", "model.merges[0]"},
    {"/model/merges/0", "17", "model.merges[0]"},
    {"/model/merges/1", "[\"a\", \"nowhere\"]", "model.merges[1]"},
    {"/model/merges/1", "[\"z\", \"z\"]", "model.merges[1]"},  // no token "zz"
    {"/model/dropout", "0.5", "model.dropout"},
    {"/model/unk_token", "\"nowhere\"", "model.unk_token"},
    {"/model/unk_token", "5", "model.unk_token"},
    {"/model/byte_fallback", "1", "model.byte_fallback"},
    {"/model/end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix"},
    {"/added_tokens", "{}", "added_tokens"},
    {"/added_tokens/0", "5", "added_tokens[0]"},
    {"/added_tokens/0/id", "", "added_tokens[0]"},
    {"/added_tokens/0/id", "-1", "added_tokens[0].id"},
    {"/added_tokens/0/id", "4294967296", "added_tokens[0].id"},
    {"/added_tokens/0/id", "1", "added_tokens"},
    {"/added_tokens/0/id", "77", "added_tokens"},  // another id than in the vocabulary
    {"/added_tokens/0/content", "\"\"", "added_tokens[0]"},
    {"/added_tokens/0/content", "null", "added_tokens[0]"},
    {"/added_tokens/0/special", "\"yes\"", "added_tokens[0].special"},
    {"/normalizer", "5", "normalizer"},
    {"/normalizer", R"({"type": "Precompiled"})", "Precompiled"},
    {"/normalizer", R"({"type": "Sequence", "normalizers": 5})", "normalizer.normalizers"},
    {"/normalizer", R"({"type": "Replace", "pattern": {"Regex": "("}, "content": ""})", "pattern"},
    {"/normalizer", R"({"type": "Replace", "pattern": {}, "content": ""})", "normalizer.pattern"},
    {"/normalizer", R"({"type": "Prepend"})", "prepend"},
    {"/pre_tokenizer", "[]", "pre_tokenizer"},
    {"/pre_tokenizer/type", "\"UnicodeScripts\"", "UnicodeScripts"},
    {"/pre_tokenizer/use_regex", "7", "pre_tokenizer.use_regex"},
    {"/pre_tokenizer", R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "Glued"})",
     "Glued"},
    {"/pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "[a"}, "behavior": "Isolated"})",
     "pre_tokenizer.pattern"},
    {"/pre_tokenizer", R"({"type": "Metaspace", "replacement": ""})", "replacement"},
    {"/pre_tokenizer",
     R"({"type": "Metaspace", "replacement": "_", "add_prefix_space": false, "prepend_scheme": "first"})",
     "prepend_scheme"},
    {"/post_processor", R"({"type": "TemplateProcessing"})", "single"},
    {"/post_processor", R"({"type": "TemplateProcessing", "single": []})", "single"},
    {"/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}},
         {"Sequence": {"id": "A"}}], "special_tokens": {}})",
     "special_tokens"},
    {"/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}},
         {"Sequence": {"id": "A"}}], "special_tokens": {"<s>": {"ids": [9999]}}})",
     "9999"},
    {"/post_processor", R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B"}}]})",
     "single[0]"},
    {"/post_processor", R"({"type": "BertProcessing", "cls": ["x"], "sep": ["</s>", 2]})",
     "post_processor.cls"},
    {"/decoder", "null", "decoder"},
    {"/decoder", R"({"type": "WordPiece"})", "WordPiece"},
    {"/decoder", R"({"type": "Strip", "content": "ab", "start": 1})", "decoder"},
    {"/decoder", R"({"type": "Strip", "content": "a", "start": -1})", "decoder"},
    {"/decoder",
     R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]})",
     "decoder.decoders[1]"},
};

TEST(BrokenTokenizer, NamesTheFileAndTheField) {
  for (const Broken& broken : kBroken) {
    SCOPED_TRACE(broken.pointer + " = " + broken.value);
    Json json = TestTokenizerJson("bytelevel");
    const Json::json_pointer pointer(broken.pointer);
    if (broken.value.empty()) {
      json.at(pointer.parent_pointer()).erase(pointer.back());
    } else {
      json[pointer] = Json::parse(broken.value);
    }
    const auto loaded = LoadTestTokenizer(json.dump());
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.error().kind, ErrorKind::kModel);
    EXPECT_EQ(loaded.error().message.rfind("tokenizer.json: ", 0), 0u) << loaded.error().message;
    EXPECT_NE(loaded.error().message.find(broken.mentions), std::string::npos)
        << loaded.error().message;
    EXPECT_EQ(loaded.error().message.find('\n'), std::string::npos);
  }
}

TEST(BrokenTokenizer, DeepSequencesAreRefused) {
  for (const auto& [field, list] :
       {std::pair("normalizer", "normalizers"), std::pair("pre_tokenizer", "pretokenizers"),
        std::pair("post_processor", "processors"), std::pair("decoder", "decoders")}) {
    Json nested = {{"type", "ByteLevel"}};
    for (int i = 0; i < 20; ++i) nested = {{"type", "Sequence"}, {list, Json::array({nested})}};
    Json json = TestTokenizerJson("bytelevel");
    json[field] = nested;
    const auto loaded = LoadTestTokenizer(json.dump());
    ASSERT_FALSE(loaded.ok());
    EXPECT_NE(loaded.error().message.find("nested too deeply"), std::string::npos);
  }
}

TEST(BrokenTokenizer, FilesThatAreNone) {
  const TestFolder folder;
  EXPECT_FALSE(Tokenizer::Load(folder.path()).ok());
  EXPECT_FALSE(Tokenizer::Load(folder.path() / "nowhere").ok());
  std::filesystem::create_directory(folder.path() / "tokenizer.json");
  EXPECT_FALSE(Tokenizer::Load(folder.path()).ok());
  std::filesystem::remove(folder.path() / "tokenizer.json");
  std::filesystem::create_symlink("tokenizer.json", folder.path() / "tokenizer.json");
  const auto loaded = Tokenizer::Load(folder.path());
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().kind, ErrorKind::kModel);
  EXPECT_NE(loaded.error().message.find("tokenizer.json"), std::string::npos);
}

TEST(BrokenTokenizer, CutAnywhereItIsRefused) {
  const std::string whole = TestTokenizerJson("bytelevel").dump();
  for (std::size_t length = 0; length < whole.size(); length += 61) {
    const auto loaded = LoadTestTokenizer(whole.substr(0, length));
    ASSERT_FALSE(loaded.ok()) << length;
    EXPECT_NE(loaded.error().message.find("tokenizer.json"), std::string::npos);
  }
}

TEST(BrokenTokenizer, WithOtherBytesItLoadsOrIsRefused) {
  std::mt19937 random(7);
  for (const std::string base : {"bytelevel", "stories260K"}) {
    const std::string whole = TestTokenizerJson(base).dump();
    for (int round = 0; round < 300; ++round) {
      std::string text = whole;
      for (int i = 0; i < 3; ++i)
        text[random() % text.size()] = "\"{}[]:,0129aZ\\-. \xC3\x01"[random() % 19];
      const auto loaded = LoadTestTokenizer(text);
      if (!loaded.ok()) {
        EXPECT_EQ(loaded.error().kind, ErrorKind::kModel);
        continue;
      }
      const std::vector<TokenId> ids = (*loaded)->Encode("Hello wörld 123 <s>\n漢", true);
      (void)(*loaded)->Decode(ids, false);
    }
  }
}

}  // namespace
}  // namespace quire
