// The CUDA back end: one GPU.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"

namespace quire {

struct CudaBackendOptions {
  int ordinal = 0;
  bool hopper = true;  // kernels for sm_90a where the device is one; off: those of sm_80 to sm_89
  std::string gemm_tables;  // the folder with tables of kernels that is shipped, or empty
};

// Whether there is a driver and a device at all.
bool HasCudaDevice();

// kDevice error of one line where there is no usable device, driver or library.
Result<std::unique_ptr<Backend>> MakeCudaBackend(const CudaBackendOptions& options);

}  // namespace quire
