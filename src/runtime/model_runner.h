// ModelRunner: runs a StepPlan on one rank: device inputs, forward pass, sampling.
#pragma once

#include <array>
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
  static constexpr int kMaxStepsInFlight = 2;

  static Result<std::unique_ptr<ModelRunner>> Make(Backend& backend, Communicator& tp,
                                                   const CausalLm& model, KvCache cache,
                                                   DType dtype, const ModelRunnerLimits& limits);

  // Launches the step; the plan may be gone when this returns. At most kMaxStepsInFlight are
  // launched and not collected.
  void Launch(const StepPlan& plan);
  // Waits for the oldest launched step.
  StepOutput Collect();

 private:
  // What is kept of a launched step until it is collected.
  struct Step {
    StepOutput output;
    std::uint64_t begin = 0, end = 0;  // marks
    SampledSet sampled;
    std::vector<std::int32_t> sampled_items;  // which item each sampled row belongs to
    std::vector<std::int32_t> num_top;        // log-probabilities that the row asks for, −1: none
  };
  // Host copies of the inputs of a step, and where they lie on the device.
  struct Inputs {
    AttentionBatch batch;
    Tensor ids, last_slots, sample_rows;
  };

  ModelRunner(Backend& backend, Communicator& tp, const CausalLm& model, KvCache cache, DType dtype,
              const ModelRunnerLimits& limits, Buffer inputs, Arena arena, Sampler sampler);

  void StartSlots(const StepPlan& plan);
  void CopyBlocks(const StepPlan& plan);
  void Forward(const StepPlan& plan, Step& step);
  void ListSampled(const StepPlan& plan, Step& step);
  // How many sequences a replayed step of this plan has, padding included; 0: run it as it is.
  int BucketOf(const StepPlan& plan) const;
  void GatherInputs(const StepPlan& plan, int padding);
  Inputs Upload(const StepPlan& plan, int padding);
  Hidden RunLayers(ForwardContext& fwd, const Tensor& ids);
  Tensor ReplayedLogits(const Inputs& inputs);
  void ScorePrompts(const StepPlan& plan, ForwardContext& fwd, const Tensor& x, StepOutput& output);

  Backend& backend_;
  Communicator& tp_;
  const CausalLm& model_;
  KvCache cache_;
  DType dtype_;
  ModelRunnerLimits limits_;
  Buffer inputs_;  // of the step that is launched next; the device reads it in order
  Arena arena_;
  Sampler sampler_;

  struct SlotText {  // what prompt log-probabilities need of a sequence
    std::vector<TokenId> prompt;
    std::int32_t num_prompt_logprobs = -1;
  };
  std::vector<SlotText> slot_texts_;
  std::array<Step, kMaxStepsInFlight> steps_;
  std::size_t num_launched_ = 0, num_collected_ = 0;
  std::uint64_t last_end_ = 0;  // mark behind the step that was collected last
  bool any_collected_ = false;
  SampledSet scored_;
  std::vector<Tensor> replayed_logits_;  // by number of sequences
  // Kept to keep their memory.
  std::vector<std::int32_t> query_start_, context_len_, block_start_, positions_, kv_slots_,
      last_slots_, sample_rows_, host_inputs_;
  std::vector<SampleRequest> requests_;
};

}  // namespace quire
