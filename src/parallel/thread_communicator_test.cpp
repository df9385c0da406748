#include "parallel/thread_communicator.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

namespace quire {
namespace {

template <class Body>
void OnRanks(int num_ranks, const Body& body) {
  ThreadGroup group(num_ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadCommunicator communicator(group, rank);
      body(communicator);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

class ThreadCommunicatorTest : public testing::TestWithParam<int> {};

TEST_P(ThreadCommunicatorTest, SumsAndGathersAgainAndAgain) {
  const int n = GetParam();
  OnRanks(n, [n](Communicator& tp) {
    for (int round = 0; round < 200; ++round) {
      std::vector<float> x(7);
      std::iota(x.begin(), x.end(), static_cast<float>(tp.rank() * 10 + round));
      tp.AllReduceSum(Tensor(x.data(), DType::kF32, {7}));
      for (int i = 0; i < 7; ++i) {
        const auto want = static_cast<float>(n * (i + round) + 10 * n * (n - 1) / 2);
        ASSERT_EQ(x[static_cast<std::size_t>(i)], want);
      }
      std::vector<float> mine(6, static_cast<float>(tp.rank() + round));
      std::vector<float> all(static_cast<std::size_t>(6 * n));
      tp.AllGatherRows(Tensor(mine.data(), DType::kF32, {2, 3}),
                       Tensor(all.data(), DType::kF32, {2 * n, 3}));
      for (std::size_t i = 0; i < all.size(); ++i)
        ASSERT_EQ(all[i], static_cast<float>(static_cast<int>(i) / 6 + round));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, ThreadCommunicatorTest, testing::Values(1, 2, 3, 5));

TEST(ThreadCommunicatorTest, SumsHalfPrecisionInFloat32) {
  // 2048 + 1 is 2048 in float16: summed pairwise in half precision, the ones would be lost.
  OnRanks(3, [](Communicator& tp) {
    for (const DType dtype : {DType::kF16, DType::kBF16}) {
      const float value = tp.rank() == 0 ? 2048.0F : 8.0F;
      std::vector<std::uint16_t> x(3,
                                   dtype == DType::kF16 ? FloatToF16(value) : FloatToBF16(value));
      tp.AllReduceSum(Tensor(x.data(), dtype, {3}));
      for (const std::uint16_t bits : x) {
        EXPECT_EQ(dtype == DType::kF16 ? F16ToFloat(bits) : BF16ToFloat(bits), 2064.0F);
      }
    }
  });
}

TEST(ThreadCommunicatorTest, FewerElementsThanRanks) {
  OnRanks(4, [](Communicator& tp) {
    float x = 1.0F;
    tp.AllReduceSum(Tensor(&x, DType::kF32, {1}));
    EXPECT_EQ(x, 4.0F);
  });
}

}  // namespace
}  // namespace quire
