#include "runtime/model_runner.h"

#include <algorithm>
#include <utility>

namespace quire {
namespace {

// Rows of logits that prompt log-probabilities make at a time: bounds their memory (rule 7).
constexpr std::int32_t kScoreRows = 64;

SlotSampling ToSlotSampling(const SamplingParams& params, const std::vector<TokenId>& eos) {
  SlotSampling slot;
  SamplingRow& row = slot.row;
  row.seed = params.seed;
  row.temperature = params.temperature;
  row.top_p = params.top_p;
  row.top_k = params.top_k;
  row.min_p = params.min_p;
  row.repetition_penalty = params.repetition_penalty;
  row.presence_penalty = params.presence_penalty;
  row.frequency_penalty = params.frequency_penalty;
  row.num_logprobs = params.num_logprobs;
  for (const auto& [token, bias] : params.logit_bias) slot.biases.push_back({token, bias});
  slot.allowed = params.allowed_token_ids;
  slot.stop_tokens = params.stop_token_ids;
  if (!params.ignore_eos) slot.stop_tokens.insert(slot.stop_tokens.end(), eos.begin(), eos.end());
  slot.bad_words = params.bad_words;
  return slot;
}

PositionLogprobs ToPosition(const SampledRows& rows, std::size_t i, std::int32_t num_top) {
  PositionLogprobs position;
  position.entries.reserve(static_cast<std::size_t>(num_top) + 1);
  position.entries.push_back({rows.tokens[i], rows.logprobs[i], rows.ranks[i]});
  const std::size_t begin = i * static_cast<std::size_t>(rows.max_top);
  for (std::int32_t k = 0; k < num_top; ++k) {
    const TokenLogprob& top = rows.top[begin + static_cast<std::size_t>(k)];
    position.entries.push_back({top.token, top.logprob, k + 1});
  }
  return position;
}

}  // namespace

Result<std::unique_ptr<ModelRunner>> ModelRunner::Make(Backend& backend, Communicator& tp,
                                                       const CausalLm& model, KvCache cache,
                                                       DType dtype,
                                                       const ModelRunnerLimits& limits) {
  const std::int32_t logit_rows = std::max(limits.max_num_seqs, kScoreRows);
  const std::int32_t block_size = cache.layers().empty() ? 16 : cache.layers()[0].block_size;
  const auto sequences = static_cast<std::size_t>(limits.max_num_seqs);
  const auto tokens = static_cast<std::size_t>(limits.max_num_batched_tokens);
  const std::size_t blocks =
      sequences * (static_cast<std::size_t>(limits.max_model_len / block_size) + 1);
  auto inputs =
      backend.Allocate((blocks + 4 * tokens + 4 * (sequences + 1)) * sizeof(std::int32_t));
  if (!inputs) return inputs.error();
  auto scratch = backend.Allocate(model.ArenaBytes(limits.max_num_batched_tokens, logit_rows));
  if (!scratch) return scratch.error();
  QUIRE_RETURN_IF_ERROR(
      backend.PrepareSteps({limits.max_num_seqs, limits.max_num_batched_tokens}, cache.layers()));
  auto sampler = Sampler::Make(backend, limits.max_num_seqs, limits.vocab_size);
  if (!sampler) return sampler.error();
  return std::unique_ptr<ModelRunner>(new ModelRunner(
      backend, tp, model, std::move(cache), dtype, limits, std::move(inputs).value(),
      Arena(std::move(scratch).value()), std::move(sampler).value()));
}

ModelRunner::ModelRunner(Backend& backend, Communicator& tp, const CausalLm& model, KvCache cache,
                         DType dtype, const ModelRunnerLimits& limits, Buffer inputs, Arena arena,
                         Sampler sampler)
    : backend_(backend),
      tp_(tp),
      model_(model),
      cache_(std::move(cache)),
      dtype_(dtype),
      limits_(limits),
      inputs_(std::move(inputs)),
      arena_(std::move(arena)),
      sampler_(std::move(sampler)),
      slot_texts_(static_cast<std::size_t>(limits.max_num_seqs)) {}

void ModelRunner::StartSlots(const StepPlan& plan) {
  for (const SlotStart& start : plan.starts) {
    sampler_.StartSlot(start.slot, ToSlotSampling(start.sampling, limits_.eos_token_ids),
                       start.prompt, start.output);
    SlotText& text = slot_texts_[static_cast<std::size_t>(start.slot.value)];
    text.num_prompt_logprobs = start.sampling.num_prompt_logprobs;
    text.prompt.clear();
    if (text.num_prompt_logprobs >= 0) text.prompt = start.prompt;
  }
}

void ModelRunner::CopyBlocks(const StepPlan& plan) {
  for (const BlockCopy& copy : plan.copies) {
    for (const KvLayer& layer : cache_.layers()) backend_.CopyKvBlock(layer, copy.from, copy.to);
  }
}

// The rows of x that are sampled, by item.
void ModelRunner::ListSampled(const StepPlan& plan, Step& step) {
  requests_.clear();
  sample_rows_.clear();
  step.sampled_items.clear();
  step.num_top.clear();
  std::int32_t row = -1;
  for (std::size_t i = 0; i < plan.items.size(); ++i) {
    const StepItem& item = plan.items[i];
    row += item.count;
    if (!item.sample) continue;
    sample_rows_.push_back(row);
    requests_.push_back({item.slot, item.output_index, item.ban_stop_tokens});
    step.sampled_items.push_back(static_cast<std::int32_t>(i));
    step.num_top.push_back(sampler_.slot(item.slot).row.num_logprobs);
  }
}

// Steps in which every sequence computes one token and samples the next are all alike.
int ModelRunner::BucketOf(const StepPlan& plan) const {
  for (const StepItem& item : plan.items) {
    if (item.count != 1 || !item.sample || item.num_scored != 0) return 0;
  }
  const int bucket = backend_.ReplayBucket(static_cast<int>(plan.items.size()));
  return bucket <= std::min(limits_.max_num_seqs, limits_.max_num_batched_tokens) ? bucket : 0;
}

void ModelRunner::GatherInputs(const StepPlan& plan, int padding) {
  const int block_size = cache_.layers()[0].block_size;
  query_start_.assign(1, 0);
  block_start_.assign(1, 0);
  context_len_.clear();
  positions_.clear();
  kv_slots_.clear();
  last_slots_.clear();
  for (const StepItem& item : plan.items) {
    const BlockId* blocks = plan.blocks.data() + item.blocks_begin;
    for (std::int32_t position = item.first; position < item.first + item.count; ++position) {
      positions_.push_back(position);
      kv_slots_.push_back(blocks[position / block_size].value * block_size + position % block_size);
      last_slots_.push_back(item.input_on_device ? item.slot.value : -1);
    }
    query_start_.push_back(query_start_.back() + item.count);
    context_len_.push_back(item.first + item.count);
    block_start_.push_back(block_start_.back() + item.num_blocks);
  }
  for (int i = 0; i < padding; ++i) {
    positions_.push_back(0);
    kv_slots_.push_back(-1);
    last_slots_.push_back(-1);
    query_start_.push_back(query_start_.back() + 1);
    context_len_.push_back(0);
    block_start_.push_back(block_start_.back());
  }
}

// One copy brings all inputs; their places depend on the numbers of sequences and tokens alone, so
// that a replayed step finds them.
ModelRunner::Inputs ModelRunner::Upload(const StepPlan& plan, int padding) {
  const BackendRange range(backend_, "inputs", plan.num_tokens());
  GatherInputs(plan, padding);
  Inputs inputs;
  AttentionBatch& batch = inputs.batch;
  batch.num_sequences = static_cast<int>(plan.items.size()) + padding;
  batch.num_tokens = plan.num_tokens() + padding;
  for (const StepItem& item : plan.items) {
    batch.max_query_len = std::max(batch.max_query_len, static_cast<int>(item.count));
    batch.max_context_len =
        std::max(batch.max_context_len, static_cast<int>(item.first + item.count));
  }
  host_inputs_.clear();
  const auto add = [&](const auto& values, std::size_t room) {
    const std::size_t begin = host_inputs_.size();
    host_inputs_.insert(host_inputs_.end(), values.begin(), values.end());
    host_inputs_.resize(begin + room);
    auto* device = static_cast<std::int32_t*>(inputs_.data()) + begin;
    return Tensor(device, DType::kI32, {static_cast<std::int64_t>(values.size())},
                  inputs_.device());
  };
  const auto tokens = static_cast<std::size_t>(batch.num_tokens);
  batch.query_start = add(query_start_, query_start_.size());
  batch.context_len = add(context_len_, context_len_.size());
  batch.block_start = add(block_start_, block_start_.size());
  batch.positions = add(positions_, tokens);
  batch.kv_slots = add(kv_slots_, tokens);
  inputs.last_slots = add(last_slots_, tokens);
  inputs.ids = add(plan.tokens, tokens).Rows(0, plan.num_tokens());
  inputs.ids = Tensor(inputs.ids.raw(), DType::kI32, {batch.num_tokens}, inputs_.device());
  inputs.sample_rows = add(sample_rows_, static_cast<std::size_t>(batch.num_sequences));
  const std::size_t blocks_begin = host_inputs_.size();
  for (const StepItem& item : plan.items) {
    const BlockId* blocks = plan.blocks.data() + item.blocks_begin;
    for (std::int32_t j = 0; j < item.num_blocks; ++j) host_inputs_.push_back(blocks[j].value);
  }
  auto* device = static_cast<std::int32_t*>(inputs_.data());
  batch.blocks =
      Tensor(device + blocks_begin, DType::kI32,
             {static_cast<std::int64_t>(host_inputs_.size() - blocks_begin)}, inputs_.device());
  batch.host_query_start = query_start_;
  batch.host_context_len = context_len_;
  batch.host_block_start = block_start_;
  backend_.CopyToDevice(host_inputs_.data(),
                        Tensor(device, DType::kI32,
                               {static_cast<std::int64_t>(host_inputs_.size())}, inputs_.device()));
  return inputs;
}

Hidden ModelRunner::RunLayers(ForwardContext& fwd, const Tensor& ids) {
  const BackendRange range(backend_, "layers", ids.rows());
  return model_.Forward(fwd, {model_.EmbedTokens(fwd, ids), {}});
}

// Logits of a step of one token a sequence, at the same address for the same number of sequences.
Tensor ModelRunner::ReplayedLogits(const Inputs& inputs) {
  Tensor logits;
  const auto launch = [&] {
    arena_.Reset();
    ForwardContext fwd{backend_, tp_, arena_, dtype_, inputs.batch, cache_.layers()};
    backend_.TakeLastTokens(sampler_.state(), inputs.last_slots, inputs.ids);
    const Hidden hidden = RunLayers(fwd, inputs.ids);
    logits = model_.Logits(fwd, hidden.x);
  };
  const BackendRange range(backend_, "replay", inputs.batch.num_sequences);
  const auto bucket = static_cast<std::size_t>(inputs.batch.num_sequences);
  backend_.Replay(bucket, launch);
  if (replayed_logits_.size() <= bucket) replayed_logits_.resize(bucket + 1);
  if (!logits.empty()) replayed_logits_[bucket] = logits;  // it was launched, not replayed
  return replayed_logits_[bucket];
}

void ModelRunner::Launch(const StepPlan& plan) {
  QUIRE_CHECK(num_launched_ - num_collected_ < kMaxStepsInFlight);
  const BackendRange range(backend_, "step", plan.num_tokens());
  Step& step = steps_[num_launched_++ % kMaxStepsInFlight];
  step.output = {};
  step.output.step = plan.step;
  step.output.items.resize(plan.items.size());
  step.begin = backend_.Mark();
  StartSlots(plan);
  CopyBlocks(plan);
  ListSampled(plan, step);
  if (!plan.items.empty()) Forward(plan, step);
  step.end = backend_.Mark();
}

void ModelRunner::Forward(const StepPlan& plan, Step& step) {
  const int bucket = BucketOf(plan);
  Inputs inputs = Upload(plan, bucket == 0 ? 0 : bucket - static_cast<int>(plan.items.size()));
  inputs.batch.replayed = bucket != 0;
  backend_.BeginStep(inputs.batch, cache_.layers());
  if (bucket != 0) {
    const Tensor logits = ReplayedLogits(inputs);
    sampler_.Sample(logits.Rows(0, static_cast<std::int64_t>(requests_.size())), requests_,
                    step.sampled);
    return;
  }
  arena_.Reset();
  ForwardContext fwd{backend_, tp_, arena_, dtype_, inputs.batch, cache_.layers()};
  const bool any_on_device = std::any_of(plan.items.begin(), plan.items.end(),
                                         [](const StepItem& item) { return item.input_on_device; });
  if (any_on_device) backend_.TakeLastTokens(sampler_.state(), inputs.last_slots, inputs.ids);
  const Hidden hidden = RunLayers(fwd, inputs.ids);
  ScorePrompts(plan, fwd, hidden.x, step.output);
  if (requests_.empty()) return;
  const Tensor gathered = fwd.Take({static_cast<std::int64_t>(requests_.size()), hidden.x.dim(1)});
  backend_.GatherRows(hidden.x, inputs.sample_rows, gathered);
  sampler_.Sample(model_.Logits(fwd, gathered), requests_, step.sampled);
}

StepOutput ModelRunner::Collect() {
  QUIRE_CHECK(num_collected_ < num_launched_);
  const BackendRange range(backend_, "collect");
  Step& step = steps_[num_collected_++ % kMaxStepsInFlight];
  backend_.WaitFor(step.end);
  step.output.times.device = backend_.MicrosecondsBetween(step.begin, step.end);
  if (any_collected_) step.output.times.gap = backend_.MicrosecondsBetween(last_end_, step.begin);
  last_end_ = step.end;
  any_collected_ = true;
  if (step.sampled_items.empty()) return std::move(step.output);
  const SampledRows& sampled = step.sampled.rows();
  for (std::size_t row = 0; row < step.sampled_items.size(); ++row) {
    ItemOutput& result = step.output.items[static_cast<std::size_t>(step.sampled_items[row])];
    result.token = sampled.tokens[row];
    result.fault = result.fault || sampled.faults[row] != 0;
    if (step.num_top[row] >= 0 && !result.fault)
      result.logprobs = ToPosition(sampled, row, step.num_top[row]);
  }
  return std::move(step.output);
}

void ModelRunner::ScorePrompts(const StepPlan& plan, ForwardContext& fwd, const Tensor& x,
                               StepOutput& output) {
  for (std::size_t i = 0; i < plan.items.size(); ++i) {
    const StepItem& item = plan.items[i];
    const SlotText& text = slot_texts_[static_cast<std::size_t>(item.slot.value)];
    for (std::int32_t done = 0; done < item.num_scored; done += kScoreRows) {
      const std::int32_t count = std::min(kScoreRows, item.num_scored - done);
      const std::size_t mark = arena_.used();
      const Tensor logits = model_.Logits(fwd, x.Rows(query_start_[i] + done, count));
      const std::span<const TokenId> asked(text.prompt.data() + item.first + done + 1,
                                           static_cast<std::size_t>(count));
      sampler_.Score(logits, asked, text.num_prompt_logprobs, scored_);
      const SampledRows& scored = scored_.rows();
      for (std::size_t k = 0; k < asked.size(); ++k) {
        output.items[i].fault = output.items[i].fault || scored.faults[k] != 0;
        output.items[i].prompt_logprobs.push_back(ToPosition(scored, k, text.num_prompt_logprobs));
      }
      arena_.Release(mark);
    }
  }
}

}  // namespace quire
