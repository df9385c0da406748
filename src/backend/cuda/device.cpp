#include "backend/cuda/device.h"

#include <fmt/core.h>

#include <cstdlib>

#include "base/exit_code.h"
#include "base/log.h"

namespace quire::cuda {
namespace {

constexpr int kOldestCapability = 80;

Error DeviceFault(std::string message) { return {ErrorKind::kDevice, std::move(message), "", ""}; }

}  // namespace

void Check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  LogError("CUDA: {} failed: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
  std::_Exit(ExitCodeOf(ErrorKind::kDevice));
}

Result<DeviceFacts> OpenDevice(int ordinal) {
  DeviceFacts facts;
  facts.ordinal = ordinal;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaDriverGetVersion(&facts.driver_version);
  cudaRuntimeGetVersion(&facts.runtime_version);
  if (facts.driver_version == 0) {
    return DeviceFault("there is no NVIDIA driver on this machine (libcuda.so.1)");
  }
  if (status == cudaErrorInsufficientDriver) {
    return DeviceFault(
        fmt::format("the NVIDIA driver is too old: it runs CUDA {}.{}, this program needs {}.{}",
                    facts.driver_version / 1000, facts.driver_version % 1000 / 10,
                    facts.runtime_version / 1000, facts.runtime_version % 1000 / 10));
  }
  if (status != cudaSuccess)
    return DeviceFault(fmt::format("CUDA: {}", cudaGetErrorString(status)));
  if (ordinal >= count)
    return DeviceFault(fmt::format("there is no CUDA device {}: there are {}", ordinal, count));
  const cudaError_t used = cudaSetDevice(ordinal);
  if (used != cudaSuccess) {
    return DeviceFault(fmt::format("CUDA device {}: {}", ordinal, cudaGetErrorString(used)));
  }
  Check(cudaGetDeviceProperties(&facts.properties, ordinal), "cudaGetDeviceProperties");
  if (facts.compute_capability() < kOldestCapability) {
    return DeviceFault(fmt::format("{} has compute capability {}.{}; 8.0 or newer is needed",
                                   facts.properties.name, facts.properties.major,
                                   facts.properties.minor));
  }
  return facts;
}

}  // namespace quire::cuda
