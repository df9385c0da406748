#include "layers/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace quire {
namespace {

RopeParameters Plain(std::int64_t dim, double theta) {
  RopeParameters rope;
  rope.rotary_dim = dim;
  rope.theta = theta;
  return rope;
}

TEST(RopeTest, PlainFrequencies) {
  const std::vector<double> f = RopeFrequencies(Plain(8, 10000.0));
  ASSERT_EQ(f.size(), 4U);
  EXPECT_DOUBLE_EQ(f[0], 1.0);
  EXPECT_NEAR(f[1], 0.1, 1e-15);
  EXPECT_NEAR(f[2], 0.01, 1e-15);
  EXPECT_NEAR(f[3], 0.001, 1e-15);
}

TEST(RopeTest, TableHoldsCosinesThenSines) {
  const std::vector<float> table = RopeTable(Plain(4, 10000.0), 1000);
  ASSERT_EQ(table.size(), 4000U);
  EXPECT_EQ(table[0], 1.0F);
  EXPECT_EQ(table[2], 0.0F);
  EXPECT_FLOAT_EQ(table[999 * 4 + 0], static_cast<float>(std::cos(999.0)));
  EXPECT_FLOAT_EQ(table[999 * 4 + 1], static_cast<float>(std::cos(9.99)));
  EXPECT_FLOAT_EQ(table[999 * 4 + 2], static_cast<float>(std::sin(999.0)));
  EXPECT_FLOAT_EQ(table[999 * 4 + 3], static_cast<float>(std::sin(9.99)));
}

TEST(RopeTest, LinearDividesPositions) {
  RopeParameters rope = Plain(8, 10000.0);
  rope.scaling = RopeScaling::kLinear;
  rope.factor = 4.0;
  EXPECT_NEAR(RopeFrequencies(rope)[1], 0.025, 1e-15);
  EXPECT_EQ(RopeAttentionFactor(rope), 1.0);
}

// Expected values: the formulas of modeling_rope_utils.py, worked out by hand for three
// wavelengths.
TEST(RopeTest, Llama3KeepsShortAndStretchesLongWavelengths) {
  RopeParameters rope = Plain(64, 500000.0);
  rope.scaling = RopeScaling::kLlama3;
  rope.factor = 8.0;
  rope.low_freq_factor = 1.0;
  rope.high_freq_factor = 4.0;
  rope.original_max_positions = 64;
  const std::vector<double> scaled = RopeFrequencies(rope);
  const std::vector<double> plain = RopeFrequencies(Plain(64, 500000.0));
  constexpr double kTwoPi = 6.283185307179586;
  int kept = 0, stretched = 0, between = 0;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double turns = 64.0 * plain[i] / kTwoPi;  // over the original context
    if (turns > 4.0) {
      ++kept;
      EXPECT_DOUBLE_EQ(scaled[i], plain[i]);
    } else if (turns < 1.0) {
      ++stretched;
      EXPECT_DOUBLE_EQ(scaled[i], plain[i] / 8.0);
    } else {
      ++between;
      const double smooth = (turns - 1.0) / 3.0;
      EXPECT_NEAR(scaled[i], plain[i] * (smooth + (1.0 - smooth) / 8.0), 1e-12);
    }
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(stretched, 0);
  EXPECT_GT(between, 0);
}

RopeParameters Yarn() {
  RopeParameters rope = Plain(64, 10000.0);
  rope.scaling = RopeScaling::kYarn;
  rope.factor = 8.0;
  rope.original_max_positions = 64;
  return rope;
}

TEST(RopeTest, YarnRampsBetweenTheCorrectedDimensions) {
  // low = floor(64 ln(64 / (32 · 2π)) / (2 ln 10000)) = −4 → 0; high = ceil(64 ln(64 / 2π) / (2 ln
  // 10000)) = 9
  const std::vector<double> scaled = RopeFrequencies(Yarn());
  const std::vector<double> plain = RopeFrequencies(Plain(64, 10000.0));
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double ramp = std::min(1.0, static_cast<double>(i) / 9.0);
    EXPECT_NEAR(scaled[i], plain[i] * (ramp / 8.0 + (1.0 - ramp)), 1e-12) << i;
  }
}

TEST(RopeTest, YarnWithoutTruncationKeepsTheFraction) {
  RopeParameters rope = Yarn();
  rope.truncate = false;
  const double high =
      64.0 * std::log(64.0 / 6.283185307179586) / (2.0 * std::log(10000.0));  // 8.06…
  const std::vector<double> plain = RopeFrequencies(Plain(64, 10000.0));
  const double ramp = 4.0 / high;
  EXPECT_NEAR(RopeFrequencies(rope)[4], plain[4] * (ramp / 8.0 + (1.0 - ramp)), 1e-12);
}

TEST(RopeTest, YarnAttentionFactor) {
  RopeParameters rope = Yarn();
  EXPECT_NEAR(RopeAttentionFactor(rope), 0.1 * std::log(8.0) + 1.0, 1e-12);
  rope.mscale = 0.7;
  EXPECT_NEAR(RopeAttentionFactor(rope), 0.1 * std::log(8.0) + 1.0, 1e-12);  // one alone counts not
  rope.mscale_all_dim = 1.0;
  EXPECT_NEAR(RopeAttentionFactor(rope), (0.07 * std::log(8.0) + 1.0) / (0.1 * std::log(8.0) + 1.0),
              1e-12);
  rope.attention_factor = 1.25;
  EXPECT_EQ(RopeAttentionFactor(rope), 1.25);
  EXPECT_FLOAT_EQ(RopeTable(rope, 1)[0], 1.25F);
  rope.attention_factor.reset();
  rope.mscale = rope.mscale_all_dim = 0.0;
  rope.factor = 0.5;
  EXPECT_EQ(RopeAttentionFactor(rope), 1.0);
}

}  // namespace
}  // namespace quire
