#include "bench/load_profile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace quire {
namespace {

LoadProfile AtRate(double rate, double burstiness = 1, std::uint64_t seed = 1) {
  LoadProfile profile;
  profile.request_rate = rate;
  profile.burstiness = burstiness;
  profile.seed = seed;
  return profile;
}

std::vector<double> Gaps(const std::vector<double>& times) {
  std::vector<double> gaps;
  for (std::size_t i = 1; i < times.size(); ++i) gaps.push_back(times[i] - times[i - 1]);
  return gaps;
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

double Variance(const std::vector<double>& values) {
  const double mean = Mean(values);
  double sum = 0;
  for (const double v : values) sum += (v - mean) * (v - mean);
  return sum / static_cast<double>(values.size());
}

TEST(LoadProfile, OffersExactlyItsRate) {
  for (const double rate : {0.5, 7.0, 1000.0}) {
    for (const double burstiness : {0.3, 1.0, 10.0, std::numeric_limits<double>::infinity()}) {
      const auto times = ArrivalTimes(AtRate(rate, burstiness), 501);
      ASSERT_EQ(times.size(), 501U);
      EXPECT_EQ(times.front(), 0);
      EXPECT_NEAR(times.back(), 500 / rate, 1e-9 * 500 / rate);
      EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    }
  }
}

// Of a gamma distribution with shape k the squared coefficient of variation is 1 / k.
TEST(LoadProfile, BurstinessIsTheShapeOfTheGaps) {
  for (const double burstiness : {0.25, 0.5, 1.0, 2.0, 20.0}) {
    const auto gaps = Gaps(ArrivalTimes(AtRate(10, burstiness), 200001));
    EXPECT_NEAR(Mean(gaps), 0.1, 1e-9);
    EXPECT_NEAR(Variance(gaps) / 0.01 * burstiness, 1, 0.03) << burstiness;
  }
  for (const double gap :
       Gaps(ArrivalTimes(AtRate(4, std::numeric_limits<double>::infinity()), 50))) {
    EXPECT_NEAR(gap, 0.25, 1e-12);
  }
}

TEST(LoadProfile, PoissonGapsAreExponential) {
  auto gaps = Gaps(ArrivalTimes(AtRate(1), 100001));
  std::sort(gaps.begin(), gaps.end());
  double worst = 0;  // Kolmogorov and Smirnov's distance
  for (std::size_t i = 0; i < gaps.size(); ++i) {
    const double seen = static_cast<double>(i) / static_cast<double>(gaps.size());
    worst = std::max(worst, std::abs(seen - (1 - std::exp(-gaps[i]))));
  }
  EXPECT_LT(worst, 0.006);
}

TEST(LoadProfile, InfinityIsAllAtOnce) {
  const auto times = ArrivalTimes(LoadProfile(), 100);
  EXPECT_EQ(times, std::vector<double>(100, 0.0));
  EXPECT_TRUE(ArrivalTimes(LoadProfile(), 0).empty());
  EXPECT_EQ(ArrivalTimes(AtRate(5), 1), std::vector<double>{0.0});
}

TEST(LoadProfile, SeedsRepeat) {
  const auto times = ArrivalTimes(AtRate(3, 0.7, 9), 100);
  EXPECT_EQ(times, ArrivalTimes(AtRate(3, 0.7, 9), 100));
  EXPECT_NE(times, ArrivalTimes(AtRate(3, 0.7, 10), 100));
}

TEST(LoadProfile, Ramps) {
  LoadProfile profile = AtRate(1, std::numeric_limits<double>::infinity());
  profile.ramp = "linear";
  profile.ramp_start_rate = 0;
  profile.ramp_end_rate = 10;
  auto gaps = Gaps(ArrivalTimes(profile, 11));
  for (std::size_t i = 0; i < gaps.size(); ++i) {
    EXPECT_NEAR(gaps[i], 1 / static_cast<double>(i + 1), 1e-12);
  }
  profile.ramp = "exponential";
  profile.ramp_start_rate = 1;
  profile.ramp_end_rate = 1024;
  gaps = Gaps(ArrivalTimes(profile, 11));
  for (std::size_t i = 0; i < gaps.size(); ++i) {
    EXPECT_NEAR(gaps[i], std::pow(2.0, -static_cast<double>(i + 1)), 1e-12);
  }
  const double even = ArrivalTimes(profile, 1000).back();
  profile.burstiness = 1;
  EXPECT_NEAR(ArrivalTimes(profile, 1000).back(), even, 1e-9);
}

}  // namespace
}  // namespace quire
