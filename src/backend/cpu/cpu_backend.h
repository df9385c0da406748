// The CPU back end: all cores, the instruction set chosen when it is made.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"

namespace quire {

struct CpuBackendOptions {
  int num_threads = 0;  // 0: one for each core this process may run on
  std::string
      instruction_set;  // "": the best the CPU has; else portable, avx2, avx512, avx512bf16, amx
};

// kConfig error for an instruction set that does not exist or that this CPU lacks.
Result<std::unique_ptr<Backend>> MakeCpuBackend(const CpuBackendOptions& options);

}  // namespace quire
