#include "runtime/kv_cache.h"

#include <utility>

namespace quire {

std::size_t KvCache::BlockBytes(const Backend& backend, std::span<const KvLayerSpec> layers,
                                int block_size) {
  std::size_t bytes = 0;
  for (const KvLayerSpec& spec : layers) bytes += backend.KvBlockBytes(spec, block_size);
  return bytes;
}

Result<KvCache> KvCache::Make(Backend& backend, std::span<const KvLayerSpec> layers, int block_size,
                              std::int64_t num_blocks) {
  KvCache cache;
  for (const KvLayerSpec& spec : layers) {
    auto buffer = backend.Allocate(static_cast<std::size_t>(num_blocks) *
                                   backend.KvBlockBytes(spec, block_size));
    if (!buffer) return buffer.error();
    cache.layers_.push_back({spec, block_size, num_blocks, buffer->data()});
    cache.buffers_.push_back(std::move(buffer).value());
  }
  return cache;
}

}  // namespace quire
