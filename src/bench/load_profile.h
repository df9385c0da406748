// LoadProfile: when requests are to be sent.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace quire {

// Rates and burstiness are > 0.
struct LoadProfile {
  double request_rate = std::numeric_limits<double>::infinity();  // requests/s; inf: all at once
  double burstiness = 1;  // shape of the gamma distribution of the gaps: 1 Poisson, >1 more even
  std::optional<int> max_concurrency;
  // From ramp_start_rate to ramp_end_rate over the run instead of one rate, as vLLM's
  // --ramp-up-strategy: linear or exponential.
  std::string ramp;  // empty: none
  double ramp_start_rate = 0;
  double ramp_end_rate = 0;
  // Closed loop: this many users, of whom each sends its next request when its last is answered.
  int closed_loop_users = 0;  // 0: open loop
  std::uint64_t seed = 0;
};

// Times of `count` arrivals in seconds from the start, ascending, the first at 0. At a finite rate
// the gaps are scaled so that the last arrival is where its mean would be, as vLLM does it, so that
// the offered rate is exact; of a ramp too, which vLLM leaves to chance. The same on every machine.
std::vector<double> ArrivalTimes(const LoadProfile& profile, int count);

}  // namespace quire
