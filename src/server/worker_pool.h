// WorkerPool: the threads that parse, tokenize and write answers. Owns them and the tasks that
// wait.
#pragma once

#include <asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <mutex>

namespace quire {

class WorkerPool {
 public:
  explicit WorkerPool(int num_threads);  // 0: one a core, at least 2
  ~WorkerPool();

  // Runs the task on one of the threads; drops it once stopped. An exception ends the task alone.
  void Post(std::function<void()> task);
  // Waits for the tasks that run and drops those that wait.
  void Stop();
  // For timers, which end with the pool. Null once stopped.
  asio::thread_pool* executor() { return pool_.get(); }

 private:
  std::mutex mutex_;
  std::unique_ptr<asio::thread_pool> pool_;
};

}  // namespace quire
