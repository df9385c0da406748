// The back ends of a build with CUDA=1.
#include <cstdlib>

#include "backend/cpu/cpu_backend.h"
#include "backend/cuda/cuda_backend.h"
#include "runtime/backends.h"

namespace quire {

Result<std::unique_ptr<Backend>> MakeBackend(const RuntimeConfig& config) {
  if (config.device == "cuda" || (config.device == "auto" && HasCudaDevice())) {
    CudaBackendOptions options;
    options.hopper = std::getenv("QUIRE_NO_HOPPER") == nullptr;  // developers: the other family
    if (!config.share_folder.empty()) options.gemm_tables = config.share_folder / "gemm";
    return MakeCudaBackend(options);
  }
  if (config.device != "cpu" && config.device != "auto") {
    return ConfigFault("--device: '" + config.device +
                       "' is not in this build; it has: cuda, cpu, null");
  }
  return MakeCpuBackend({config.num_threads, config.instruction_set});
}

}  // namespace quire
