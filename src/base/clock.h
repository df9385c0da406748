// Monotonic time, injectable for tests. On one host all processes share it.
#pragma once

#include <chrono>

namespace quire {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

inline TimePoint Now() { return std::chrono::steady_clock::now(); }
inline double Seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

// What a piece of code that decides by time is given.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const { return quire::Now(); }
};

}  // namespace quire
