// The kernels for AVX-512 with VDPBF16PS.
#include "backend/cpu/kernels.h"

#include "backend/cpu/simd.inc"

#include "backend/cpu/gemm.inc"

#include "backend/cpu/attention.inc"
#include "backend/cpu/rows.inc"
#include "backend/cpu/table.inc"

namespace quire::cpu {

constexpr CpuKernels kAvx512Bf16Kernels = MakeKernels("avx512bf16", "AVX-512 BF16");

}  // namespace quire::cpu
