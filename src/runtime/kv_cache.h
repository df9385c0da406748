// KvCache: the device tensors behind the block ids, one layer beside the other.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace quire {

class KvCache {
 public:
  // Bytes of one block over all layers.
  static std::size_t BlockBytes(const Backend& backend, std::span<const KvLayerSpec> layers,
                                int block_size);
  // kDevice error where the memory is not there.
  static Result<KvCache> Make(Backend& backend, std::span<const KvLayerSpec> layers, int block_size,
                              std::int64_t num_blocks);

  std::span<const KvLayer> layers() const { return layers_; }

 private:
  std::vector<Buffer> buffers_;
  std::vector<KvLayer> layers_;
};

}  // namespace quire
