// GemmTimer: how long a product takes when its weight is not in the cache.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"
#include "tensor/dtype.h"

namespace quire::cuda {

// Owns memory for the tokens and outputs of products, and what empties the L2 cache.
class GemmTimer {
 public:
  // kDevice error where there is not enough memory.
  static Result<std::unique_ptr<GemmTimer>> Make(std::size_t cache_bytes);
  ~GemmTimer();
  GemmTimer(const GemmTimer&) = delete;
  GemmTimer& operator=(const GemmTimer&) = delete;

  // Memory for x [rows, k], filled, and out [rows, n]; false where there is not enough. Valid until
  // the next call.
  bool Reserve(DType dtype, std::int64_t x_size, std::int64_t out_bytes, cudaStream_t stream);
  const void* x() const { return x_; }
  void* out() const { return out_; }

  // The median of several runs in microseconds; infinite where `run` returns false. Gives up after
  // the second run where that took twice as long as `best`. Waits for the stream.
  double Time(const std::function<bool()>& run, double best, cudaStream_t stream);

 private:
  GemmTimer() = default;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  void* cold_ = nullptr;
  std::size_t cold_bytes_ = 0;
  void* x_ = nullptr;
  void* out_ = nullptr;
  std::size_t x_bytes_ = 0, out_bytes_ = 0;
};

}  // namespace quire::cuda
