// What front end and engine say to each other. Requests and reports travel as the structs of
// sched/.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "base/ids.h"
#include "sched/output.h"
#include "sched/request.h"

namespace quire {

// Front end → engine.
struct CancelMessage {
  RequestId id;
};
struct ShutdownMessage {};  // finish and exit with code 0

// Engine → front end.
struct LoadProgress {
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;  // 0: not known yet
};
struct LoadFailure {
  std::int32_t exit_code = 1;  // what the engine is about to exit with, 0 to 255
  std::string message;         // one line for the user
};

// The alternatives' order is the order of MessageType in codec.cpp.
// Front end → engine: Request (submit), CancelMessage, ShutdownMessage.
// Engine → front end: LoadProgress, EngineInfo (the engine is ready), LoadFailure, EngineReport.
using Message = std::variant<Request, CancelMessage, ShutdownMessage, LoadProgress, EngineInfo,
                             LoadFailure, EngineReport>;

}  // namespace quire
