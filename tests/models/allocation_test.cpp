// Once warm, a step allocates nothing.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "count_allocations.h"
#include "rank.h"

namespace quire::testing_models {
namespace {

std::size_t AllocationsOfAStep(const std::string& name) {
  const std::string folder = FixtureFolder(name);
  SoloCommunicator solo;
  RankUnderTest rank(ReadConfig(folder), OpenWeights(folder), solo, {});
  const std::vector<TokenId> prompt = {5, 6, 7, 8, 9, 10, 11};
  rank.Run(prompt, 0);
  const std::vector<TokenId> next = {12};
  rank.Run(next, 7);
  const std::size_t before = NumAllocations();
  rank.Run(next, 8);
  return NumAllocations() - before;
}

// The rank's own few vectors are all: no layer and no operator adds one, however many layers there
// are.
TEST(Allocation, AWarmStepAllocatesNothingPerLayer) {
  const std::size_t two_layers = AllocationsOfAStep("qwen2");
  const std::size_t three_layers = AllocationsOfAStep("llama_tied");
  EXPECT_EQ(two_layers, three_layers);
  EXPECT_LE(two_layers, 16U);
}

}  // namespace
}  // namespace quire::testing_models
