// The limits that every executor tells: flags, and defaults where there are none.
#pragma once

#include <cstdint>

#include "runtime/runtime_config.h"
#include "sched/output.h"
#include "tensor/dtype.h"

namespace quire {

// For a model of that vocabulary and context; what depends on the loaded model is left empty.
EngineInfo LimitsOf(const RuntimeConfig& config, std::int64_t vocab_size,
                    std::int32_t max_positions, DeviceKind device);

}  // namespace quire
