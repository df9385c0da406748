#include "fleet/restart_policy.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(RestartPolicyTest, WaitsDoubleUpToTheLongest) {
  RestartPolicy policy({});
  const TimePoint now{};
  Duration expected = milliseconds(100);
  for (int i = 0; i < 20; ++i) {
    policy.OnReady(now);
    EXPECT_EQ(policy.OnDeath(now + seconds(1)), expected);
    expected = std::min<Duration>(2 * expected, seconds(10));
  }
}

TEST(RestartPolicyTest, AMinuteOfHealthBeginsAgain) {
  RestartPolicy policy({});
  const TimePoint now{};
  for (int i = 0; i < 5; ++i) {
    policy.OnReady(now);
    ASSERT_TRUE(policy.OnDeath(now + seconds(59)).has_value());
  }
  policy.OnReady(now);
  EXPECT_EQ(policy.OnDeath(now + seconds(60)), milliseconds(100));
}

TEST(RestartPolicyTest, FiveFailedStartsInARowAreTheEnd) {
  RestartPolicy policy({});
  const TimePoint now{};
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(policy.OnDeath(now).has_value());
  policy.OnReady(now);
  EXPECT_TRUE(policy.OnDeath(now).has_value());  // was ready: does not count
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(policy.OnDeath(now).has_value());
  EXPECT_FALSE(policy.OnDeath(now).has_value());
}

}  // namespace
}  // namespace quire
