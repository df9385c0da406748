#include "sched/scheduler.h"

#include <algorithm>
#include <cstddef>

#include "base/check.h"
#include "sched/scheduler_impl.h"

namespace quire {

Scheduler::Scheduler(const SchedulerConfig& config, KvCacheManager& cache, const Clock& clock)
    : impl_(std::make_unique<Impl>(config, cache, clock)) {}

Scheduler::~Scheduler() = default;

bool Scheduler::Fits(const Request& request) const { return impl_->Fits(request); }
void Scheduler::Add(Request request) { impl_->Add(std::move(request)); }
bool Scheduler::Cancel(RequestId id) { return impl_->Cancel(id); }
StepPlan Scheduler::Schedule() { return impl_->Schedule(); }
std::vector<RequestOutput> Scheduler::Finish(const StepPlan& plan, const StepOutput& output) {
  return impl_->Finish(plan, output);
}
bool Scheduler::HasWork() const { return impl_->HasWork(); }
EngineStats Scheduler::Stats() const { return impl_->Stats(); }
void Scheduler::CheckInvariants() const { impl_->CheckInvariants(); }

Scheduler::Impl::Impl(const SchedulerConfig& config, KvCacheManager& cache, const Clock& clock)
    : config_(config), cache_(cache), clock_(clock) {
  for (std::int32_t i = config.max_num_seqs; i > 0; --i) free_slots_.push_back(SlotId{i - 1});
}

bool Scheduler::Impl::Fits(const Request& request) const {
  if (request.prompt.empty() || sequences_.contains(request.id)) return false;
  const std::int64_t num_output =
      std::max<std::int64_t>(request.sampling.max_tokens, std::ssize(request.delivered));
  const std::int64_t length = std::ssize(request.prompt) + num_output;
  return length <= config_.max_model_len && cache_.BlocksFor(length) <= cache_.num_blocks();
}

void Scheduler::Impl::Add(Request request) {
  QUIRE_CHECK(Fits(request));
  const RequestId id = request.id;
  auto sequence = std::make_unique<Sequence>(std::move(request), next_arrival_++, clock_.Now());
  waiting_.push_back(sequence.get());
  sequences_.emplace(id, std::move(sequence));
}

bool Scheduler::Impl::Cancel(RequestId id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return false;
  Sequence& sequence = *found->second;
  if (sequence.slot == kNoSlot) {
    std::erase(waiting_, &sequence);
    sequences_.erase(found);
  } else {
    // A stop string ends a sequence in this way too: its length counts.
    RecordLength(sequence, false);
    End(sequence);
  }
  return true;
}

bool Scheduler::Impl::HasWork() const { return !sequences_.empty() || !in_flight_.empty(); }

EngineStats Scheduler::Impl::Stats() const {
  EngineStats stats;
  stats.num_running = static_cast<std::int32_t>(running_.size());
  stats.num_waiting = static_cast<std::int32_t>(waiting_.size());
  stats.num_blocks = cache_.num_blocks();
  stats.num_used_blocks = cache_.num_used_blocks();
  stats.num_steps = num_steps_;
  stats.num_preemptions = num_preemptions_;
  stats.prefix_cache_queries = cache_.num_queries();
  stats.prefix_cache_hits = cache_.num_hits();
  stats.prompt_tokens_computed = prompt_tokens_computed_;
  return stats;
}

void Scheduler::Impl::Leave(Sequence& sequence) {
  QUIRE_CHECK(sequence.num_in_flight == 0);
  cache_.Release(sequence.table);
  if (sequence.slot != kNoSlot) free_slots_.push_back(sequence.slot);
  sequence.slot = kNoSlot;
}

void Scheduler::Impl::RemoveRunning(const Sequence& sequence) {
  std::erase(running_, &sequence);
  if (sequence.preempted) --num_leaving_;
}

void Scheduler::Impl::Requeue(Sequence& sequence) {
  RemoveRunning(sequence);
  Leave(sequence);
  sequence.preempted = false;
  sequence.num_planned = 0;
  sequence.num_computed = 0;
  // Several may leave at once; the oldest of them is the first to come back.
  const auto place = std::ranges::find_if(
      waiting_, [&](const Sequence* other) { return other->arrival > sequence.arrival; });
  waiting_.insert(place, &sequence);
}

void Scheduler::Impl::CheckSequence(const Sequence& s) const {
  cache_.CheckTable(s.table);
  QUIRE_CHECK(0 <= s.num_computed && s.num_computed <= s.num_planned);
  QUIRE_CHECK(s.ended || s.num_planned <= s.length());
  QUIRE_CHECK(s.num_computed <= s.num_known());
  QUIRE_CHECK(cache_.BlocksFor(s.num_planned) <= s.table.num_blocks());
  std::int32_t named = 0;
  for (const InFlight& step : in_flight_)
    named += static_cast<std::int32_t>(std::ranges::count(step.sequences, &s));
  QUIRE_CHECK(named == s.num_in_flight);
  QUIRE_CHECK(s.num_pending <= s.num_in_flight);
}

void Scheduler::Impl::CheckInvariants() const {
  cache_.CheckInvariants();
  std::vector<std::int32_t> references(static_cast<std::size_t>(cache_.num_blocks()), 0);
  std::vector<char> slots(static_cast<std::size_t>(config_.max_num_seqs), 0);
  const auto count = [&](const Sequence& s) {
    CheckSequence(s);
    for (const BlockId block : s.table.blocks())
      ++references[static_cast<std::size_t>(block.value)];
    QUIRE_CHECK(slots[static_cast<std::size_t>(s.slot.value)]++ == 0);
  };
  std::int32_t leaving = 0;
  for (const Sequence* s : running_) {
    count(*s);
    QUIRE_CHECK(!s->ended && (!s->preempted || s->num_in_flight > 0));
    leaving += s->preempted ? 1 : 0;
  }
  QUIRE_CHECK(leaving == num_leaving_);
  for (const auto& s : ending_) {
    count(*s);
    QUIRE_CHECK(s->ended && s->num_in_flight > 0);
  }
  for (const Sequence* s : waiting_) {
    CheckSequence(*s);
    QUIRE_CHECK(s->slot == kNoSlot && s->table.num_blocks() == 0 && s->num_in_flight == 0);
  }
  const auto older = [](const Sequence* a, const Sequence* b) { return a->arrival < b->arrival; };
  QUIRE_CHECK(std::ranges::is_sorted(running_, older) && std::ranges::is_sorted(waiting_, older));
  QUIRE_CHECK(waiting_.size() + running_.size() == sequences_.size());
  for (const SlotId slot : free_slots_)
    QUIRE_CHECK(slots[static_cast<std::size_t>(slot.value)]++ == 0);
  QUIRE_CHECK(std::ranges::count(slots, 1) == std::ssize(slots));
  for (const auto& [step, block] : replaced_) {
    QUIRE_CHECK(!in_flight_.empty() && step >= in_flight_.front().step);
    ++references[static_cast<std::size_t>(block.value)];
  }
  for (std::int32_t i = 0; i < cache_.num_blocks(); ++i)
    QUIRE_CHECK(references[static_cast<std::size_t>(i)] == cache_.References(BlockId{i}));
}

}  // namespace quire
