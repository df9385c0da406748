#include <cstdio>
#include <cstdlib>

#include "backend/cuda/cuda_backend.h"
#include "rank.h"

namespace quire::testing_models {

std::unique_ptr<Backend> MakeTestBackend(int) {
  CudaBackendOptions options;
  options.hopper = std::getenv("QUIRE_NO_HOPPER") == nullptr;
  auto backend = MakeCudaBackend(options);
  if (!backend) throw LoadError(backend.error().message);
  return std::move(backend).value();
}

}  // namespace quire::testing_models

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!quire::HasCudaDevice()) {
    std::puts("skipped: no CUDA device");
    return 0;
  }
  return RUN_ALL_TESTS();
}
