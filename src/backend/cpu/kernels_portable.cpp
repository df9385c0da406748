// The kernels for any CPU: vectors of four floats, as the compiler knows them.
#include "backend/cpu/kernels.h"

#include "backend/cpu/simd.inc"

#include "backend/cpu/gemm.inc"

#include "backend/cpu/attention.inc"
#include "backend/cpu/rows.inc"
#include "backend/cpu/table.inc"

namespace quire::cpu {

constexpr CpuKernels kPortableKernels = MakeKernels("portable", "portable kernels");

}  // namespace quire::cpu
