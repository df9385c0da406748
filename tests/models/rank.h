// One rank of a model under test, without a scheduler: one sequence, one KV cache, logits of every
// row.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/json.h"
#include "models/causal_lm.h"

namespace quire::testing_models {

constexpr int kBlockSize = 16;

struct RankOptions {
  DType dtype = DType::kF32;
  ParallelConfig parallel;
  int max_positions = 512;
  int num_threads = 2;
};

// For INSTANTIATE_TEST_SUITE_P over names of fixtures.
std::string FixtureName(const testing::TestParamInfo<const char*>& fixture);

// The folder of a fixture of tests/data/models.
std::string FixtureFolder(const std::string& name);
// Of the device that the program tests: test_backend_*.cpp.
std::unique_ptr<Backend> MakeTestBackend(int num_threads);
// Throws what is in the way of loading the folder, as LoadError.
Json ReadConfig(const std::string& folder);
WeightSource OpenWeights(const std::string& folder);

// Owns a model with its back end, cache and scratch memory.
class RankUnderTest {
 public:
  RankUnderTest(const Json& config, const WeightSource& weights, Communicator& tp,
                const RankOptions& options);

  // Logits [ids.size(), vocab] of tokens whose positions begin at `first`; the cache must hold
  // those before.
  std::vector<float> Run(std::span<const TokenId> ids, int first);
  const ModelShape& shape() const { return shape_; }
  std::size_t loaded_bytes() const { return loaded_bytes_; }

 private:
  AttentionBatch BatchOf(int first, int count);
  Tensor Upload(const std::vector<std::int32_t>& values);

  RankOptions options_;
  Communicator& tp_;
  ModelShape shape_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<CausalLm> model_;
  std::vector<Buffer> cache_memory_;
  std::vector<KvLayer> cache_;
  Arena arena_;
  std::vector<std::int32_t> query_start_, context_len_, block_start_;
  std::size_t loaded_bytes_ = 0;
};

}  // namespace quire::testing_models
