#include "backend/cuda/kernels/launch.h"

#include <cuda_runtime.h>

namespace quire::cuda {
namespace {

__global__ void Probe() {}

}  // namespace

bool LaunchesOverlap() {
  static const bool overlap = [] {
    cudaFuncAttributes attributes{};
    // Code compiled at start from PTX for Ampere runs on Hopper, but does not wait there.
    return cudaFuncGetAttributes(&attributes, Probe) == cudaSuccess && attributes.ptxVersion >= 90;
  }();
  return overlap;
}

int NumMultiprocessors() {
  static const int count = [] {
    int device = 0;
    int found = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&found, cudaDevAttrMultiProcessorCount, device);
    return found > 0 ? found : 1;
  }();
  return count;
}

}  // namespace quire::cuda
