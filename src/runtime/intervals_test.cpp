#include "runtime/intervals.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>

namespace quire {
namespace {

TEST(Intervals, UniteMergesWhatOverlapsOrTouches) {
  EXPECT_EQ(Unite({{10, 20}, {0, 5}, {20, 30}, {3, 8}, {40, 40}}),
            (std::vector<Interval>{{0, 8}, {10, 30}}));
  EXPECT_EQ(Unite({{0, 100}, {10, 20}, {30, 40}}), (std::vector<Interval>{{0, 100}}));
  EXPECT_TRUE(Unite({}).empty());
}

TEST(Intervals, CoveredCountsThePartInside) {
  const std::vector<Interval> united = {{0, 8}, {10, 30}, {50, 60}};
  EXPECT_EQ(Covered({5, 12}, united), 3 + 2);
  EXPECT_EQ(Covered({8, 10}, united), 0);
  EXPECT_EQ(Covered({-5, 100}, united), 8 + 20 + 10);
  EXPECT_EQ(Covered({12, 14}, united), 2);
  EXPECT_EQ(Covered({30, 50}, united), 0);
  EXPECT_EQ(Covered({60, 70}, united), 0);
  EXPECT_EQ(Covered({0, 1}, {}), 0);
}

TEST(Intervals, GapsNameWhatRanBeforeAndAfter) {
  // The second one ends inside the first, which is what runs up to the gap.
  const std::vector<Interval> intervals = {{0, 10}, {2, 4}, {15, 20}, {20, 22}, {30, 31}};
  const std::vector<Gap> gaps = FindGaps(intervals);
  ASSERT_EQ(gaps.size(), 2U);
  EXPECT_EQ(gaps[0].interval, (Interval{10, 15}));
  EXPECT_EQ(gaps[0].before, 0U);
  EXPECT_EQ(gaps[0].after, 2U);
  EXPECT_EQ(gaps[1].interval, (Interval{22, 30}));
  EXPECT_EQ(gaps[1].before, 3U);
  EXPECT_EQ(gaps[1].after, 4U);
  EXPECT_TRUE(FindGaps({}).empty());
}

TEST(Intervals, RowsAreTheLowestFreeOnes) {
  const std::vector<Interval> intervals = {{0, 10},  {5, 15},  {10, 12},
                                           {11, 20}, {15, 16}, {16, 17}};
  EXPECT_EQ(AssignRows(intervals), (std::vector<int>{0, 1, 0, 2, 0, 0}));
}

TEST(Intervals, AgreeWithCountingMoments) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<Interval> intervals;
    const auto count = static_cast<int>(random() % 12);
    for (int i = 0; i < count; ++i) {
      const auto begin = static_cast<std::int64_t>(random() % 60);
      intervals.push_back({begin, begin + static_cast<std::int64_t>(random() % 12)});
    }
    std::sort(intervals.begin(), intervals.end(),
              [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
    std::vector<bool> busy(80);
    for (const Interval& interval : intervals)
      for (std::int64_t t = interval.begin; t < interval.end; ++t)
        busy[static_cast<std::size_t>(t)] = true;
    const std::vector<Interval> united = Unite(intervals);
    EXPECT_EQ(TotalLength(united), std::count(busy.begin(), busy.end(), true));
    const auto begin = static_cast<std::int64_t>(random() % 70);
    const Interval some{begin, begin + static_cast<std::int64_t>(random() % 10)};
    EXPECT_EQ(Covered(some, united),
              std::count(busy.begin() + some.begin, busy.begin() + some.end, true));
    if (intervals.empty()) continue;
    std::int64_t end = 0, gaps = 0;
    for (const Interval& interval : intervals) end = std::max(end, interval.end);
    for (const Gap& gap : FindGaps(intervals)) {
      gaps += gap.interval.length();
      EXPECT_EQ(intervals[gap.before].end, gap.interval.begin);
      EXPECT_EQ(intervals[gap.after].begin, gap.interval.end);
    }
    EXPECT_EQ(gaps + TotalLength(united), end - intervals.front().begin);
    const std::vector<int> rows = AssignRows(intervals);
    for (std::size_t a = 0; a < rows.size(); ++a) {
      for (std::size_t b = a + 1; b < rows.size(); ++b) {
        const bool apart = rows[a] != rows[b] || intervals[a].end <= intervals[b].begin;
        EXPECT_TRUE(apart);
      }
    }
  }
}

}  // namespace
}  // namespace quire
