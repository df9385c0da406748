// The table of back ends: the only place where a device's name becomes a Backend. Implemented by
// cli/backends_*.cpp, of which CMake picks the file (rule 3).
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "base/result.h"
#include "runtime/runtime_config.h"

namespace quire {

// kConfig error that lists the devices this build has, where the name is unknown.
Result<std::unique_ptr<Backend>> MakeBackend(const RuntimeConfig& config);

}  // namespace quire
