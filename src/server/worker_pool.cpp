#include "server/worker_pool.h"

#include <algorithm>
#include <asio/post.hpp>
#include <exception>
#include <thread>
#include <utility>

#include "base/log.h"

namespace quire {
namespace {

std::size_t NumThreads(int wanted) {
  if (wanted > 0) return static_cast<std::size_t>(wanted);
  return std::max<std::size_t>(2, std::thread::hardware_concurrency());
}

}  // namespace

WorkerPool::WorkerPool(int num_threads)
    : pool_(std::make_unique<asio::thread_pool>(NumThreads(num_threads))) {}

WorkerPool::~WorkerPool() { Stop(); }

void WorkerPool::Post(std::function<void()> task) {
  const std::lock_guard lock(mutex_);
  if (pool_ == nullptr) return;
  asio::post(*pool_, [task = std::move(task)] {
    try {
      task();
    } catch (const std::exception& error) {
      LogError("a task of the server failed: {}", error.what());
    }
  });
}

void WorkerPool::Stop() {
  std::unique_ptr<asio::thread_pool> pool;
  {
    const std::lock_guard lock(mutex_);
    pool = std::move(pool_);
  }
  if (pool == nullptr) return;
  pool->stop();
  pool->join();
}

}  // namespace quire
