// Executor: all ranks of one replica behind two verbs, Submit and Finish.
#pragma once

#include <memory>

#include "backend/profile.h"
#include "base/result.h"
#include "sched/output.h"
#include "sched/step_plan.h"

namespace quire {

// Runs the steps of one replica. Steps run in the order of Submit; up to max_steps_in_flight may be
// under way. Implementations: LocalExecutor (threads of this process); later one with ranks on
// other hosts.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual const EngineInfo& info() const = 0;  // limits, pool size, what was loaded
  virtual int max_steps_in_flight() const = 0;
  // Takes the plan (it may still be read by the device when the call returns).
  virtual void Submit(std::shared_ptr<const StepPlan> plan) = 0;
  // Waits for the oldest submitted step.
  virtual StepOutput Finish() = 0;
  // Records what the device does (the first rank's) until StopProfile. An error of one line where
  // it cannot be recorded.
  virtual Status StartProfile() = 0;
  virtual DeviceProfile StopProfile() = 0;
};

}  // namespace quire
