// StepProfiler: records some steps of an engine, host and device, then writes the trace and tells
// the summary.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "base/clock.h"
#include "runtime/executor.h"
#include "runtime/profile_options.h"
#include "runtime/step_profile.h"

namespace quire {

// Owns what was recorded; borrows the executor. The engine's thread tells it what it is at. The
// device is recorded from some steps before the first that is wanted, so that the start of the
// recording is not part of it, to the wait for the last one.
class StepProfiler {
 public:
  StepProfiler(ProfileOptions options, Executor& executor);

  // The thread is at that phase from now on. kPlan and kLaunch are of the step that is launched
  // next, kWait and kTakeIn of the oldest that is not finished.
  void Enter(HostPhase phase);
  void Launched(const StepPlan& plan);    // behind its kLaunch
  void Finished(const StepTimes& times);  // behind its kTakeIn
  // The engine ends: what was recorded of the steps so far is written.
  void End();

 private:
  enum class State : std::uint8_t { kBefore, kRecording, kDone };

  void Start();
  void CloseSpan(HostPhase next);
  void Write(std::int64_t num_steps);
  double UnrecordedStepUs(std::int32_t tokens) const;
  std::filesystem::path WriteTrace(const StepProfile& profile) const;

  const ProfileOptions options_;
  Executor& executor_;
  State state_ = State::kBefore;
  std::int64_t num_launched_ = 0, num_finished_ = 0;
  HostSpan span_;  // that is open
  bool span_open_ = false;
  std::vector<HostSpan> spans_;
  std::vector<ProfiledStep> steps_;  // while recording
  struct Earlier {
    std::int32_t tokens = 0;
    double us = 0;
  };
  std::deque<std::int32_t> tokens_in_flight_;
  std::deque<Earlier> earlier_;  // steps before the recording
};

}  // namespace quire
