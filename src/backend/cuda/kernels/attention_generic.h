// Attention in float32, and of any head_dim: see attention_generic.cu.
#pragma once

#include "backend/cuda/kernels/attention.h"

namespace quire::cuda {

constexpr int kGenericHeadDim = 256;  // at most

// Needs no plan.
void AttentionGeneric(const AttentionArgs& args, cudaStream_t stream);

}  // namespace quire::cuda
