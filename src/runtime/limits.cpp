#include "runtime/limits.h"

#include <algorithm>

namespace quire {
namespace {

constexpr std::int32_t kDefaultNumSeqs = 64;
constexpr std::int32_t kDefaultBatchedTokens = 2048;

}  // namespace

EngineInfo LimitsOf(const RuntimeConfig& config, std::int64_t vocab_size,
                    std::int32_t max_positions) {
  EngineInfo info;
  info.vocab_size = static_cast<std::int32_t>(vocab_size);
  info.max_model_len = config.max_model_len > 0 ? config.max_model_len : max_positions;
  info.block_size = config.block_size;
  info.max_num_seqs = config.max_num_seqs > 0 ? config.max_num_seqs : kDefaultNumSeqs;
  info.max_num_batched_tokens = config.max_num_batched_tokens > 0
                                    ? config.max_num_batched_tokens
                                    : std::max(kDefaultBatchedTokens, info.max_num_seqs);
  info.enable_prefix_caching = config.enable_prefix_caching;
  return info;
}

}  // namespace quire
