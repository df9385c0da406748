#include "backend/cpu/thread_pool.h"

#include <chrono>

#include "base/clock.h"

namespace quire::cpu {
namespace {

constexpr std::uint64_t kOpen = std::uint64_t{1} << 31;
constexpr std::uint64_t kInside = kOpen - 1;
constexpr auto kSpin = std::chrono::microseconds(100);

std::uint64_t RegionOf(std::uint64_t state) { return state >> 32; }

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  workers_.reserve(static_cast<std::size_t>(num_threads));
  for (int i = 1; i < num_threads; ++i) {
    workers_.emplace_back([this, i] { WorkerLoop(i); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  wake_.fetch_add(1);
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::TakePieces(int thread) {
  for (;;) {
    const std::int64_t begin = next_.fetch_add(grain_, std::memory_order_relaxed);
    if (begin >= count_) return;
    const std::int64_t end = begin + grain_ < count_ ? begin + grain_ : count_;
    function_(context_, begin, end, thread);
  }
}

void ThreadPool::Run(std::int64_t count, std::int64_t grain, const void* context,
                     Function function) {
  context_ = context;
  function_ = function;
  count_ = count;
  grain_ = grain < 1 ? 1 : grain;
  next_.store(0, std::memory_order_relaxed);
  const std::uint64_t region = RegionOf(state_.load(std::memory_order_relaxed)) + 1;
  // Sequentially consistent, as is the worker's count of sleepers: one of the two sees the other.
  state_.store(region << 32 | kOpen);
  if (sleepers_.load() != 0) {
    wake_.fetch_add(1);
    wake_.notify_all();
  }
  TakePieces(0);
  state_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spins = 0; (state_.load(std::memory_order_acquire) & kInside) != 0; ++spins) {
    if (spins < 2000) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

// Waits for a region after `seen`; returns the state found, or 0 when the pool ends.
std::uint64_t ThreadPool::AwaitRegion(std::uint64_t seen) {
  for (;;) {
    const TimePoint give_up = Now() + kSpin;
    do {
      for (int i = 0; i < 32; ++i) {
        const std::uint64_t state = state_.load(std::memory_order_acquire);
        if (RegionOf(state) != seen) return state;
        Pause();
      }
      if (stop_.load(std::memory_order_relaxed)) return 0;
    } while (Now() < give_up);
    sleepers_.fetch_add(1);
    const std::uint32_t wake = wake_.load();
    if (RegionOf(state_.load()) == seen && !stop_.load()) wake_.wait(wake);
    sleepers_.fetch_sub(1);
  }
}

void ThreadPool::WorkerLoop(int thread) {
  std::uint64_t seen = 0;
  for (;;) {
    std::uint64_t state = AwaitRegion(seen);
    if (state == 0) return;
    seen = RegionOf(state);
    while ((state & kOpen) != 0 && RegionOf(state) == seen) {
      if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
      TakePieces(thread);
      state_.fetch_sub(1, std::memory_order_release);
      break;
    }
  }
}

}  // namespace quire::cpu
