// What this process may use of the machine: instruction sets, cores, memory.
#pragma once

#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"

namespace quire::cpu {

// The kernels that this build has and this CPU can run, the best last. Never empty.
std::vector<const CpuKernels*> UsableKernels();
// Whether a kernel table of that name exists for some CPU.
bool IsInstructionSet(std::string_view name);

// Cores that the affinity mask and the control groups leave to this process; at least 1.
int UsableCores();
// Physical memory, and what of it this process can still get, control groups considered.
MemoryInfo UsableMemory();

}  // namespace quire::cpu
