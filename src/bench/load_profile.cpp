#include "bench/load_profile.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace quire {
namespace {

// Owns the random stream of one run. The standard library's distributions give other numbers with
// every library; these give the same everywhere.
class ArrivalRandom {
 public:
  explicit ArrivalRandom(std::uint64_t seed) : engine_(seed) {}

  // Mean 1 and variance 1/shape (Marsaglia and Tsang, 2000).
  double UnitMeanGamma(double shape) {
    if (shape >= 1) return Gamma(shape) / shape;
    const double boost = std::pow(Uniform(), 1 / shape);
    return Gamma(shape + 1) * boost / shape;
  }

 private:
  double Uniform() {  // in (0, 1)
    return (static_cast<double>(engine_() >> 11) + 0.5) * 0x1p-53;
  }
  double Normal() {
    constexpr double kTwoPi = 6.283185307179586;
    const double radius = std::sqrt(-2 * std::log(Uniform()));
    return radius * std::cos(kTwoPi * Uniform());
  }
  double Gamma(double shape) {  // shape >= 1
    const double d = shape - 1.0 / 3;
    const double c = 1 / std::sqrt(9 * d);
    while (true) {
      const double x = Normal();
      const double v = std::pow(1 + c * x, 3);
      if (v > 0 && std::log(Uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
    }
  }

  std::mt19937_64 engine_;
};

double RateAt(const LoadProfile& profile, int index, int count) {
  const double start = profile.ramp_start_rate;
  const double end = profile.ramp_end_rate;
  const double progress = static_cast<double>(index) / std::max(count - 1, 1);
  if (profile.ramp == "linear") return start + (end - start) * progress;
  if (profile.ramp == "exponential") return start * std::pow(end / start, progress);
  return profile.request_rate;
}

}  // namespace

std::vector<double> ArrivalTimes(const LoadProfile& profile, int count) {
  std::vector<double> times(static_cast<std::size_t>(std::max(count, 0)), 0.0);
  ArrivalRandom random(profile.seed);
  double mean_total = 0;
  double total = 0;
  for (int i = 1; i < count; ++i) {
    const double mean_gap = 1 / RateAt(profile, i, count);  // at an infinite rate 0
    const bool even = std::isinf(profile.burstiness);
    mean_total += mean_gap;
    total += even ? mean_gap : mean_gap * random.UnitMeanGamma(profile.burstiness);
    times[static_cast<std::size_t>(i)] = total;
  }
  if (total > 0) {
    for (double& time : times) time *= mean_total / total;
  }
  return times;
}

}  // namespace quire
