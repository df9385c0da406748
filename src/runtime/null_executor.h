// NullExecutor: computes nothing. Tests of the host plane and of everything above it run on it,
// under sanitizers too, with the very same plans.
#pragma once

#include <memory>

#include "base/result.h"
#include "runtime/executor.h"
#include "runtime/runtime_config.h"

namespace quire {

// Reads config.json alone. A step's tokens are a function of (seed, output_index); no step takes
// any time.
Result<std::unique_ptr<Executor>> MakeNullExecutor(const RuntimeConfig& config);

}  // namespace quire
