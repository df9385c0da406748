// Finish(): what a step gave.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "sched/scheduler_impl.h"

namespace quire {

namespace {

constexpr char kNotFinite[] =
    "the model's output is not finite (NaN or infinity in the logits): its weights may be broken, "
    "or its "
    "dtype too narrow";

}  // namespace

std::vector<RequestOutput> Scheduler::Impl::Finish(const StepPlan& plan, const StepOutput& output) {
  QUIRE_CHECK(!in_flight_.empty() && in_flight_.front().step == plan.step);
  QUIRE_CHECK(output.items.size() == plan.items.size());
  const InFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  ++num_steps_;
  DropReplaced();
  std::vector<RequestOutput> outputs;
  for (std::size_t i = 0; i < plan.items.size(); ++i)
    FinishItem(*step.sequences[i], plan.items[i], output.items[i], outputs);
  return outputs;
}

void Scheduler::Impl::DropReplaced() {
  while (!replaced_.empty() &&
         (in_flight_.empty() || replaced_.front().first < in_flight_.front().step)) {
    cache_.Drop(replaced_.front().second);
    replaced_.pop_front();
  }
}

void Scheduler::Impl::FinishItem(Sequence& sequence, const StepItem& item, const ItemOutput& result,
                                 std::vector<RequestOutput>& outputs) {
  --sequence.num_in_flight;
  sequence.num_pending -= item.sample ? 1 : 0;
  if (sequence.ended) {
    if (sequence.num_in_flight > 0) return;
    Leave(sequence);
    std::erase_if(ending_, [&](const auto& other) { return other.get() == &sequence; });
    return;
  }
  RequestOutput news;
  news.id = sequence.request.id;
  news.output_index = sequence.num_known() - sequence.num_prompt();
  news.num_cached_tokens = sequence.num_cached_tokens;
  if (result.fault || (item.sample && result.token < 0)) {
    news.finish_reason = FinishReason::kError;
    news.error = kNotFinite;
  } else {
    sequence.num_computed = item.first + item.count;
    prompt_tokens_computed_ += static_cast<std::uint64_t>(
        std::max(0, std::min(sequence.num_computed, sequence.num_prompt()) - item.first));
    TakeScores(sequence, item, result, news);
    if (item.sample) TakeToken(sequence, result, news);
    PublishComputed(sequence);
  }
  const FinishReason reason = news.finish_reason;
  if (!news.tokens.empty() || !news.prompt_logprobs.empty() || reason != FinishReason::kNone)
    outputs.push_back(std::move(news));
  if (reason != FinishReason::kNone) {
    if (reason != FinishReason::kError) RecordLength(sequence, reason == FinishReason::kLength);
    End(sequence);
  } else if (sequence.preempted && sequence.num_in_flight == 0) {
    Requeue(sequence);
  }
}

void Scheduler::Impl::TakeScores(Sequence& sequence, const StepItem& item, const ItemOutput& result,
                                 RequestOutput& output) {
  // A recomputed chunk scores again what was delivered before a preemption.
  const std::int32_t known = std::max(0, sequence.num_scored - item.first);
  const auto rows = static_cast<std::int32_t>(result.prompt_logprobs.size());
  if (known >= rows) return;
  output.prompt_logprobs_begin = item.first + known + 1;
  output.prompt_logprobs.assign(result.prompt_logprobs.begin() + known,
                                result.prompt_logprobs.end());
  sequence.num_scored = item.first + rows;
}

void Scheduler::Impl::TakeToken(Sequence& sequence, const ItemOutput& result,
                                RequestOutput& output) {
  const StopRules rules{config_.eos_token_ids, config_.max_model_len};
  const TimePoint now = clock_.Now();
  // A replay may come with all its tokens: then only the end is left to tell.
  auto [reason, stop_token] = CheckStop(sequence, rules);
  if (reason == FinishReason::kNone) {
    if (output.output_index == std::ssize(sequence.request.delivered))
      sequence.first_token_time = now;
    sequence.tokens.push_back(result.token);
    output.tokens.push_back(result.token);
    if (sequence.request.sampling.num_logprobs >= 0) output.logprobs.push_back(result.logprobs);
    std::tie(reason, stop_token) = CheckStop(sequence, rules);
  } else {
    sequence.first_token_time = now;
  }
  output.finish_reason = reason;
  output.stop_token = stop_token;
  output.queue_seconds = Seconds(sequence.start_time - sequence.arrival_time);
  output.prefill_seconds = Seconds(sequence.first_token_time - sequence.start_time);
  if (reason != FinishReason::kNone)
    output.decode_seconds = Seconds(now - sequence.first_token_time);
}

void Scheduler::Impl::PublishComputed(Sequence& sequence) {
  std::vector<BlockId> replaced;
  const auto computed = static_cast<std::size_t>(sequence.num_computed);
  cache_.Publish(sequence.table, std::span(sequence.tokens).first(computed), replaced);
  for (const BlockId block : replaced) {
    if (in_flight_.empty()) {
      cache_.Drop(block);
    } else {
      replaced_.emplace_back(in_flight_.back().step, block);
    }
  }
}

void Scheduler::Impl::RecordLength(const Sequence& sequence, bool cut_off) {
  const std::int32_t num_output = sequence.num_known() - sequence.num_prompt();
  if (num_output > 0) lengths_.Record(num_output, cut_off);
}

void Scheduler::Impl::End(Sequence& sequence) {
  RemoveRunning(sequence);
  sequence.preempted = false;
  sequence.ended = true;
  auto node = sequences_.extract(sequence.request.id);
  if (sequence.num_in_flight > 0) {
    ending_.push_back(std::move(node.mapped()));
  } else {
    Leave(sequence);
  }
}

}  // namespace quire
