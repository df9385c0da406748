#include "bench/html_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace quire {
namespace {

TEST(HtmlText, EscapesMarkup) {
  EXPECT_EQ(HtmlEscape("<script>\"x\" & 'y'</script>"),
            "&lt;script&gt;&quot;x&quot; &amp; &#39;y&#39;&lt;/script&gt;");
  EXPECT_EQ(HtmlEscape("größer 模型\n\t."), "größer 模型\n\t.");
}

TEST(HtmlText, ReplacesWhatMarkupMayNotHold) {
  using namespace std::string_view_literals;
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(HtmlEscape("a\0b\x1b[0m\r\x7f"sv), "a" + bad + "b" + bad + "[0m" + bad + bad);
  EXPECT_EQ(HtmlEscape("\xff\xc3"), bad + bad);
  EXPECT_EQ(HtmlEscape("\u0085\ufdd0\uffff\U0001ffff"), bad + bad + bad + bad);
  EXPECT_EQ(HtmlEscape("\u202e\u2066"), bad + bad);
}

TEST(HtmlText, ShortensAtCharacters) {
  EXPECT_EQ(Shortened("abc", 3), "abc");
  EXPECT_EQ(Shortened("abcd", 3), "ab…");
  EXPECT_EQ(Shortened("äöüß", 3), "äö…");
  EXPECT_EQ(Shortened("", 3), "");
}

TEST(HtmlText, Numbers) {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(GroupedNumber(1234567.891, 2), "1,234,567.89");
  EXPECT_EQ(GroupedNumber(-1234.5, 1), "−1,234.5");
  EXPECT_EQ(GroupedNumber(-0.001, 1), "0.0");
  EXPECT_EQ(GroupedNumber(999, 0), "999");
  EXPECT_EQ(GroupedNumber(nan, 1), "–");
  EXPECT_EQ(GroupedNumber(inf, 1), "–");
  EXPECT_EQ(GroupedNumber(1e300, 0), "1e+300");
  EXPECT_EQ(ReadableNumber(3344.9), "3,345");
  EXPECT_EQ(ReadableNumber(99.96), "100");
  EXPECT_EQ(ReadableNumber(12.345), "12.3");
  EXPECT_EQ(ReadableNumber(1.5), "1.50");
  EXPECT_EQ(ReadableNumber(0.01234), "0.0123");
  EXPECT_EQ(ReadableNumber(0), "0");
  EXPECT_EQ(PlainNumber(24), "24");
  EXPECT_EQ(PlainNumber(13.370), "13.37");
  EXPECT_EQ(PlainNumber(0.5), "0.5");
  EXPECT_EQ(PlainNumber(1000), "1,000");
  EXPECT_EQ(PlainNumber(inf), "–");
  EXPECT_EQ(GroupDigits("12345.678"), "12,345.678");
  EXPECT_EQ(GroupDigits("v1234"), "v1234");
  EXPECT_EQ(GroupDigits("1234."), "1234.");
  EXPECT_EQ(GroupDigits(""), "");
}

}  // namespace
}  // namespace quire
