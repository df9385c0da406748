#include "base/utf8.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(Utf8, EveryScalarValueSurvives) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    std::string text;
    AppendUtf8(text, code);
    const Utf8Char decoded = DecodeUtf8(text);
    ASSERT_TRUE(decoded.valid);
    ASSERT_EQ(decoded.code, code);
    ASSERT_EQ(decoded.length, text.size());
  }
}

// Python: bytes.decode("utf-8", "replace").
TEST(Utf8, ReplacesEachMaximalSubpart) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(ToValidUtf8("a\xff"
                        "b"),
            "a" + r + "b");
  EXPECT_EQ(ToValidUtf8("\xe2\x82"), r);
  EXPECT_EQ(ToValidUtf8("\xe2\x82"
                        "a"),
            r + "a");
  EXPECT_EQ(ToValidUtf8("\xc0\x80"), r + r);
  EXPECT_EQ(ToValidUtf8("\xed\xa0\x80"), r + r + r);
  EXPECT_EQ(ToValidUtf8("\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80");
  EXPECT_EQ(ToValidUtf8("\xf0\x9f\x98"), r);
}

TEST(Utf8, FindsTheBeginningOfACharacterAtTheEnd) {
  EXPECT_EQ(IncompleteUtf8Tail(""), 0U);
  EXPECT_EQ(IncompleteUtf8Tail("abc"), 0U);
  EXPECT_EQ(IncompleteUtf8Tail("a\xf0"), 1U);
  EXPECT_EQ(IncompleteUtf8Tail("a\xf0\x9f"), 2U);
  EXPECT_EQ(IncompleteUtf8Tail("a\xf0\x9f\x98"), 3U);
  EXPECT_EQ(IncompleteUtf8Tail("\xf0\x9f\x98\x80"), 0U);
  EXPECT_EQ(IncompleteUtf8Tail("a\xff"), 0U);
  EXPECT_EQ(IncompleteUtf8Tail("\xc0"), 0U);
  EXPECT_EQ(IncompleteUtf8Tail("\xed\xa0"), 0U);  // a surrogate cannot become whole
}

}  // namespace
}  // namespace quire
