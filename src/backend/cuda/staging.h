// StagingRing: pinned memory that host data passes through on its way to the device.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <condition_variable>
#include <cstddef>
#include <memory>

#include "base/result.h"

namespace quire::cuda {

class CopyThreads;

// Owns the pinned slices, an event for each, and the threads that fill them with large pieces.
class StagingRing {
 public:
  static Result<std::unique_ptr<StagingRing>> Make();
  ~StagingRing();
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;

  // `host` is read before this returns; the copies are launched on `stream`.
  void Copy(const void* host, void* device, std::size_t bytes, cudaStream_t stream);

 private:
  static constexpr std::size_t kSliceBytes = std::size_t{16} << 20;
  static constexpr std::size_t kNumSlices = 4;

  StagingRing();
  void NextSlice(cudaStream_t stream);

  std::byte* memory_ = nullptr;
  std::array<cudaEvent_t, kNumSlices> events_{};
  std::array<bool, kNumSlices> recorded_{};
  std::size_t slice_ = 0;
  std::size_t used_ = 0;  // of the slice
  std::unique_ptr<CopyThreads> threads_;
};

}  // namespace quire::cuda
