// The back ends of a build with CUDA=1.
#include "backend/cpu/cpu_backend.h"
#include "backend/cuda/cuda_backend.h"
#include "runtime/backends.h"

namespace quire {

Result<std::unique_ptr<Backend>> MakeBackend(const RuntimeConfig& config) {
  if (config.device == "cuda") return MakeCudaBackend({});
  if (config.device == "auto" && HasCudaDevice()) return MakeCudaBackend({});
  if (config.device != "cpu" && config.device != "auto") {
    return ConfigFault("--device: '" + config.device +
                       "' is not in this build; it has: cuda, cpu, null");
  }
  return MakeCpuBackend({config.num_threads, config.instruction_set});
}

}  // namespace quire
