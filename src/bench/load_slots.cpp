#include "bench/load_slots.h"

#include <utility>

namespace quire {

bool LoadSlots::Acquire(double planned_s, OnGrant on_grant) {
  const std::lock_guard lock(mutex_);
  if (free_ > 0) {
    --free_;
    return true;
  }
  waiters_.push({planned_s, next_order_++, std::move(on_grant)});
  return false;
}

void LoadSlots::Release(double now_s) {
  OnGrant on_grant;
  {
    const std::lock_guard lock(mutex_);
    if (waiters_.empty()) {
      ++free_;
      return;
    }
    on_grant = waiters_.top().on_grant;
    waiters_.pop();
  }
  on_grant(now_s);
}

}  // namespace quire
