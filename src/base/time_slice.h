// How soon a thread gets a core when it wakes among busy ones.
#pragma once

#include <chrono>

namespace quire {

// Asks Linux for time slices of this length for the calling thread and those that it starts: a
// thread with short slices that wakes runs before busy ones with long slices (EEVDF, Linux 6.12;
// older kernels ignore it). 0: the default again. The front end does little at a time and must do
// it at once, while the engine keeps every core busy.
void SetTimeSlice(std::chrono::microseconds slice);

}  // namespace quire
