// GraphCache: what a key launched, recorded once and replayed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <unordered_map>

namespace quire::cuda {

// Owns the instantiated graphs. The first call of a key launches as it is (kernels are chosen and
// loaded then), the second records, later ones replay.
class GraphCache {
 public:
  GraphCache() = default;
  ~GraphCache();
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  void Run(std::uint64_t key, const std::function<void()>& launch, cudaStream_t stream);

 private:
  struct Entry {
    bool warm = false;
    cudaGraphExec_t graph = nullptr;
  };
  std::unordered_map<std::uint64_t, Entry> entries_;
};

}  // namespace quire::cuda
