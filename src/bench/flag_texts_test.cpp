#include "bench/flag_texts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace quire {
namespace {

TEST(FlagTexts, RatesAreInfOrPositiveAndBounded) {
  EXPECT_TRUE(std::isinf(*ParseRate("inf", "--request-rate")));
  EXPECT_EQ(*ParseRate("2.5", "--request-rate"), 2.5);
  for (const char* text : {"", "0", "-1", "nan", "infinity", "1e7", "1 ", "2x", "0x10", "1e999"}) {
    const auto rate = ParseRate(text, "--request-rate");
    ASSERT_FALSE(rate) << text;
    EXPECT_EQ(rate.error().kind, ErrorKind::kConfig);
    EXPECT_EQ(rate.error().message.rfind("--request-rate: ", 0), 0u);
  }
}

TEST(FlagTexts, ListsLoseBlanksAndEmptyWords) {
  EXPECT_EQ(SplitList("ttft, tpot,,itl,"), (std::vector<std::string>{"ttft", "tpot", "itl"}));
  EXPECT_TRUE(SplitList("").empty());
  EXPECT_TRUE(SplitList(" , ").empty());
}

TEST(FlagTexts, PercentilesAreAboveZeroAndUpTo100) {
  EXPECT_EQ(*ParsePercentiles("50,99.9,100", "-x"), (std::vector<double>{50, 99.9, 100}));
  for (const char* text : {"", "0", "101", "-5", "p99", "99,nan"})
    EXPECT_FALSE(ParsePercentiles(text, "-x")) << text;
}

TEST(FlagTexts, HeadersAreOneLineWithAName) {
  EXPECT_EQ(ParseHeaderFlag("X-A=b=c")->value, "b=c");
  EXPECT_EQ(ParseHeaderFlag("X-A: b c")->value, "b c");
  EXPECT_EQ(ParseHeaderFlag("X-A: b c")->name, "X-A");
  for (const char* text : {"", "=b", "novalue", "a b=c", "X-A=b\r\nEvil: 1", "X-A=\x7f"})
    EXPECT_FALSE(ParseHeaderFlag(text)) << text;
  // The value may be a secret.
  EXPECT_EQ(ParseHeaderFlag("X-A=sec\nret").error().message.find("sec"), std::string::npos);
}

TEST(FlagTexts, CommandsKeepNoSecret) {
  const std::vector<std::string> words = {"quire",
                                          "bench",
                                          "--api-key",
                                          "sk-1",
                                          "--api-key=sk-2",
                                          "--header",
                                          "Authorization=Bearer sk-3",
                                          "X-Key: sk-4",
                                          "sk-5",
                                          "--header=X-Key=sk-6",
                                          "--model",
                                          "it's a model",
                                          ""};
  const std::string text = CommandText(words);
  EXPECT_EQ(text.find("sk-"), std::string::npos) << text;
  EXPECT_EQ(
      text,
      "quire bench --api-key *** '--api-key=***' --header 'Authorization=***' 'X-Key=***' *** "
      "'--header=X-Key=***' --model 'it'\\''s a model' ''");
  EXPECT_EQ(CommandText(std::vector<std::string>{"--api-key", "--api-key", "plain"}),
            "--api-key *** plain");
}

TEST(FlagTexts, ResultNamesAreFileNames) {
  RunSummary run;
  run.config.date = "20261121-031500";
  run.config.request_rate = 2.5;
  run.config.max_concurrency = 8;
  run.subject.model = "/models/../org/na me\n";
  EXPECT_EQ(ResultFileName(run), "openai-2.5qps-concurrency8-na_me_-20261121-031500.json");
  run.config.request_rate = INFINITY;
  run.config.max_concurrency.reset();
  run.subject.model = "org/x/";
  EXPECT_EQ(ResultFileName(run), "openai-infqps-x-20261121-031500.json");
}

}  // namespace
}  // namespace quire
