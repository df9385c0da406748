#include "backend/cuda/gemm_timer.h"

#include <algorithm>
#include <array>
#include <limits>

#include "backend/cuda/device.h"
#include "backend/cuda/kernels/gemm_tuning.h"

namespace quire::cuda {
namespace {

constexpr int kRuns = 9;
constexpr std::size_t kSinkBytes = 16;

// Memory that may be short: a failure leaves no error behind.
bool Grow(void** memory, std::size_t* have, std::size_t bytes) {
  if (bytes <= *have) return true;
  cudaFree(*memory);
  *memory = nullptr;
  *have = 0;
  if (cudaMalloc(memory, bytes) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  *have = bytes;
  return true;
}

}  // namespace

Result<std::unique_ptr<GemmTimer>> GemmTimer::Make(std::size_t cache_bytes) {
  std::unique_ptr<GemmTimer> timer(new GemmTimer);
  Check(cudaEventCreate(&timer->begin_), "cudaEventCreate");
  Check(cudaEventCreate(&timer->end_), "cudaEventCreate");
  std::size_t have = 0;
  timer->cold_bytes_ = 2 * cache_bytes;
  if (!Grow(&timer->cold_, &have, timer->cold_bytes_ + kSinkBytes))
    return Error{ErrorKind::kDevice, "no GPU memory to time products with", "", ""};
  Check(cudaMemset(timer->cold_, 1, have), "cudaMemset");
  return timer;
}

GemmTimer::~GemmTimer() {
  cudaFree(cold_);
  cudaFree(x_);
  cudaFree(out_);
  if (begin_ != nullptr) cudaEventDestroy(begin_);
  if (end_ != nullptr) cudaEventDestroy(end_);
}

bool GemmTimer::Reserve(DType dtype, std::int64_t x_size, std::int64_t out_bytes,
                        cudaStream_t stream) {
  Check(cudaStreamSynchronize(stream), "the device's work");
  if (!Grow(&x_, &x_bytes_, static_cast<std::size_t>(x_size) * SizeOf(dtype)) ||
      !Grow(&out_, &out_bytes_, static_cast<std::size_t>(out_bytes))) {
    return false;
  }
  FillNoise(dtype, x_, x_size, stream);
  return true;
}

double GemmTimer::Time(const std::function<bool()>& run, double best, cudaStream_t stream) {
  std::array<float, kRuns> times{};
  for (int i = 0; i < kRuns; ++i) {
    ReadAll(cold_, cold_bytes_, static_cast<std::byte*>(cold_) + cold_bytes_, stream);
    Check(cudaEventRecord(begin_, stream), "cudaEventRecord");
    if (!run()) {
      cudaGetLastError();
      return std::numeric_limits<double>::infinity();
    }
    Check(cudaEventRecord(end_, stream), "cudaEventRecord");
    Check(cudaEventSynchronize(end_), "a product");
    float ms = 0;
    Check(cudaEventElapsedTime(&ms, begin_, end_), "cudaEventElapsedTime");
    times[static_cast<std::size_t>(i)] = 1000 * ms;
    if (i == 1 && 1000 * ms > 2 * best) return 1000 * ms;  // the first run loads the kernel
  }
  std::sort(times.begin(), times.end());
  return times[kRuns / 2];
}

}  // namespace quire::cuda
