#include "text/tokenizer_regex.h"

#include <gtest/gtest.h>

#include "text/tokenizer_regex_syntax.h"

namespace quire {
namespace {

std::string Replace(const std::string& pattern, const std::string& text) {
  const auto regex = TokenizerRegex::Compile(pattern);
  if (!regex.ok()) return "refused: " + regex.error().message;
  return regex->ReplaceAll(text, "<>");
}

// What the library answers to the same (Oniguruma 6.9).
TEST(TokenizerRegex, MeansWhatItMeansToOniguruma) {
  EXPECT_EQ(Replace("^a", "a\na"), "<>\n<>");
  EXPECT_EQ(Replace("a$", "a\na\n"), "<>\n<>\n");
  EXPECT_EQ(Replace(".", "a\nb"), "<>\n<>");
  EXPECT_EQ(Replace("(?m:.)", "a\nb"), "<><><>");
  EXPECT_EQ(Replace(R"(\d{1,3}+)", "1234567"), "<>");
  EXPECT_EQ(Replace("a{,2}b", "aab"), "<>");
  EXPECT_EQ(Replace("[a-z&&[^b]]+", "abc"), "<>b<>");
  EXPECT_EQ(Replace("[^a-z&&[^b]]+", "abc"), "a<>c");
  EXPECT_EQ(Replace(R"([\w&&\d])", "1a"), "<>a");
  EXPECT_EQ(Replace("[a[bc]]+d", "abcd"), "<>");
  EXPECT_EQ(Replace(R"([a\P{L}]+)", "a1b"), "<>b");
  EXPECT_EQ(Replace("[]a]", "a]"), "<><>");
  EXPECT_EQ(Replace(R"(\u0061)", "abc"), "<>bc");
  EXPECT_EQ(Replace(R"(\h)", "xaz"), "x<>z");
  EXPECT_EQ(Replace(R"(\p{^L})", "a1"), "a<>");
  EXPECT_EQ(Replace(R"(\p{Han})", "漢、"), "<>、");
  EXPECT_EQ(Replace(R"([^\S\r\n])", " a\n"), "<>a\n");
  EXPECT_EQ(Replace("(?i:s)", "\u017Fs"), "<><>");
  EXPECT_EQ(Replace(R"(\s)", "\u180E\u00A0\u0085\u3000\u200B"), "\u180E<><><>\u200B");
  EXPECT_EQ(Replace(R"(\S)", "\u180E\u00A0"), "<>\u00A0");
  EXPECT_EQ(Replace(R"(\w+)", "a\u0301_1\u203F²"), "<>");
  EXPECT_EQ(Replace("x*", "axb"), "<>a<>b<>");
}

TEST(TokenizerRegex, KnowsTheCharactersOfUnicode16) {
  EXPECT_EQ(Replace(R"(\p{L})", "\u1C89\U00031350"), "<><>");
  EXPECT_EQ(Replace(R"(\p{Ll})", "\u1C89\u1C8A"), "\u1C89<>");
  EXPECT_EQ(Replace(R"([^\s\p{L}\p{N}])", "\u1C89\U00010D40\u0897"), "\u1C89\U00010D40<>");
}

TEST(TokenizerRegex, RefusesWhatItCannotMean) {
  for (const char* pattern :
       {"(", "[a", "a{3}+(", R"([a&&[b)", R"(\p{NoSuchScript})", R"(\pL)", "(?<name", R"(x{5,6}+)"})
    EXPECT_FALSE(TokenizerRegex::Compile(pattern).ok()) << pattern;
  EXPECT_FALSE(OnigurumaToPcre2(std::string(100, '[')).ok());
}

TEST(TokenizerRegex, LiteralTextHasNoOperators) {
  const auto regex = TokenizerRegex::Literal("a.[");
  ASSERT_TRUE(regex.ok());
  EXPECT_EQ(regex->ReplaceAll("a.[axb[", "-"), "-axb[");
}

TEST(TokenizerRegex, ARunawayPatternEnds) {
  const auto regex = TokenizerRegex::Compile("(a|aa)+$x");
  ASSERT_TRUE(regex.ok());
  EXPECT_EQ(regex->ReplaceAll(std::string(5000, 'a'), "-"), std::string(5000, 'a'));
}

}  // namespace
}  // namespace quire
