// Profiler: what the GPU does, as CUPTI records it. The library (libcupti, of the CUDA toolkit) is
// opened when a profile is asked for.
#pragma once

#include "backend/profile.h"
#include "base/result.h"

namespace quire::cuda {

// Of this process: CUPTI knows no other kind. From the first start on its hooks stay in place,
// since graphs that it has seen may not outlive their removal: stopped they record nothing, and
// cost the host some 0.07 ms at each launch of a graph. kDevice error of one line where the library
// is not there, or this build has not its headers.
Status StartProfiler();

// Waits for the device.
DeviceProfile StopProfiler();

}  // namespace quire::cuda
