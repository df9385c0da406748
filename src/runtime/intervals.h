// Arithmetic of stretches of time: what covers what, and what nothing covers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quire {

// [begin, end) in nanoseconds.
struct Interval {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t length() const { return end - begin; }
  bool operator==(const Interval&) const = default;
};

// The same time in disjoint intervals that do not touch, in order. Empty ones vanish.
std::vector<Interval> Unite(std::vector<Interval> intervals);

std::int64_t TotalLength(std::span<const Interval> intervals);

// How much of `interval` lies in `united`, which is as Unite returns it.
std::int64_t Covered(const Interval& interval, std::span<const Interval> united);

// A stretch in which none of the intervals is: after the `before`th, which ends last of all that
// begin earlier, up to the begin of the `after`th.
struct Gap {
  Interval interval;
  std::size_t before = 0, after = 0;
};

// Those between the first begin and the last end, in order. `intervals` are in the order of begins.
std::vector<Gap> FindGaps(std::span<const Interval> intervals);

// The lowest row for each in which it overlaps with nothing else, as trace viewers need it.
// `intervals` are in the order of begins.
std::vector<int> AssignRows(std::span<const Interval> intervals);

}  // namespace quire
