#include "runtime/null_executor.h"

#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "models/causal_lm.h"
#include "runtime/limits.h"
#include "weights/model_folder.h"

namespace quire {
namespace {

constexpr std::int64_t kDefaultNumBlocks = 4096;

// Owns nothing but what it remembers of the slots.
class NullExecutor final : public Executor {
 public:
  explicit NullExecutor(EngineInfo info) : info_(std::move(info)) {}

  const EngineInfo& info() const override { return info_; }
  int max_steps_in_flight() const override { return 2; }
  void Submit(std::shared_ptr<const StepPlan> plan) override { plans_.push_back(std::move(plan)); }
  StepOutput Finish() override;
  Status StartProfile() override { return {}; }
  DeviceProfile StopProfile() override { return {}; }

 private:
  TokenId Draw(const StepItem& item) const;
  PositionLogprobs Logprobs(TokenId token, std::int32_t num_top) const;

  EngineInfo info_;
  std::deque<std::shared_ptr<const StepPlan>> plans_;
  std::unordered_map<SlotId, SlotStart> slots_;
};

TokenId NullExecutor::Draw(const StepItem& item) const {
  const SamplingParams& params = slots_.at(item.slot).sampling;
  std::uint64_t bits = params.temperature > 0 ? params.seed : 0;
  bits = (bits + static_cast<std::uint64_t>(item.output_index) + 1) * 0x9E3779B97F4A7C15U;
  bits ^= bits >> 29;
  bits *= 0xBF58476D1CE4E5B9U;
  bits ^= bits >> 32;
  const auto& allowed = params.allowed_token_ids;
  if (!allowed.empty()) return allowed[bits % allowed.size()];
  return static_cast<TokenId>(bits % static_cast<std::uint64_t>(info_.vocab_size));
}

// The uniform distribution's, best first from token 0 on.
PositionLogprobs NullExecutor::Logprobs(TokenId token, std::int32_t num_top) const {
  const float logprob = -std::log(static_cast<float>(info_.vocab_size));
  PositionLogprobs position;
  position.entries.push_back({token, logprob, 1});
  for (std::int32_t k = 0; k < num_top; ++k) position.entries.push_back({k, logprob, k + 1});
  return position;
}

StepOutput NullExecutor::Finish() {
  QUIRE_CHECK(!plans_.empty());
  const std::shared_ptr<const StepPlan> plan = std::move(plans_.front());
  plans_.pop_front();
  for (const SlotStart& start : plan->starts) slots_.insert_or_assign(start.slot, start);
  StepOutput output;
  output.step = plan->step;
  for (const StepItem& item : plan->items) {
    ItemOutput& result = output.items.emplace_back();
    const SlotStart& slot = slots_.at(item.slot);
    const SamplingParams& params = slot.sampling;
    if (item.sample) {
      result.token = Draw(item);
      if (params.num_logprobs >= 0) result.logprobs = Logprobs(result.token, params.num_logprobs);
    }
    for (std::int32_t i = 0; i < item.num_scored; ++i) {
      const TokenId scored = slot.prompt[static_cast<std::size_t>(item.first + i) + 1];
      result.prompt_logprobs.push_back(Logprobs(scored, params.num_prompt_logprobs));
    }
  }
  return output;
}

}  // namespace

Result<std::unique_ptr<Executor>> MakeNullExecutor(const RuntimeConfig& config) {
  auto model_config = ReadJsonFile(config.model_folder / "config.json");
  if (!model_config) return model_config.error();
  auto shape = ReadModelShape(*model_config);
  if (!shape) return shape.error();
  auto eos = ReadEosTokenIds(config.model_folder, shape->vocab_size);
  if (!eos) return eos.error();
  EngineInfo info =
      LimitsOf(config, shape->vocab_size, shape->max_position_embeddings, DeviceKind::kCpu);
  info.architecture = shape->architecture;
  info.dtype = "float32";
  info.device = "null: computes nothing";
  info.num_blocks = config.num_blocks_override > 0 ? config.num_blocks_override : kDefaultNumBlocks;
  info.eos_token_ids = *eos;
  return std::unique_ptr<Executor>(std::make_unique<NullExecutor>(std::move(info)));
}

}  // namespace quire
