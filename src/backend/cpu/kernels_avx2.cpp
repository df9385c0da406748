// The kernels for AVX2, FMA and F16C.
#include "backend/cpu/kernels.h"

#include "backend/cpu/simd.inc"

#include "backend/cpu/gemm.inc"

#include "backend/cpu/attention.inc"
#include "backend/cpu/rows.inc"
#include "backend/cpu/table.inc"

namespace quire::cpu {

constexpr CpuKernels kAvx2Kernels = MakeKernels("avx2", "AVX2");

}  // namespace quire::cpu
