// The back ends of a build without CUDA.
#include "backend/cpu/cpu_backend.h"
#include "runtime/backends.h"

namespace quire {

Result<std::unique_ptr<Backend>> MakeBackend(const RuntimeConfig& config) {
  if (config.device != "cpu" && config.device != "auto") {
    return ConfigFault("--device: '" + config.device + "' is not in this build; it has: cpu, null");
  }
  return MakeCpuBackend({config.num_threads, config.instruction_set});
}

}  // namespace quire
