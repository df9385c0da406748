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
  const std::size_t table = static_cast<std::size_t>(limits.max_num_seqs) *
                            static_cast<std::size_t>(limits.max_model_len / block_size + 1);
  const std::size_t inputs =
      (table + 8 * static_cast<std::size_t>(limits.max_num_batched_tokens)) * sizeof(std::int32_t) +
      (64 << 10);
  auto scratch =
      backend.Allocate(inputs + model.ArenaBytes(limits.max_num_batched_tokens, logit_rows));
  if (!scratch) return scratch.error();
  auto sampler = Sampler::Make(backend, limits.max_num_seqs, limits.vocab_size);
  if (!sampler) return sampler.error();
  return std::unique_ptr<ModelRunner>(new ModelRunner(backend, tp, model, std::move(cache), dtype,
                                                      limits, Arena(std::move(scratch).value()),
                                                      std::move(sampler).value()));
}

ModelRunner::ModelRunner(Backend& backend, Communicator& tp, const CausalLm& model, KvCache cache,
                         DType dtype, const ModelRunnerLimits& limits, Arena arena, Sampler sampler)
    : backend_(backend),
      tp_(tp),
      model_(model),
      cache_(std::move(cache)),
      dtype_(dtype),
      limits_(limits),
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

Tensor ModelRunner::Upload(const std::vector<std::int32_t>& values) {
  const Tensor tensor = arena_.Take(DType::kI32, {static_cast<std::int64_t>(values.size())});
  if (!values.empty()) backend_.CopyToDevice(values.data(), tensor);
  return tensor;
}

AttentionBatch ModelRunner::BuildBatch(const StepPlan& plan) {
  const int block_size = cache_.layers()[0].block_size;
  AttentionBatch batch;
  batch.num_sequences = static_cast<int>(plan.items.size());
  batch.num_tokens = plan.num_tokens();
  std::int32_t max_blocks = 1;
  for (const StepItem& item : plan.items) max_blocks = std::max(max_blocks, item.num_blocks);
  query_start_.assign(1, 0);
  context_len_.clear();
  positions_.clear();
  kv_slots_.clear();
  last_slots_.clear();
  block_table_.assign(plan.items.size() * static_cast<std::size_t>(max_blocks), 0);
  std::size_t row = 0;
  for (const StepItem& item : plan.items) {
    const BlockId* blocks = plan.blocks.data() + item.blocks_begin;
    for (std::int32_t j = 0; j < item.num_blocks; ++j)
      block_table_[row + static_cast<std::size_t>(j)] = blocks[j].value;
    row += static_cast<std::size_t>(max_blocks);
    for (std::int32_t position = item.first; position < item.first + item.count; ++position) {
      positions_.push_back(position);
      kv_slots_.push_back(blocks[position / block_size].value * block_size + position % block_size);
      last_slots_.push_back(item.input_on_device ? item.slot.value : -1);
    }
    query_start_.push_back(query_start_.back() + item.count);
    context_len_.push_back(item.first + item.count);
    batch.max_query_len = std::max(batch.max_query_len, static_cast<int>(item.count));
    batch.max_context_len = std::max(batch.max_context_len, static_cast<int>(context_len_.back()));
  }
  batch.query_start = Upload(query_start_);
  batch.context_len = Upload(context_len_);
  batch.block_table = Upload(block_table_).Reshape({batch.num_sequences, max_blocks});
  batch.positions = Upload(positions_);
  batch.kv_slots = Upload(kv_slots_);
  return batch;
}

StepOutput ModelRunner::Run(const StepPlan& plan) {
  arena_.Reset();
  StartSlots(plan);
  CopyBlocks(plan);
  StepOutput output;
  output.step = plan.step;
  output.items.resize(plan.items.size());
  if (plan.items.empty()) return output;
  const AttentionBatch batch = BuildBatch(plan);
  const Tensor ids = Upload(plan.tokens);
  const bool any_on_device = std::any_of(plan.items.begin(), plan.items.end(),
                                         [](const StepItem& item) { return item.input_on_device; });
  if (any_on_device) backend_.TakeLastTokens(sampler_.state(), Upload(last_slots_), ids);
  ForwardContext fwd{backend_, tp_, arena_, dtype_, batch, cache_.layers()};
  const Hidden hidden = model_.Forward(fwd, {model_.EmbedTokens(fwd, ids), {}});
  ScorePrompts(plan, fwd, hidden.x, output);
  SampleItems(plan, fwd, hidden.x, output);
  return output;
}

void ModelRunner::SampleItems(const StepPlan& plan, ForwardContext& fwd, const Tensor& x,
                              StepOutput& output) {
  rows_.clear();
  requests_.clear();
  for (std::size_t i = 0; i < plan.items.size(); ++i) {
    const StepItem& item = plan.items[i];
    if (!item.sample) continue;
    rows_.push_back(query_start_[i + 1] - 1);
    requests_.push_back({item.slot, item.output_index, item.ban_stop_tokens});
  }
  if (rows_.empty()) return;
  const Tensor gathered = fwd.Take({static_cast<std::int64_t>(rows_.size()), x.dim(1)});
  backend_.GatherRows(x, Upload(rows_), gathered);
  const SampledRows& sampled = sampler_.Sample(model_.Logits(fwd, gathered), requests_);
  std::size_t row = 0;
  for (std::size_t i = 0; i < plan.items.size(); ++i) {
    const StepItem& item = plan.items[i];
    if (!item.sample) continue;
    ItemOutput& result = output.items[i];
    result.token = sampled.tokens[row];
    result.fault = result.fault || sampled.faults[row] != 0;
    const std::int32_t num_top = sampler_.slot(item.slot).row.num_logprobs;
    if (num_top >= 0 && !result.fault) result.logprobs = ToPosition(sampled, row, num_top);
    ++row;
  }
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
      const SampledRows& scored = sampler_.Score(logits, asked, text.num_prompt_logprobs);
      for (std::size_t k = 0; k < asked.size(); ++k) {
        output.items[i].fault = output.items[i].fault || scored.faults[k] != 0;
        output.items[i].prompt_logprobs.push_back(ToPosition(scored, k, text.num_prompt_logprobs));
      }
      arena_.Release(mark);
    }
  }
}

}  // namespace quire
