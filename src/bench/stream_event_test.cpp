#include "bench/stream_event.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace quire {
namespace {

TEST(StreamEvent, AFastLookAgreesWithAReading) {
  struct Case {
    std::string json;
    bool choices;
    bool plain;
  };
  const std::vector<Case> cases = {
      {R"({"id":"x","choices":[{"index":0,"text":" a","finish_reason":null}]})", true, true},
      {R"({"id": "x", "choices" : [ {"text": "a"} ], "usage": null} )", true, true},
      {R"({"choices":[{"delta":{"content":"{\"choices\":[],\"usage\":1}"}}]})", true, true},
      {R"({"choices":[{"text":"\\"}],"error":null})", true, true},
      {R"({"choices":[{"text":"a","finish_reason":"stop"}]})", true, false},
      {R"({"choices":[{"text":"a"}],"usage":{"completion_tokens":1}})", true, false},
      {R"({"choices":[],"usage":{"completion_tokens":1}})", false, false},
      {R"({"choices":[ ]})", false, false},
      {R"({"choices":null})", false, false},
      {R"({"model":"choices","x":{"choices":[1]}})", false, false},
      {R"({"error":{"message":"no"}})", false, false},
      {R"({})", false, false},
      {R"({"choices":[{"text":"a"}])", false, false},
      {R"({"choices":[{"text":"a}]})", false, false},
      {R"({"choices":[{"text":"a"}]}})", true, false},
      {R"({"choices":[{"text":"a\)", false, false},
      {R"(["choices"])", false, false},
      {"", false, false},
      {"[DONE]", false, false},
  };
  for (const Case& c : cases) {
    const StreamEventLook look = LookAtStreamEvent(c.json);
    EXPECT_EQ(look.has_choices, c.choices) << c.json;
    EXPECT_EQ(look.is_plain, c.plain) << c.json;
    const auto event = ReadStreamEvent(c.json);
    if (event) {
      EXPECT_EQ(event->has_choices, look.has_choices) << c.json;
      EXPECT_FALSE(look.is_plain &&
                   (event->has_usage || !event->finish_reason.empty() || !event->error.empty()))
          << c.json;
    } else {
      EXPECT_FALSE(look.is_plain) << c.json;
    }
  }
}

TEST(StreamEvent, ReadsWhatCounts) {
  const auto chat = ReadStreamEvent(
      R"({"choices":[{"delta":{"content":"hi"},"finish_reason":"length"}],)"
      R"("usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}})");
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->text, "hi");
  EXPECT_EQ(chat->finish_reason, "length");
  EXPECT_TRUE(chat->has_usage);
  EXPECT_EQ(chat->prompt_tokens, 7);
  EXPECT_EQ(chat->completion_tokens, 3);
  EXPECT_EQ(chat->cached_tokens, 4);
  EXPECT_EQ(ReadStreamEvent(R"({"choices":[{"text":"x"}]})")->text, "x");
}

TEST(StreamEvent, SurvivesWhatAServerSays) {
  for (const char* json :
       {R"({"choices":[null]})", R"({"choices":[[1]]})", R"({"choices":{"a":1}})",
        R"({"choices":[{"text":5,"delta":3,"finish_reason":{}}],"usage":[1]})",
        R"({"usage":{"prompt_tokens":-5,"completion_tokens":99999999999999999999}})",
        R"({"usage":{"prompt_tokens":1.5,"completion_tokens":18446744073709551615,)"
        R"("prompt_tokens_details":7}})"}) {
    const auto event = ReadStreamEvent(json);
    ASSERT_TRUE(event) << json;
    EXPECT_GE(event->prompt_tokens, 0);
    EXPECT_GE(event->completion_tokens, 0);
  }
  EXPECT_EQ(ReadStreamEvent(R"({"error":"boom"})")->error, "boom");
  EXPECT_EQ(ReadStreamEvent(R"({"object":"error","message":"old"})")->error, "old");
  EXPECT_EQ(ReadStreamEvent(R"({"error":{"code":7}})")->error, R"({"code":7})");
  EXPECT_FALSE(ReadStreamEvent("nonsense"));
}

TEST(StreamEvent, ErrorTextsAreOneShortLine) {
  EXPECT_EQ(ErrorTextOf(R"({"error":{"message":"too\nlong"}})"), "too long");
  EXPECT_EQ(ErrorTextOf(R"({"detail":"Not Found"})"), "Not Found");
  EXPECT_EQ(ErrorTextOf("<html>\tno</html>"), "<html> no</html>");
  EXPECT_EQ(ErrorTextOf(""), "");
  std::string euros;
  for (int i = 0; i < 200; ++i) euros += "\xe2\x82\xac";
  const std::string clipped = ErrorTextOf("x" + euros);
  EXPECT_EQ(clipped, "x" + euros.substr(0, 297) + "...");
}

}  // namespace
}  // namespace quire
