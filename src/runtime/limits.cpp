#include "runtime/limits.h"

#include <algorithm>

namespace quire {
namespace {

struct DefaultLimits {
  std::int32_t num_seqs;
  std::int32_t batched_tokens;
};
constexpr DefaultLimits kCpuLimits = {64, 2048};
constexpr DefaultLimits kGpuLimits = {512, 8192};

}  // namespace

EngineInfo LimitsOf(const RuntimeConfig& config, std::int64_t vocab_size,
                    std::int32_t max_positions, DeviceKind device) {
  const DefaultLimits& defaults = device == DeviceKind::kCuda ? kGpuLimits : kCpuLimits;
  EngineInfo info;
  info.vocab_size = static_cast<std::int32_t>(vocab_size);
  info.max_model_len = config.max_model_len > 0 ? config.max_model_len : max_positions;
  info.block_size = config.block_size;
  info.max_num_seqs = config.max_num_seqs > 0 ? config.max_num_seqs : defaults.num_seqs;
  info.max_num_batched_tokens = config.max_num_batched_tokens > 0
                                    ? config.max_num_batched_tokens
                                    : std::max(defaults.batched_tokens, info.max_num_seqs);
  info.enable_prefix_caching = config.enable_prefix_caching;
  return info;
}

}  // namespace quire
