// Schedule(): what runs in the next step.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "sched/scheduler_impl.h"

namespace quire {

StepPlan Scheduler::Impl::Schedule() {
  Draft draft;
  if (std::ssize(in_flight_) >= config_.max_steps_in_flight) return {};
  draft.plan.step = next_step_;
  draft.budget = config_.max_num_batched_tokens;
  PlanDecodes(draft);
  PlanPrefills(draft);
  PlanAdmissions(draft);
  if (draft.plan.empty()) return {};
  ++next_step_;
  in_flight_.push_back({draft.plan.step, std::move(draft.sequences)});
  return std::move(draft.plan);
}

bool Scheduler::Impl::CanContinue(const Sequence& sequence) const {
  if (sequence.preempted) return false;
  if (sequence.num_pending == 0) return true;
  // Its length is known to end it, or the host must see the token first.
  return MaxRemaining(sequence, config_.max_model_len) > 0 && !sequence.NeedsKnownTokens();
}

void Scheduler::Impl::PlanDecodes(Draft& draft) {
  // By index, for preemption takes away from the back while this goes on; whoever is gone was not
  // planned yet.
  for (std::size_t i = 0; i < running_.size() && draft.budget > 0; ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.num_to_plan() != 1 || !CanContinue(sequence)) continue;
    if (ReserveNext(sequence, draft)) PlanItem(sequence, 1, draft);
  }
}

// A block for the next token, where it takes one. False: the sequence pauses, or is itself
// preempted.
bool Scheduler::Impl::ReserveNext(Sequence& sequence, Draft& draft) {
  while (!cache_.Reserve(sequence.table, sequence.num_planned + 1)) {
    if (BlocksComeBack()) return false;
    Sequence& youngest = *running_.back();
    draft.preempted = true;
    Preempt(youngest);
    if (&youngest == &sequence) return false;
  }
  return true;
}

// Whether steps in flight will give blocks back as they retire, so that nobody has to go for the
// lack of them.
bool Scheduler::Impl::BlocksComeBack() const {
  if (num_leaving_ > 0 || !ending_.empty() || !replaced_.empty()) return true;
  return std::ranges::any_of(running_, [this](const Sequence* sequence) {
    return sequence->num_pending > 0 && MaxRemaining(*sequence, config_.max_model_len) == 0;
  });
}

void Scheduler::Impl::Preempt(Sequence& sequence) {
  ++num_preemptions_;
  sequence.preempted = true;
  ++num_leaving_;
  if (sequence.num_in_flight == 0) Requeue(sequence);
}

void Scheduler::Impl::PlanPrefills(Draft& draft) {
  for (Sequence* sequence : running_) {
    if (draft.budget == 0) return;
    if (sequence->num_to_plan() <= 1 || sequence->preempted) continue;
    PlanItem(*sequence, std::min(sequence->num_to_plan(), draft.budget), draft);
  }
}

void Scheduler::Impl::PlanItem(Sequence& sequence, std::int32_t count, Draft& draft) {
  StepPlan& plan = draft.plan;
  StepItem item;
  item.request = sequence.request.id;
  item.slot = sequence.slot;
  item.first = sequence.num_planned;
  item.count = count;
  item.tokens_begin = plan.num_tokens();
  item.blocks_begin = static_cast<std::int32_t>(plan.blocks.size());
  item.num_blocks = cache_.BlocksFor(item.first + count);
  item.input_on_device = item.first >= sequence.num_known();
  item.sample = count == sequence.num_to_plan();
  item.output_index = sequence.num_output();
  item.ban_stop_tokens = item.sample && item.output_index < sequence.request.sampling.min_tokens;
  item.num_scored = sequence.NumScored(item.first, count);
  if (item.input_on_device) {
    plan.tokens.push_back(-1);
  } else {
    const auto first = sequence.tokens.begin() + item.first;
    plan.tokens.insert(plan.tokens.end(), first, first + count);
  }
  const auto blocks = sequence.table.blocks();
  QUIRE_CHECK(item.num_blocks <= std::ssize(blocks));
  plan.blocks.insert(plan.blocks.end(), blocks.begin(), blocks.begin() + item.num_blocks);
  plan.items.push_back(item);
  draft.sequences.push_back(&sequence);
  draft.budget -= count;
  sequence.num_planned += count;
  sequence.num_pending += item.sample ? 1 : 0;
  ++sequence.num_in_flight;
}

void Scheduler::Impl::PlanAdmissions(Draft& draft) {
  // Who had to go must not take back at once what others needed.
  if (draft.preempted || num_leaving_ > 0) return;
  while (draft.budget > 0 && !waiting_.empty() && !free_slots_.empty()) {
    Sequence& sequence = *waiting_.front();
    if (!TryStart(sequence, draft)) return;
    PlanItem(sequence, std::min(sequence.num_to_plan(), draft.budget), draft);
  }
}

bool Scheduler::Impl::TryStart(Sequence& sequence, Draft& draft) {
  // The longest match there could be first: a full cache is seen without looking anything up.
  if (!LooksAhead(sequence, cache_.BlocksFor(sequence.num_known()))) return false;
  BlockTable table =
      cache_.Match(sequence.tokens, sequence.request.cache_salt, sequence.MaxCachedTokens());
  if (AwaitsSibling(sequence, table) || !LooksAhead(sequence, table.num_blocks())) return false;
  const std::int32_t num_cached = table.num_blocks() * cache_.block_size();
  // For all that is known, so that no prefill ever stops in the middle for want of a block.
  if (!cache_.Reserve(table, sequence.num_known())) return false;

  waiting_.pop_front();
  running_.push_back(&sequence);
  sequence.table = std::move(table);
  sequence.slot = free_slots_.back();
  free_slots_.pop_back();
  sequence.num_planned = num_cached;
  sequence.num_computed = num_cached;
  if (!sequence.started) {
    sequence.started = true;
    sequence.start_time = clock_.Now();
    sequence.num_cached_tokens = std::min(num_cached, sequence.num_prompt());
    if (cache_.caches_prefixes() && !sequence.wants_scores())
      cache_.CountQuery(sequence.num_prompt(), sequence.num_cached_tokens);
  }
  SlotStart start;
  start.slot = sequence.slot;
  start.sampling = sequence.request.sampling;
  start.prompt = sequence.request.prompt;
  start.output.assign(sequence.tokens.begin() + sequence.num_prompt(), sequence.tokens.end());
  draft.plan.starts.push_back(std::move(start));
  return true;
}

// Whether a running sequence is about to compute the very next block that this one could have read:
// then it waits some steps instead of computing it too. That prefill goes on in every step that has
// budget left, and this one could not begin in the others either.
bool Scheduler::Impl::AwaitsSibling(const Sequence& sequence, const BlockTable& match) const {
  if (!cache_.caches_prefixes()) return false;
  const std::int64_t next = (std::int64_t{match.num_blocks()} + 1) * cache_.block_size();
  if (next > sequence.num_known() - 1 || next > sequence.MaxCachedTokens()) return false;
  return std::ranges::any_of(running_, [&](const Sequence* other) {
    return other->num_computed < next && next <= other->num_known() && !other->preempted &&
           other->request.cache_salt == sequence.request.cache_salt &&
           std::equal(sequence.tokens.begin(), sequence.tokens.begin() + next,
                      other->tokens.begin());
  });
}

std::int32_t Scheduler::Impl::ExpectedRemaining(const Sequence& sequence) const {
  const std::int32_t most = MaxRemaining(sequence, config_.max_model_len);
  return std::min(most, std::max(1, lengths_.Remaining(sequence.num_output())));
}

// Whether the pool suffices until everybody's expected end when the candidate starts now, with
// num_blocks of its prefix matched.
bool Scheduler::Impl::LooksAhead(const Sequence& candidate, std::int32_t num_blocks) const {
  if (!config_.look_ahead || running_.empty()) return true;
  std::vector<Expected> sequences;
  sequences.reserve(running_.size() + 1);
  for (const Sequence* s : running_)
    sequences.push_back({s->length(), ExpectedRemaining(*s), s->table.num_blocks(),
                         cache_.NumPrivateBlocks(s->table)});
  // Those that run have this step's token counted as pending already; so must the candidate.
  sequences.push_back(
      {candidate.length() + 1, std::max(0, ExpectedRemaining(candidate) - 1), num_blocks, 0});
  const LookAheadPool pool{cache_.num_used_blocks(), cache_.num_blocks(), cache_.block_size(),
                           config_.max_steps_in_flight - 1};
  return FitsAhead(std::move(sequences), pool);
}

}  // namespace quire
