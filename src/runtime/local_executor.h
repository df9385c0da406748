// LocalExecutor: the ranks of this process. Loads the model, sizes the cache from the memory that
// is left, and runs the steps.
#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "runtime/executor.h"
#include "runtime/runtime_config.h"

namespace quire {

// Bytes of weights read so far, and of all.
using LoadProgressHandler = std::function<void(std::size_t done, std::size_t total)>;

// The executor that the config asks for, its model loaded: device "null" computes nothing, every
// other name is one of the table of back ends. Errors: kConfig (flags), kModel (the folder),
// kDevice (memory).
Result<std::unique_ptr<Executor>> LoadExecutor(const RuntimeConfig& config,
                                               const LoadProgressHandler& progress);

}  // namespace quire
