// RestartPolicy: when an engine that died is started again, and when no more.
#pragma once

#include <chrono>
#include <optional>

#include "base/clock.h"

namespace quire {

struct RestartLimits {
  Duration first_wait = std::chrono::milliseconds(100);
  Duration longest_wait = std::chrono::seconds(10);  // the waits double up to this
  Duration healthy_after =
      std::chrono::seconds(60);  // ready for so long: begin again with first_wait
  int max_failed_starts = 5;     // deaths in a row before being ready
};

// Owns the count of failures. An engine that becomes ready and dies, again and again, is started
// for ever, with waits of up to longest_wait; one that does not become ready any more is given up.
class RestartPolicy {
 public:
  explicit RestartPolicy(const RestartLimits& limits);

  void OnReady(TimePoint now);
  // How long to wait before the next start; none: give up.
  std::optional<Duration> OnDeath(TimePoint now);

 private:
  RestartLimits limits_;
  Duration next_wait_;
  int failed_starts_ = 0;
  std::optional<TimePoint> ready_since_;
};

}  // namespace quire
