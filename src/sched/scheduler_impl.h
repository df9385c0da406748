// What the Scheduler is made of; of interest to scheduler*.cpp alone.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/scheduler.h"
#include "sched/scheduler_lookahead.h"
#include "sched/sequence.h"

namespace quire {

// Owns every sequence, in one of four places: waiting (no blocks, no slot, no step in flight),
// running (a slot and the blocks of all its known tokens), ending (over, but named by a step in
// flight), or gone.
class Scheduler::Impl {
 public:
  Impl(const SchedulerConfig& config, KvCacheManager& cache, const Clock& clock);

  bool Fits(const Request& request) const;
  void Add(Request request);
  bool Cancel(RequestId id);
  StepPlan Schedule();
  std::vector<RequestOutput> Finish(const StepPlan& plan, const StepOutput& output);
  bool HasWork() const;
  EngineStats Stats() const;
  void CheckInvariants() const;

 private:
  // A planned step, and whom its items belong to, in the plan's order.
  struct InFlight {
    std::uint64_t step;
    std::vector<Sequence*> sequences;
  };
  // A plan in the making.
  struct Draft {
    StepPlan plan;
    std::vector<Sequence*> sequences;
    std::int32_t budget = 0;  // tokens left
    bool preempted = false;   // somebody was, in this plan
  };

  // scheduler_plan.cpp
  void PlanDecodes(Draft& draft);
  void PlanPrefills(Draft& draft);
  void PlanAdmissions(Draft& draft);
  bool CanContinue(const Sequence& sequence) const;
  bool ReserveNext(Sequence& sequence, Draft& draft);
  bool BlocksComeBack() const;
  void PlanItem(Sequence& sequence, std::int32_t count, Draft& draft);
  bool TryStart(Sequence& sequence, Draft& draft);
  bool AwaitsSibling(const Sequence& sequence, const BlockTable& match) const;
  bool LooksAhead(const Sequence& candidate, std::int32_t num_blocks) const;
  std::int32_t ExpectedRemaining(const Sequence& sequence) const;
  void Preempt(Sequence& sequence);

  // scheduler_finish.cpp
  void FinishItem(Sequence& sequence, const StepItem& item, const ItemOutput& result,
                  std::vector<RequestOutput>& outputs);
  void TakeScores(Sequence& sequence, const StepItem& item, const ItemOutput& result,
                  RequestOutput& output);
  void TakeToken(Sequence& sequence, const ItemOutput& result, RequestOutput& output);
  void PublishComputed(Sequence& sequence);
  void DropReplaced();
  void RecordLength(const Sequence& sequence, bool cut_off);
  void End(Sequence& sequence);

  // scheduler.cpp
  void Leave(Sequence& sequence);    // gives blocks and slot back; no step in flight names it
  void Requeue(Sequence& sequence);  // from running to the head of the waiting
  void RemoveRunning(const Sequence& sequence);
  void CheckSequence(const Sequence& sequence) const;

  const SchedulerConfig config_;
  KvCacheManager& cache_;
  const Clock& clock_;

  std::unordered_map<RequestId, std::unique_ptr<Sequence>> sequences_;  // waiting and running
  std::deque<Sequence*> waiting_;   // the oldest first: everybody running is older still
  std::vector<Sequence*> running_;  // the oldest first
  std::vector<std::unique_ptr<Sequence>> ending_;
  std::vector<SlotId> free_slots_;  // the next one at the back
  std::deque<InFlight> in_flight_;
  // Duplicates out of remapped tables, and the last step that may read each; in rising order.
  std::deque<std::pair<std::uint64_t, BlockId>> replaced_;
  LengthEstimator lengths_;

  std::uint64_t next_arrival_ = 0;
  std::uint64_t next_step_ = 0;
  std::int32_t num_leaving_ =
      0;  // running ones that are preempted, but still named by a step in flight
  std::uint64_t num_steps_ = 0;
  std::uint64_t num_preemptions_ = 0;
  std::uint64_t prompt_tokens_computed_ = 0;
};

}  // namespace quire
