// The back ends of a build with CUDA=1. The CUDA back end registers here; it has no operators yet.
#include "backend/cpu/cpu_backend.h"
#include "runtime/backends.h"

namespace quire {

Result<std::unique_ptr<Backend>> MakeBackend(const RuntimeConfig& config) {
  if (config.device == "cuda") {
    return ConfigFault("--device cuda: the CUDA back end has no operators yet; use --device cpu");
  }
  if (config.device != "cpu") {
    return ConfigFault("--device: '" + config.device + "' is not in this build; it has: cpu, null");
  }
  return MakeCpuBackend({config.num_threads, config.instruction_set});
}

}  // namespace quire
