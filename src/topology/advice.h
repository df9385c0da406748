// What a topology means for -tp, -pp and -dp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topology/topology.h"

namespace quire {

// What of a model decides how it is split.
struct ModelNeeds {
  std::string name;  // empty: no model was given, the advice is for any
  std::int64_t weight_bytes = 0;
  std::int64_t kv_bytes_per_token = 0;
  int num_layers = 0, num_heads = 0, num_kv_heads = 0;
  std::int64_t context_tokens = 0;  // one sequence of this length at least must fit
};

struct ParallelAdvice {
  int tensor = 1, pipeline = 1, data = 1;
  bool fits = true;                   // false: the model does not fit this host at all
  std::vector<int> gpus;              // which, by index
  std::string flags;                  // "-tp 2 -dp 2", "(no flag: one GPU)"
  std::vector<std::string> reasons;   // one sentence each
  std::vector<std::string> warnings;  // links slower than they should be, far nodes, no peer access
};

ParallelAdvice AdviseParallel(const Topology& topology, const ModelNeeds& model);
std::string AdviceText(const ParallelAdvice& advice, const ModelNeeds& model);

}  // namespace quire
