// The kernels for AMX: AVX-512 with VDPBF16PS, and bfloat16 GEMMs on tiles.
#include "backend/cpu/kernels.h"

#include "backend/cpu/simd.inc"

#include "backend/cpu/gemm.inc"

#include "backend/cpu/attention.inc"
#include "backend/cpu/rows.inc"
#include "backend/cpu/table.inc"

#include "backend/cpu/amx.inc"

namespace quire::cpu {

constexpr CpuKernels kAmxKernels = MakeAmxKernels();

}  // namespace quire::cpu
