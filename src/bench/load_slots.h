// LoadSlots: --max-concurrency over all threads of a run.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <queue>
#include <vector>

namespace quire {

// Owns the count of free slots and the queue for them. A slot that comes free goes at once to
// whoever was planned first.
class LoadSlots {
 public:
  using OnGrant = std::function<void(double freed_s)>;

  explicit LoadSlots(int num_slots) : free_(num_slots) {}

  // True: the caller has one. False: `on_grant` is called once, on the thread that gave one back.
  bool Acquire(double planned_s, OnGrant on_grant);
  void Release(double now_s);

 private:
  struct Waiter {
    double planned_s = 0;
    std::uint64_t order = 0;
    OnGrant on_grant;
    bool operator<(const Waiter& other) const {  // the top of the queue is the largest
      return planned_s != other.planned_s ? planned_s > other.planned_s : order > other.order;
    }
  };

  std::mutex mutex_;
  int free_;
  std::uint64_t next_order_ = 0;
  std::priority_queue<Waiter> waiters_;
};

}  // namespace quire
