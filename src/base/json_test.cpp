#include "base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace quire {
namespace {

std::string CodeOf(std::string_view text) {
  const auto parsed = ParseJson(text);
  return parsed ? "" : parsed.error().code;
}

TEST(ParseJson, KeepsOrderAndIntegers) {
  const auto parsed = ParseJson(R"({"b": 9223372036854775807, "a": [1.5, null, true, "x"]})");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(WriteJson(*parsed), R"({"b":9223372036854775807,"a":[1.5,null,true,"x"]})");
  EXPECT_TRUE((*parsed)["b"].is_number_integer());
}

TEST(ParseJson, RefusesWhatIsNoJson) {
  for (const char* text :
       {"", " ", "{", "{\"a\":1,}", "{'a':1}", "{\"a\":1} x", "{}{}", "[01]", "[NaN]", "[1e400]",
        "[+1]", "\"a\nb\"", "\"\\x41\"", "True", "[\"\xff\"]", "[\"\xc0\x80\"]",
        "[\"\xed\xa0\x80\"]", "[\"\\ud800\"]", "[\"\\udc00\\ud800\"]"}) {
    EXPECT_EQ(CodeOf(text), "invalid_json") << text;
  }
  EXPECT_EQ(CodeOf(std::string_view("\0", 1)), "invalid_json");
}

TEST(ParseJson, RefusesDuplicateKeysInAnySpelling) {
  EXPECT_EQ(CodeOf(R"({"a": 1, "a": 1})"), "duplicate_key");
  EXPECT_EQ(CodeOf(R"({"ab": 1, "a\u0062": 1})"), "duplicate_key");
  EXPECT_EQ(CodeOf(R"({"a": {"a": 1}, "b": {"a": 1}})"), "");
  JsonLimits lenient;
  lenient.allow_duplicate_keys = true;
  const auto last = ParseJson(R"({"a": [1], "b": 3, "a": {"c": 2}})", lenient);
  ASSERT_TRUE(last.ok());
  EXPECT_EQ(WriteJson(*last), R"({"a":{"c":2},"b":3})");
}

TEST(ParseJson, BoundsDepthWithoutUsingTheStack) {
  EXPECT_EQ(CodeOf(std::string(100, '[') + std::string(100, ']')), "");
  EXPECT_EQ(CodeOf(std::string(101, '[') + std::string(101, ']')), "json_too_deep");
  EXPECT_EQ(CodeOf(std::string(1'000'000, '[')), "json_too_deep");
}

TEST(ParseJson, ManyKeysTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += "\"key" + std::to_string(i) + "\":1,";
  text += "\"end\":1}";
  const auto parsed = ParseJson(text);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->size(), 200'001U);
}

TEST(AppendJsonString, IsTotal) {
  std::string out;
  AppendJsonString(out, std::string("a\"\\\n\t\x01\xff\xe2\x82", 9) + "é😀");
  EXPECT_EQ(out, "\"a\\\"\\\\\\n\\t\\u0001\xef\xbf\xbd\xef\xbf\xbdé😀\"");
  EXPECT_TRUE(ParseJson(out).ok());
}

}  // namespace
}  // namespace quire
