#include "bench/plot_scale.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "bench/html_text.h"

namespace quire {
namespace {

constexpr double kMaxPlottable = 1e15;
constexpr double kLeastOnLog = 1e-9;

// The smallest of 1, 2, 5 × 10^n that is not below `rough` (which is positive).
double NiceStep(double rough) {
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough * (1 - 1e-9)) return factor * power;
  return 10 * power;
}

double StepFor(double lo, double hi, int max_count, bool integer) {
  const int intervals = std::max(max_count, 2) - 1;
  double step = NiceStep(std::max((hi - lo) / intervals, 1e-12));
  if (integer) step = std::max(step, 1.0);
  return step;
}

std::vector<double> Multiples(double lo, double hi, double step) {
  std::vector<double> ticks;
  const double slack = step * 1e-6;
  const double first = std::ceil((lo - slack) / step);
  for (int i = 0; i < 64; ++i) {
    const double tick = (first + i) * step;
    if (tick > hi + slack) break;
    ticks.push_back(std::abs(tick) < slack ? 0 : tick);
  }
  return ticks;
}

// A step of which [lo, hi] holds two multiples, even where that takes more ticks than were asked
// for.
double StepWithTwo(double lo, double hi, int max_count, bool integer) {
  const double step = StepFor(lo, hi, max_count, integer);
  return Multiples(lo, hi, step).size() > 1 ? step : StepFor(lo, hi, std::max(max_count, 6), false);
}

void FitLinear(const PlotAxis& axis, double lo, double hi, int max_ticks, PlotScale& scale) {
  if (axis.zero) {
    lo = std::min(lo, 0.0);
    hi = std::max(hi, 0.0);
  }
  lo = axis.lo.value_or(lo);
  hi = axis.hi.value_or(hi);
  if (!(hi - lo > 1e-9 * std::max({std::abs(lo), std::abs(hi), 1e-3}))) {
    const double room = std::abs(lo) < 1e-6 ? 1 : std::abs(lo) * 0.1;
    if (!axis.zero && !axis.lo) lo -= room;
    hi = std::max(hi, lo) + room;
  }
  const double step = axis.tight ? StepWithTwo(lo, hi, max_ticks, axis.integer)
                                 : StepFor(lo, hi, max_ticks, axis.integer);
  if (!axis.tight) {
    if (!axis.lo) lo = std::floor(lo / step + 1e-6) * step;
    if (!axis.hi) hi = std::ceil(hi / step - 1e-6) * step;
  }
  scale.lo = lo;
  scale.hi = hi;
  for (const double tick : Multiples(lo, hi, step))
    scale.ticks.push_back({tick, TickLabel(tick, step)});
}

void FitLog(const PlotAxis& axis, double lo, double hi, int max_ticks, PlotScale& scale) {
  if (axis.lo && *axis.lo >= kLeastOnLog) lo = *axis.lo;
  hi = std::max(axis.hi.value_or(hi), lo);
  if (!axis.tight) {
    // Out to the 1, 2 or 5 beyond.
    lo = 1 / NiceStep(1 / lo);
    hi = NiceStep(hi);
  }
  if (!(hi > lo * 1.5)) hi = lo * 2;
  scale.lo = lo;
  scale.hi = hi;
  for (const double tick : LogTicks(lo, hi, max_ticks))
    scale.ticks.push_back({tick, TickLabel(tick, tick)});
  // A range within one step of 1, 2, 5.
  if (scale.ticks.size() < 2) {
    scale.ticks.clear();
    const double step = StepWithTwo(lo, hi, 4, false);
    for (const double tick : Multiples(lo, hi, step))
      scale.ticks.push_back({tick, TickLabel(tick, step)});
  }
}

// The lowest and highest point of each of `buckets` stretches, in order, and both ends.
void AppendExtremes(const PlotXy* points, std::size_t count, std::size_t buckets,
                    std::vector<PlotXy>& out) {
  if (count <= 2 * buckets + 2) {
    out.insert(out.end(), points, points + count);
    return;
  }
  out.push_back(points[0]);
  const std::size_t inner = count - 2;
  for (std::size_t b = 0; b < buckets; ++b) {
    const PlotXy* begin = points + 1 + inner * b / buckets;
    const PlotXy* end = points + 1 + inner * (b + 1) / buckets;
    const auto [low, high] = std::minmax_element(
        begin, end, [](const PlotXy& p, const PlotXy& q) { return p.second < q.second; });
    out.push_back(*std::min(low, high));
    if (low != high) out.push_back(*std::max(low, high));
  }
  out.push_back(points[count - 1]);
}

bool IsPlottablePoint(const PlotXy& point) {
  return IsPlottable(point.first) && IsPlottable(point.second);
}

}  // namespace

bool IsPlottable(double value) { return std::isfinite(value) && std::abs(value) <= kMaxPlottable; }

bool IsWide(double lo, double hi) { return lo > 0 && hi / lo > 25; }

double PlotScale::At(double value) const {
  double place = 0;
  if (log) {
    place = value > lo ? std::log(value / lo) / std::log(hi / lo) : 0;
  } else {
    place = (value - lo) / (hi - lo);
  }
  return std::clamp(place, 0.0, 1.0);
}

std::vector<double> NiceTicks(double lo, double hi, int max_count, bool integer) {
  if (!IsPlottable(lo) || !IsPlottable(hi) || !(hi > lo)) return {};
  return Multiples(lo, hi, StepWithTwo(lo, hi, max_count, integer));
}

std::vector<double> LogTicks(double lo, double hi, int max_count) {
  if (!std::isfinite(hi) || !(lo >= kLeastOnLog) || !(hi > lo)) return {};
  const int first = static_cast<int>(std::floor(std::log10(lo) - 1e-9));
  const int last = static_cast<int>(std::ceil(std::log10(hi) + 1e-9));
  std::vector<double> fine;
  std::vector<double> decades;
  for (int n = first; n <= last; ++n) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double tick = factor * std::pow(10, n);
      if (tick < lo * (1 - 1e-9) || tick > hi * (1 + 1e-9)) continue;
      fine.push_back(tick);
      if (factor == 1) decades.push_back(tick);
    }
  }
  const auto limit = static_cast<std::size_t>(std::max(max_count, 2));
  if (fine.size() <= limit || decades.size() < 2) return fine;
  const std::size_t stride = (decades.size() + limit - 1) / limit;
  std::vector<double> ticks;
  for (std::size_t i = 0; i < decades.size(); i += stride) ticks.push_back(decades[i]);
  return ticks;
}

std::string TickLabel(double value, double step) {
  const double size = std::max(std::abs(value), std::abs(step));
  for (const auto& [unit, suffix] : {std::pair{1e9, "G"}, std::pair{1e6, "M"}})
    if (size >= unit && value != 0) {
      const double decimals = -std::floor(std::log10(std::abs(step) / unit) + 1e-9);
      return GroupedNumber(value / unit, static_cast<int>(std::clamp(decimals, 0.0, 6.0))) + suffix;
    }
  if (value == 0 || step == 0) return "0";
  const double decimals = -std::floor(std::log10(std::abs(step)) + 1e-9);
  return GroupedNumber(value, static_cast<int>(std::clamp(decimals, 0.0, 9.0)));
}

PlotScale FitScale(const PlotAxis& axis, const std::vector<double>& values, int max_ticks) {
  bool any = false;
  double lo = axis.log ? 1 : 0, hi = axis.log ? 10 : 1;
  for (const double value : values) {
    if (!IsPlottable(value) || (axis.log && !(value >= kLeastOnLog))) continue;
    lo = any ? std::min(lo, value) : value;
    hi = any ? std::max(hi, value) : value;
    any = true;
  }
  PlotScale scale;
  scale.log = axis.log;
  if (axis.log) {
    FitLog(axis, lo, hi, max_ticks, scale);
  } else {
    FitLinear(axis, lo, hi, max_ticks, scale);
  }
  return scale;
}

std::vector<PlotXy> ThinLine(const std::vector<PlotXy>& points, std::size_t max_points) {
  if (points.size() <= max_points) return points;
  std::vector<PlotXy> whole;
  std::size_t gaps = 0;
  for (const PlotXy& point : points) {
    const bool is_gap = !IsPlottablePoint(point);
    if (is_gap && (whole.empty() || !IsPlottablePoint(whole.back()))) continue;
    whole.push_back(point);
    if (is_gap) ++gaps;
  }
  if (gaps > max_points / 8) {
    std::erase_if(whole, [](const PlotXy& point) { return !IsPlottablePoint(point); });
    gaps = 0;
  }
  if (whole.size() <= max_points) return whole;
  std::vector<PlotXy> out;
  // Each stretch between gaps keeps its two ends beside its share of the buckets.
  const std::size_t buckets = (max_points - std::min(max_points, 4 * (gaps + 1))) / 2;
  for (std::size_t begin = 0; begin < whole.size();) {
    std::size_t end = begin;
    while (end < whole.size() && IsPlottablePoint(whole[end])) ++end;
    AppendExtremes(whole.data() + begin, end - begin, buckets * (end - begin) / whole.size(), out);
    if (end < whole.size()) out.push_back(whole[end]);
    begin = end + 1;
  }
  return out;
}

}  // namespace quire
