// The kernels for AVX-512 (F, BW, DQ, VL).
#include "backend/cpu/kernels.h"

#include "backend/cpu/simd.inc"

#include "backend/cpu/gemm.inc"

#include "backend/cpu/attention.inc"
#include "backend/cpu/rows.inc"
#include "backend/cpu/table.inc"

namespace quire::cpu {

constexpr CpuKernels kAvx512Kernels = MakeKernels("avx512", "AVX-512");

}  // namespace quire::cpu
