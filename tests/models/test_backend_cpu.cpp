#include "backend/cpu/cpu_backend.h"
#include "rank.h"

namespace quire::testing_models {

std::unique_ptr<Backend> MakeTestBackend(int num_threads) {
  CpuBackendOptions options;
  options.num_threads = num_threads;
  auto backend = MakeCpuBackend(options);
  if (!backend) throw LoadError(backend.error().message);
  return std::move(backend).value();
}

}  // namespace quire::testing_models
