#include "bench/plot_scale.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace quire {
namespace {

const double kNan = std::nan("");
const double kInf = std::numeric_limits<double>::infinity();

std::vector<std::string> Labels(const PlotScale& scale) {
  std::vector<std::string> labels;
  for (const PlotTick& tick : scale.ticks) labels.push_back(tick.label);
  return labels;
}

TEST(PlotScale, TicksAreOneTwoFive) {
  EXPECT_EQ(NiceTicks(0, 10, 6), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(NiceTicks(0, 23, 6), (std::vector<double>{0, 5, 10, 15, 20}));
  EXPECT_EQ(NiceTicks(-3, 3, 4), (std::vector<double>{-2, 0, 2}));
  EXPECT_EQ(NiceTicks(0, 2, 9, true), (std::vector<double>{0, 1, 2}));
  EXPECT_TRUE(NiceTicks(1, 1, 5).empty());
  EXPECT_TRUE(NiceTicks(kNan, 1, 5).empty());
  EXPECT_TRUE(NiceTicks(0, kInf, 5).empty());
}

TEST(PlotScale, TicksOfAnyRange) {
  for (const double size : {1e-9, 0.037, 1.0, 7.3, 512.0, 1e6, 3e13})
    for (const double lo : {0.0, 0.3, -0.7, 12.0})
      for (int max_count = 2; max_count < 12; ++max_count) {
        const double from = lo * size, to = (lo + 1) * size;
        const std::vector<double> ticks = NiceTicks(from, to, max_count);
        ASSERT_GE(ticks.size(), 2u) << from << " " << max_count;
        ASSERT_LE(ticks.size(), static_cast<std::size_t>(std::max(max_count, 6)));
        const double step = ticks[1] - ticks[0];
        const double digit = step / std::pow(10, std::floor(std::log10(step) + 1e-6));
        EXPECT_TRUE(std::abs(digit - 1) < 1e-3 || std::abs(digit - 2) < 1e-3 ||
                    std::abs(digit - 5) < 1e-3)
            << step;
        EXPECT_GE(ticks.front(), from - step * 1e-3);
        EXPECT_LE(ticks.back(), to + step * 1e-3);
      }
}

TEST(PlotScale, LogTicks) {
  EXPECT_EQ(LogTicks(10, 100, 8), (std::vector<double>{10, 20, 50, 100}));
  EXPECT_EQ(LogTicks(1, 1e4, 6), (std::vector<double>{1, 10, 100, 1000, 10000}));
  EXPECT_EQ(LogTicks(1, 1e12, 5).size(), 5u);
  EXPECT_TRUE(LogTicks(0, 10, 5).empty());
  EXPECT_TRUE(LogTicks(-1, 10, 5).empty());
}

TEST(PlotScale, TickLabels) {
  EXPECT_EQ(TickLabel(12000, 2000), "12,000");
  EXPECT_EQ(TickLabel(0.6, 0.2), "0.6");
  EXPECT_EQ(TickLabel(0, 0.2), "0");
  EXPECT_EQ(TickLabel(2.5e6, 5e5), "2.5M");
  EXPECT_EQ(TickLabel(3e9, 1e9), "3G");
}

TEST(PlotScale, FitsLinearAxis) {
  const PlotScale scale = FitScale({.label = "", .integer = true}, {3, 17, kNan, kInf, -kInf}, 6);
  EXPECT_EQ(scale.lo, 0);
  EXPECT_EQ(scale.hi, 20);
  EXPECT_EQ(Labels(scale), (std::vector<std::string>{"0", "5", "10", "15", "20"}));
  EXPECT_DOUBLE_EQ(scale.At(10), 0.5);
  EXPECT_EQ(scale.At(-5), 0);
  EXPECT_EQ(scale.At(50), 1);
  const PlotScale tight = FitScale({.label = "", .tight = true}, {0, 57}, 7);
  EXPECT_EQ(tight.hi, 57);
  EXPECT_EQ(tight.ticks.back().value, 50);
}

TEST(PlotScale, FitsLogAxis) {
  const PlotScale scale = FitScale({.label = "", .log = true}, {21, 4200, -3, 0, kNan}, 9);
  EXPECT_NEAR(scale.lo, 20, 1e-9);
  EXPECT_NEAR(scale.hi, 5000, 1e-9);
  EXPECT_NEAR(scale.At(std::sqrt(20.0 * 5000)), 0.5, 1e-9);
  EXPECT_EQ(scale.At(0), 0);
  EXPECT_EQ(scale.At(-1), 0);
}

TEST(PlotScale, FitsDegenerateData) {
  for (const bool log : {false, true})
    for (const bool zero : {false, true})
      for (const bool tight : {false, true})
        for (const std::vector<double>& values : {std::vector<double>{},
                                                  {0},
                                                  {5},
                                                  {5, 5},
                                                  {-7},
                                                  {kNan},
                                                  {1e15},
                                                  {1e-300},
                                                  {1e300},
                                                  {-1e15, 1e15},
                                                  {1e-300, 1e15},
                                                  {2.1, 2.2},
                                                  {2.1, 4.2}}) {
          const PlotScale scale =
              FitScale({.label = "", .log = log, .zero = zero, .tight = tight}, values, 6);
          EXPECT_LT(scale.lo, scale.hi);
          EXPECT_FALSE(scale.ticks.empty());
          EXPECT_LE(scale.ticks.size(), 20u);
          for (const double value : values) {
            if (std::isnan(value)) continue;
            EXPECT_TRUE(scale.At(value) >= 0 && scale.At(value) <= 1) << value;
          }
        }
}

TEST(PlotScale, ThinsLinesAndKeepsSpikes) {
  std::vector<PlotXy> points;
  for (int i = 0; i < 100000; ++i) points.emplace_back(i, i % 7);
  points[54321].second = 900;
  points[77777].second = -900;
  const std::vector<PlotXy> thin = ThinLine(points, 500);
  EXPECT_LE(thin.size(), 500u);
  EXPECT_GE(thin.size(), 300u);
  EXPECT_EQ(thin.front(), points.front());
  EXPECT_EQ(thin.back(), points.back());
  EXPECT_TRUE(std::is_sorted(thin.begin(), thin.end()));
  EXPECT_NE(std::find(thin.begin(), thin.end(), points[54321]), thin.end());
  EXPECT_NE(std::find(thin.begin(), thin.end(), points[77777]), thin.end());
  EXPECT_EQ(ThinLine({{1, 2}}, 500).size(), 1u);
  EXPECT_TRUE(ThinLine({}, 500).empty());
}

TEST(PlotScale, ThinningKeepsAFewGapsAndDropsMany) {
  std::vector<PlotXy> points;
  for (int i = 0; i < 10000; ++i) points.emplace_back(i, i == 5000 ? kNan : 1);
  const auto gaps = [](const std::vector<PlotXy>& line) {
    return std::count_if(line.begin(), line.end(),
                         [](const PlotXy& p) { return std::isnan(p.second); });
  };
  const std::vector<PlotXy> one = ThinLine(points, 300);
  EXPECT_EQ(gaps(one), 1);
  EXPECT_LE(one.size(), 300u);
  for (std::size_t i = 0; i < points.size(); i += 2) points[i].second = kNan;
  const std::vector<PlotXy> many = ThinLine(points, 300);
  EXPECT_EQ(gaps(many), 0);
  EXPECT_LE(many.size(), 300u);
}

}  // namespace
}  // namespace quire
