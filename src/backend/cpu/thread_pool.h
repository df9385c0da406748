// The CPU back end's threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace quire::cpu {

// Owns num_threads − 1 workers; the thread that calls ParallelFor is the remaining one. Workers
// spin for a moment between parallel regions, because a step has hundreds of them, and then sleep.
// One caller at a time.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end, thread) for pieces of at most `grain` that cover [0, count), on all
  // threads; `thread` < num_threads() names the thread. Returns when all are done. Does not
  // allocate.
  template <class Body>
  void ParallelFor(std::int64_t count, std::int64_t grain, const Body& body) {
    if (count <= 0) return;
    if (count <= grain || workers_.empty()) {
      body(std::int64_t{0}, count, 0);
      return;
    }
    Run(count, grain, &body,
        [](const void* context, std::int64_t begin, std::int64_t end, int thread) {
          (*static_cast<const Body*>(context))(begin, end, thread);
        });
  }

 private:
  using Function = void (*)(const void* context, std::int64_t begin, std::int64_t end, int thread);

  void Run(std::int64_t count, std::int64_t grain, const void* context, Function function);
  void WorkerLoop(int thread);
  void TakePieces(int thread);
  std::uint64_t AwaitRegion(std::uint64_t seen);

  // The current region. Written while none is open and nobody is in it; read by threads that are in
  // it.
  const void* context_ = nullptr;
  Function function_ = nullptr;
  std::int64_t count_ = 0;
  std::int64_t grain_ = 1;

  alignas(64) std::atomic<std::int64_t> next_{0};
  // Region number << 32 | open << 31 | workers inside. A worker that comes late finds the region
  // closed and nobody waits for it.
  alignas(64) std::atomic<std::uint64_t> state_{0};
  alignas(64) std::atomic<std::uint32_t> wake_{0};
  std::atomic<std::uint32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace quire::cpu
