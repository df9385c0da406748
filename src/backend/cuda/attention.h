// Paged attention on a CUDA device: which kernel computes which rows over which keys.
//
// A layer's cache is [num_blocks] blocks of [2 (k, then v)][num_kv_heads][block_size][head_dim]
// elements of the layer's dtype, which is the dtype of q and out too.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "backend/backend.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace quire::cuda {

struct AttentionOptions {
  int max_sequences = 0;           // of a step, padding included
  int max_tokens = 0;              // of a step, padding included
  bool hopper = true;              // may use kernels for sm_90a where the device is one
  bool cap_shared_memory = false;  // at 99 KB a block, what sm_86 and sm_89 have
  bool batch_invariant = false;    // a row's bits never depend on the other rows, in any dtype
};

// Owns the device and pinned memory that attention plans with. One stream at a time; the arrays of
// a plan live in one place on the device, so a step's copies and kernels must be ordered by stream.
class CudaAttention {
 public:
  // On the current device.
  static Result<std::unique_ptr<CudaAttention>> Make(const cudaDeviceProp& device,
                                                     const AttentionOptions& options);
  ~CudaAttention();
  CudaAttention(const CudaAttention&) = delete;
  CudaAttention& operator=(const CudaAttention&) = delete;

  // Whether some kernel computes these layers; else one line saying what is not supported.
  Status Supports(std::span<const KvLayer> layers) const;

  // Allocates what these layers need; once, before the first Plan and outside of captures.
  Status Prepare(std::span<const KvLayer> layers);

  // Once a step, before its first Attend and outside of captures: divides the step's work for each
  // distinct geometry among `layers` and launches one copy to the device. Waits only where
  // kPlansInFlight earlier plans have not been copied yet. Reads the host_… spans of `batch`.
  void Plan(const AttentionBatch& batch, std::span<const KvLayer> layers, cudaStream_t stream);

  // q [tokens, num_heads, head_dim] with strided rows → out, the same. Launches only, so it can be
  // captured. With batch.replayed what it launches depends on num_sequences, num_tokens and the
  // pointers of `batch`, q, cache and out alone: replay it after a Plan for other lengths.
  void Attend(const Tensor& q, const KvLayer& cache, const AttentionBatch& batch, float scale,
              const Tensor& out, cudaStream_t stream) const;

  std::string Describe(const KvLayer& layer) const;  // which kernels serve it, one line
  std::size_t device_bytes() const;
  std::size_t pinned_bytes() const;

  static constexpr int kPlansInFlight = 4;

 private:
  struct State;
  explicit CudaAttention(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace quire::cuda
