#include "fleet/restart_policy.h"

#include <algorithm>

namespace quire {

RestartPolicy::RestartPolicy(const RestartLimits& limits)
    : limits_(limits), next_wait_(limits.first_wait) {}

void RestartPolicy::OnReady(TimePoint now) {
  ready_since_ = now;
  failed_starts_ = 0;
}

std::optional<Duration> RestartPolicy::OnDeath(TimePoint now) {
  if (ready_since_) {
    if (now - *ready_since_ >= limits_.healthy_after) next_wait_ = limits_.first_wait;
    ready_since_.reset();
  } else if (++failed_starts_ >= limits_.max_failed_starts) {
    return std::nullopt;
  }
  const Duration wait = next_wait_;
  next_wait_ = std::min(2 * next_wait_, limits_.longest_wait);
  return wait;
}

}  // namespace quire
