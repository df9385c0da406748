// The CUDA device and its errors.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "base/result.h"

namespace quire::cuda {

// A CUDA error behind a launch is sticky: nothing of this process can use the device again, so the
// process says what happened and ends (section 1 of the architecture; the front end starts another
// engine).
void Check(cudaError_t status, const char* what);

struct DeviceFacts {
  int ordinal = 0;
  cudaDeviceProp properties{};
  int driver_version = 0;   // 13000 is 13.0: what the driver can run
  int runtime_version = 0;  // of this program
  int compute_capability() const { return 10 * properties.major + properties.minor; }
  bool hopper() const { return properties.major == 9; }
};

// kDevice error of one line where there is no driver, no device, or it is too old.
Result<DeviceFacts> OpenDevice(int ordinal);

}  // namespace quire::cuda
