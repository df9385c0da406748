// PlotScale: from values to places on an axis, and where its ticks are.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace quire {

using PlotXy = std::pair<double, double>;

// What an axis shall be like; the data decides the rest.
struct PlotAxis {
  std::string label;  // what and its unit: "Time, s"
  bool log = false;
  bool zero = true;      // a linear axis begins at 0
  bool tight = false;    // ends at the last value, not at the next tick
  bool integer = false;  // counts: no ticks between whole numbers
  std::optional<double> lo = {}, hi = {};
};

struct PlotTick {
  double value = 0;
  std::string label;
};

// Holds the range of one axis and its ticks.
struct PlotScale {
  double lo = 0, hi = 1;
  bool log = false;
  std::vector<PlotTick> ticks;

  // 0 at lo, 1 at hi; what lies outside lands on the nearer end.
  double At(double value) const;
};

// Values a plot can show: finite and of a size that leaves room for arithmetic.
bool IsPlottable(double value);

// Multiples of 1, 2 or 5 times a power of ten in [lo, hi], at most `max_count`, except
// that two are always found (where `integer`, two fractions if need be).
std::vector<double> NiceTicks(double lo, double hi, int max_count, bool integer = false);
// 1, 2 and 5 of each decade in [lo, hi] where they are no more than `max_count`, else powers of
// ten, every n-th where needed.
std::vector<double> LogTicks(double lo, double hi, int max_count);
// With as many decimals as tell it from the next tick, separators, and M or G for large ones.
std::string TickLabel(double value, double step);

// Fits an axis to values; those that are not plottable (or not positive, on a log axis) are passed
// over, and with none left the axis is 0..1 (1..10).
PlotScale FitScale(const PlotAxis& axis, const std::vector<double>& values, int max_ticks);

// Whether values cover so much that only a log axis shows them all.
bool IsWide(double lo, double hi);

// At most `max_points` points of a line, with the lowest and highest of each stretch among them, so
// that no spike is lost. A gap (a point that is not plottable) stays a gap unless there are too
// many of them.
std::vector<PlotXy> ThinLine(const std::vector<PlotXy>& points, std::size_t max_points);

}  // namespace quire
