// What one replica needs to load its model and size its cache: the engine's flags, ranged by the
// command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "runtime/profile_options.h"

namespace quire {

enum class LoadFormat : std::uint8_t { kSafetensors, kDummy };

struct RuntimeConfig {
  std::filesystem::path model_folder;
  std::string device = "auto";         // a name of the table of back ends; auto: the best one
  std::filesystem::path share_folder;  // share/quire as installed; empty: it is not there
  std::string instruction_set;         // of the CPU; empty: the best it has
  std::int32_t num_threads = 0;        // 0: all cores
  std::string dtype = "auto";          // auto: as the checkpoint stores it
  LoadFormat load_format = LoadFormat::kSafetensors;
  std::uint64_t seed = 0;                   // of dummy weights
  std::int32_t max_model_len = 0;           // 0: the model's own
  std::int32_t max_num_seqs = 0;            // 0: the default
  std::int32_t max_num_batched_tokens = 0;  // 0: the default
  std::int32_t block_size = 16;
  std::int64_t num_blocks_override = 0;    // 0: sized by memory
  std::int64_t kv_cache_memory_bytes = 0;  // 0: a share of the free memory
  double memory_utilization = 0.92;        // that share
  bool enable_prefix_caching = true;
  ProfileOptions profile;
};

}  // namespace quire
