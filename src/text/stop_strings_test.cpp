#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace quire {
namespace {

struct Outcome {
  std::string shown;
  std::optional<std::string> matched;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome Filter(const std::vector<std::string>& stops, bool include,
               const std::vector<std::string>& pieces) {
  StopStrings filter(stops, include);
  Outcome outcome;
  for (const std::string& piece : pieces) {
    outcome.shown += filter.Push(piece);
    if (filter.matched()) {
      EXPECT_EQ(filter.Push("more"), "");
    }
  }
  outcome.shown += filter.Finish();
  outcome.matched = filter.matched();
  return outcome;
}

// The stop string that ends first, the longest of those.
Outcome Naive(const std::vector<std::string>& stops, bool include, const std::string& text) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    const std::string* best = nullptr;
    for (const std::string& stop : stops)
      if (!stop.empty() && std::string_view(text).substr(0, end).ends_with(stop) &&
          (best == nullptr || stop.size() > best->size()))
        best = &stop;
    if (best != nullptr) return {text.substr(0, include ? end : end - best->size()), *best};
  }
  return {text, std::nullopt};
}

TEST(StopStrings, MatchesAcrossPieces) {
  EXPECT_EQ(Filter({"END"}, false, {"abc E", "N", "D def"}), (Outcome{"abc ", "END"}));
  EXPECT_EQ(Filter({"END"}, true, {"abc E", "N", "D def"}), (Outcome{"abc END", "END"}));
  EXPECT_EQ(Filter({"END"}, false, {"abc E", "N", "d"}), (Outcome{"abc ENd", std::nullopt}));
  EXPECT_EQ(Filter({"aab"}, false, {"a", "a", "a", "b"}), (Outcome{"a", "aab"}));
  EXPECT_EQ(Filter({}, false, {"a", "b"}), (Outcome{"ab", std::nullopt}));
  EXPECT_EQ(Filter({""}, false, {"a", "b"}), (Outcome{"ab", std::nullopt}));
}

TEST(StopStrings, TheOneThatEndsFirstCounts) {
  EXPECT_EQ(Filter({"abcd", "bc"}, false, {"xabcd"}), (Outcome{"xa", "bc"}));
  EXPECT_EQ(Filter({"c", "abc"}, false, {"xabc"}), (Outcome{"x", "abc"}));
}

TEST(StopStrings, HoldsBackOnlyWhatCouldBecomeOne) {
  StopStrings filter({"\n\nUser:"}, false);
  EXPECT_EQ(filter.Push("Hello\n"), "Hello");
  EXPECT_EQ(filter.Push("\nUs"), "");
  EXPECT_EQ(filter.Push("e it"), "\n\nUse it");
  EXPECT_EQ(filter.Push("\n"), "");
  EXPECT_EQ(filter.Finish(), "\n");
}

TEST(StopStrings, AgreesWithTheNaiveSearchHoweverTheTextIsCut) {
  std::mt19937 random(3);
  auto word = [&](std::size_t most) {
    std::string text;
    for (std::size_t length = random() % (most + 1); text.size() < length;)
      text += "ab"[random() % 2];
    return text;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (std::size_t i = random() % 4; i > 0; --i) stops.push_back(word(5));
    const std::string text = word(20);
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < text.size(); at += pieces.back().size())
      pieces.push_back(text.substr(at, 1 + random() % 4));
    const bool include = random() % 2 == 0;
    ASSERT_EQ(Filter(stops, include, pieces), Naive(stops, include, text)) << text;
  }
}

TEST(StopStrings, LongNearMissesAreLinear) {
  // Quadratic work would be 10¹⁰ steps here.
  const std::string stop = std::string(100'000, 'a') + "b";
  StopStrings filter({stop, std::string(50'000, 'a') + "c"}, false);
  std::size_t shown = 0;
  for (int i = 0; i < 300'000; ++i) shown += filter.Push("a").size();
  EXPECT_EQ(shown, 200'000u);
  shown += filter.Finish().size();
  EXPECT_EQ(shown, 300'000u);
}

}  // namespace
}  // namespace quire
