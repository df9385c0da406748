// A build by a toolkit without CUPTI's headers.
#include "backend/cuda/profiler.h"

namespace quire::cuda {

Status StartProfiler() {
  return Error{ErrorKind::kDevice,
               "this build has no CUPTI (cupti.h was not there: install the toolkit's cuda-cupti)",
               "", ""};
}

DeviceProfile StopProfiler() { return {}; }

}  // namespace quire::cuda
