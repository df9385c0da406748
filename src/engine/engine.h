// Engine: the loop. One thread owns the scheduler and every sequence; the executor runs the steps.
#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "runtime/executor.h"
#include "runtime/profile_options.h"
#include "sched/output.h"
#include "sched/request.h"

namespace quire {

class Engine {
 public:
  // Called on the engine's thread after every step and after every change while idle.
  using ReportHandler = std::function<void(EngineReport)>;

  // Starts the thread. The executor has loaded its model.
  Engine(std::unique_ptr<Executor> executor, ReportHandler on_report, ProfileOptions profile = {});
  ~Engine();  // ends the thread; unfinished requests get no more output

  const EngineInfo& info() const;
  // Thread-safe; taken in before the next step. A request that breaks the limits of info() gets an
  // output of kError, and so does one whose step failed.
  void Submit(Request request);
  void Cancel(RequestId id);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
