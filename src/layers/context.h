// What a module needs while it is built, and while it runs. Passed, never global.
#pragma once

#include <functional>

#include "backend/backend.h"
#include "parallel/communicator.h"
#include "weights/weight_source.h"

namespace quire {

// Which decoder layers this pipeline stage owns, and whether it owns the ends.
struct LayerRange {
  int first = 0;
  int last = 0;  // one past
  bool has_embedding = true;
  bool has_head = true;
};

// While a model is built: constructors read from the WeightSource and place this rank's shard.
struct BuildContext {
  Backend& backend;
  ParallelConfig parallel;
  Communicator& tp;           // the tensor-parallel group
  DType dtype = DType::kF32;  // weights are stored so
  DType kv_dtype = DType::kF32;
  LayerRange layers = {};
  int max_positions = 0;  // rope tables reach this far
  // Progress: bytes of the checkpoint consumed; may be empty.
  std::function<void(std::size_t bytes)> loaded = {};
};

// While a step runs on one rank.
struct ForwardContext {
  Backend& backend;
  Communicator& tp;
  Arena& arena;               // scratch, reset after the step
  DType dtype = DType::kF32;  // of activations
  const AttentionBatch& batch;
  std::span<const KvLayer> kv;  // of this stage's layers; index = layer − LayerRange::first

  Tensor Take(std::initializer_list<std::int64_t> shape) { return arena.Take(dtype, shape); }
};

// The state between layers, and between pipeline stages. Each norm adds x to the residual stream
// and normalises the sum.
struct Hidden {
  Tensor x;         // [tokens, hidden] output of the last sublayer, not yet added
  Tensor residual;  // [tokens, hidden], empty before the first layer
};

}  // namespace quire
