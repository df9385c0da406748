#include "backend/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <thread>
#include <vector>

namespace quire::cpu {
namespace {

TEST(ThreadPool, CoversTheRangeOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (const std::int64_t count : {0, 1, 7, 1000}) {
      for (const std::int64_t grain : {1, 3, 2000}) {
        std::vector<int> times(static_cast<std::size_t>(count));
        pool.ParallelFor(count, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
          EXPECT_GE(thread, 0);
          EXPECT_LT(thread, threads);
          for (std::int64_t i = begin; i < end; ++i) ++times[static_cast<std::size_t>(i)];
        });
        for (const int t : times) ASSERT_EQ(t, 1);
      }
    }
  }
}

TEST(ThreadPool, WhatARegionWritesTheNextOneSees) {
  ThreadPool pool(3);
  std::vector<std::int64_t> sums(64, 0);
  for (int round = 0; round < 2000; ++round) {
    // Each round reads what other threads wrote in the round before.
    std::vector<std::int64_t> next(64);
    pool.ParallelFor(64, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) {
        next[static_cast<std::size_t>(i)] = sums[static_cast<std::size_t>((i + 1) % 64)] + 1;
      }
    });
    sums.swap(next);
  }
  for (const std::int64_t sum : sums) EXPECT_EQ(sum, 2000);
}

TEST(ThreadPool, WakesAfterSleepAndIdlesWithoutTheCpu) {
  ThreadPool pool(4);
  std::atomic<int> calls{0};
  const auto work = [&](std::int64_t, std::int64_t, int) { calls.fetch_add(1); };
  for (int i = 0; i < 5; ++i) {
    pool.ParallelFor(16, 1, work);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than workers spin
  }
  EXPECT_EQ(calls.load(), 80);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();  // of all threads
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 50);
}

}  // namespace
}  // namespace quire::cpu
