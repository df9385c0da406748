#include "bench/objective.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(ObjectiveTest, Parses) {
  auto objective = ParseObjective("ttft:500", "--slo");
  ASSERT_TRUE(objective.ok());
  EXPECT_EQ(objective->metric, "ttft");
  EXPECT_EQ(objective->percentile, 99);
  EXPECT_EQ(objective->bound_ms, 500);
  EXPECT_EQ(ObjectiveName(*objective), "TTFT P99 < 500 ms");
  objective = ParseObjective("itl:p99.9:12.5", "--slo");
  ASSERT_TRUE(objective.ok());
  EXPECT_EQ(objective->percentile, 99.9);
  EXPECT_EQ(ObjectiveName(*objective), "ITL P99.9 < 12.5 ms");
}

TEST(ObjectiveTest, RefusesInOneLineThatNamesTheFlag) {
  for (const char* text :
       {"", "ttft", "ttft:", ":500", "speed:500", "ttft:-1", "ttft:0", "ttft:nan", "ttft:inf",
        "ttft:500ms", "ttft:99:500", "ttft:p:500", "ttft:p101:500", "ttft:p99:500:1"}) {
    const auto objective = ParseObjective(text, "--slo");
    ASSERT_FALSE(objective.ok()) << text;
    EXPECT_EQ(objective.error().kind, ErrorKind::kConfig);
    EXPECT_EQ(objective.error().message.rfind("--slo: ", 0), 0u);
    EXPECT_EQ(objective.error().message.find('\n'), std::string::npos);
  }
}

TEST(ObjectiveTest, Goodput) {
  const auto bound = ParseGoodput("tpot:50", "--goodput");
  ASSERT_TRUE(bound.ok());
  EXPECT_EQ(*bound, std::pair(std::string("tpot"), 50.0));
  for (const char* text : {"", "tpot", "itl:50", "tpot:-1", "tpot:x", "tpot:p99:50"})
    EXPECT_FALSE(ParseGoodput(text, "--goodput").ok()) << text;
}

TEST(ObjectiveTest, ValueOfARun) {
  RunSummary run;
  const double percentiles[] = {90};
  run.ttft = Distribute({1, 2, 3}, percentiles);
  EXPECT_DOUBLE_EQ(*ObjectiveValue({"ttft", 90, 1}, run), 2.8);
  EXPECT_EQ(*ObjectiveValue({"ttft", 50, 1}, run), 2);
  EXPECT_EQ(*ObjectiveValue({"ttft", 100, 1}, run), 3);
  EXPECT_FALSE(ObjectiveValue({"ttft", 95, 1}, run).has_value());
  EXPECT_FALSE(ObjectiveValue({"tpot", 99, 1}, run).has_value());
  EXPECT_EQ(MetricOf(run, "ttft"), &run.ttft);
  EXPECT_EQ(MetricOf(run, "?"), nullptr);
}

}  // namespace
}  // namespace quire
