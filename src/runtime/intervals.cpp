#include "runtime/intervals.h"

#include <algorithm>

namespace quire {

std::vector<Interval> Unite(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end(),
            [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  std::vector<Interval> united;
  for (const Interval& interval : intervals) {
    if (interval.length() <= 0) continue;
    if (!united.empty() && interval.begin <= united.back().end) {
      united.back().end = std::max(united.back().end, interval.end);
    } else {
      united.push_back(interval);
    }
  }
  return united;
}

std::int64_t TotalLength(std::span<const Interval> intervals) {
  std::int64_t total = 0;
  for (const Interval& interval : intervals) total += interval.length();
  return total;
}

std::int64_t Covered(const Interval& interval, std::span<const Interval> united) {
  const auto first =
      std::upper_bound(united.begin(), united.end(), interval.begin,
                       [](std::int64_t at, const Interval& other) { return at < other.end; });
  std::int64_t covered = 0;
  for (auto other = first; other != united.end() && other->begin < interval.end; ++other)
    covered += std::min(interval.end, other->end) - std::max(interval.begin, other->begin);
  return covered;
}

std::vector<Gap> FindGaps(std::span<const Interval> intervals) {
  std::vector<Gap> gaps;
  std::size_t last = 0;
  for (std::size_t i = 1; i < intervals.size(); ++i) {
    if (intervals[i].begin > intervals[last].end)
      gaps.push_back({{intervals[last].end, intervals[i].begin}, last, i});
    if (intervals[i].end > intervals[last].end) last = i;
  }
  return gaps;
}

std::vector<int> AssignRows(std::span<const Interval> intervals) {
  std::vector<int> rows;
  std::vector<std::int64_t> ends;  // of each row
  rows.reserve(intervals.size());
  for (const Interval& interval : intervals) {
    const auto free = std::find_if(ends.begin(), ends.end(),
                                   [&](std::int64_t end) { return end <= interval.begin; });
    rows.push_back(static_cast<int>(free - ends.begin()));
    if (free == ends.end()) {
      ends.push_back(interval.end);
    } else {
      *free = interval.end;
    }
  }
  return rows;
}

}  // namespace quire
