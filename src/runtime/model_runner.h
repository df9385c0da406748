// ModelRunner: runs a StepPlan on one rank: device inputs, forward pass, sampling.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "models/causal_lm.h"
#include "parallel/communicator.h"
#include "runtime/kv_cache.h"
#include "sampling/sampler.h"
#include "sched/step_plan.h"

namespace quire {

struct ModelRunnerLimits {
  std::int32_t max_num_seqs = 0;
  std::int32_t max_num_batched_tokens = 0;
  std::int32_t max_model_len = 0;
  std::int64_t vocab_size = 0;
  std::vector<TokenId> eos_token_ids;
};

// Owns a rank's scratch memory, its KV cache and its sampler; borrows the device, the model and the
// group.
class ModelRunner {
 public:
  static Result<std::unique_ptr<ModelRunner>> Make(Backend& backend, Communicator& tp,
                                                   const CausalLm& model, KvCache cache,
                                                   DType dtype, const ModelRunnerLimits& limits);

  StepOutput Run(const StepPlan& plan);

 private:
  ModelRunner(Backend& backend, Communicator& tp, const CausalLm& model, KvCache cache, DType dtype,
              const ModelRunnerLimits& limits, Arena arena, Sampler sampler);

  void StartSlots(const StepPlan& plan);
  void CopyBlocks(const StepPlan& plan);
  AttentionBatch BuildBatch(const StepPlan& plan);
  Tensor Upload(const std::vector<std::int32_t>& values);
  void SampleItems(const StepPlan& plan, ForwardContext& fwd, const Tensor& x, StepOutput& output);
  void ScorePrompts(const StepPlan& plan, ForwardContext& fwd, const Tensor& x, StepOutput& output);

  Backend& backend_;
  Communicator& tp_;
  const CausalLm& model_;
  KvCache cache_;
  DType dtype_;
  ModelRunnerLimits limits_;
  Arena arena_;
  Sampler sampler_;

  struct SlotText {  // what prompt log-probabilities need of a sequence
    std::vector<TokenId> prompt;
    std::int32_t num_prompt_logprobs = -1;
  };
  std::vector<SlotText> slot_texts_;
  // Host copies of a step's inputs, kept to keep their memory.
  std::vector<std::int32_t> query_start_, context_len_, block_table_, positions_, kv_slots_,
      last_slots_, rows_;
  std::vector<SampleRequest> requests_;
};

}  // namespace quire
