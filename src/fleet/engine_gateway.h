// EngineGateway: the front end's view of the engines behind it. Nothing in server/ knows more.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "sched/output.h"
#include "sched/request.h"

namespace quire {

enum class EngineState : unsigned char { kLoading, kReady, kRestarting, kDraining, kFailed };

class EngineGateway {
 public:
  // News of one request, on the gateway's thread, in order; must not block. The last call has a
  // finish reason, and there is always one, except after Cancel: then none may follow.
  using OutputHandler = std::function<void(RequestOutput)>;
  // After each report of the engine, on the gateway's thread, before the outputs of that report are
  // handed out (so that counters are never behind what a client saw). When the engine dies it is
  // told zeros, before the unfinished requests end: the next engine's counters begin at zero again.
  using StatsHandler = std::function<void(const EngineStats&)>;

  virtual ~EngineGateway() = default;

  // kUnavailable while the engine is away. Thread-safe, never waits for the engine.
  virtual Status Submit(Request request, OutputHandler on_output) = 0;
  // Ends a request early; the handler is not called any more once Cancel has returned, or is inside
  // its last call. Unknown ids are ignored. Thread-safe.
  virtual void Cancel(RequestId id) = 0;

  virtual EngineState state() const = 0;
  // Of the loaded model; only once state() was kReady.
  virtual EngineInfo info() const = 0;
  virtual EngineStats stats() const = 0;           // the newest report's; zeros before the first
  virtual void OnStats(StatsHandler handler) = 0;  // set once, before the first Submit
};

}  // namespace quire
