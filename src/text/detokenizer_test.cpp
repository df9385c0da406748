#include "text/detokenizer.h"

#include <random>

#include "base/utf8.h"
#include "text/tokenizer_testing.h"

namespace quire {
namespace {

using Ids = std::vector<TokenId>;

std::shared_ptr<const Tokenizer> Load(const std::string& name) {
  auto loaded = Tokenizer::Load(TestTokenizers() / name);
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
  return *loaded;
}

// The tokens that spell single bytes of a byte-fallback vocabulary.
TokenId ByteToken(const Tokenizer& tokenizer, unsigned byte) {
  char name[8] = {};
  std::snprintf(name, sizeof(name), "<0x%02X>", byte);
  return tokenizer.IdOf(name).value_or(-1);
}

TEST(Detokenizer, HoldsBackHalfCharacters) {
  const auto tokenizer = Load("stories260K");
  Detokenizer stream(tokenizer, true);
  EXPECT_EQ(stream.Push(ByteToken(*tokenizer, 0xE2)), "");
  EXPECT_EQ(stream.Push(ByteToken(*tokenizer, 0x82)), "");
  EXPECT_EQ(stream.Push(ByteToken(*tokenizer, 0xAC)), "€");
  EXPECT_EQ(stream.Push(ByteToken(*tokenizer, 0xF0)), "");
  EXPECT_EQ(stream.Push(ByteToken(*tokenizer, 0x9F)), "");
  EXPECT_EQ(stream.Push(*tokenizer->IdOf("▁the")), "\uFFFD the");
  EXPECT_EQ(stream.Push(ByteToken(*tokenizer, 0xFF)), "\uFFFD");
  EXPECT_EQ(stream.Push(ByteToken(*tokenizer, 0xC3)), "");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(Detokenizer, TheFirstSpaceOfATextIsThePrefix) {
  const auto tokenizer = Load("stories260K");
  const TokenId the = *tokenizer->IdOf("▁the");
  const Ids ids = {the, the};
  EXPECT_EQ(Detokenizer(tokenizer, true, true).Push(ids), "the the");
  EXPECT_EQ(Detokenizer(tokenizer, true, false).Push(ids), " the the");
  // A special token that is not shown does not count, one that is shown does.
  const Ids after_bos = {1, the};
  EXPECT_EQ(Detokenizer(tokenizer, true, true).Push(after_bos), "the");
  EXPECT_EQ(Detokenizer(tokenizer, false, true).Push(after_bos), "<s> the");
}

TEST(Detokenizer, SkipsSpecialTokensOnly) {
  const auto tokenizer = Load("bytelevel");
  const Ids ids = {*tokenizer->IdOf("a"), 1, *tokenizer->IdOf("b"), 2};
  EXPECT_EQ(Detokenizer(tokenizer, true).Push(ids), "ab");
  EXPECT_EQ(Detokenizer(tokenizer, false).Push(ids), "a<s>b</s>");
}

TEST(Detokenizer, ThePiecesJoinToTheSameTextHoweverTheTokensCome) {
  std::mt19937 random(11);
  for (const std::string name : {"stories260K", "bytelevel"}) {
    const auto tokenizer = Load(name);
    for (int round = 0; round < 2000; ++round) {
      Ids ids(random() % 30);
      for (TokenId& id : ids)
        id = static_cast<TokenId>(random() % (static_cast<unsigned>(tokenizer->vocab_size()) + 5));
      const bool skip = random() % 2 == 0;
      Detokenizer grouped(tokenizer, skip, true);
      std::string joined;
      for (std::size_t at = 0; at < ids.size();) {
        const std::size_t count = std::min<std::size_t>(1 + random() % 4, ids.size() - at);
        const std::string piece = grouped.Push(std::span(ids).subspan(at, count));
        EXPECT_TRUE(IsValidUtf8(piece));
        joined += piece;
        at += count;
      }
      joined += grouped.Finish();
      ASSERT_EQ(joined, tokenizer->Decode(ids, skip));
      ASSERT_TRUE(IsValidUtf8(joined));

      std::string bytes;
      for (const TokenId id : ids)
        if (!skip || !tokenizer->IsSpecial(id)) bytes += tokenizer->TokenBytes(id);
      Detokenizer behind(tokenizer, skip);
      std::string text = behind.Push(ids);
      text += behind.Finish();
      ASSERT_EQ(text, ToValidUtf8(bytes));
    }
  }
}

}  // namespace
}  // namespace quire
