// Stands in for gemm_tokens_sm90.cu in a program that is not built for sm_90a.
#include "backend/cuda/kernels/gemm_tokens_sm90.h"

namespace quire::cuda {

std::size_t GemmTokensWorkspaceBytes() { return 0; }
int GemmTokensClusters(std::int64_t, std::int64_t, bool) { return 0; }
GemmTokensVariant GemmTokensChoice(const GemmTokensArgs&) { return {}; }
bool GemmTokensFeasible(const GemmTokensVariant&, const GemmTokensArgs&) { return false; }
int GemmTokensOrder(const GemmTokensVariant&, const GemmTokensArgs&) { return 0; }
void GemmTokens(const GemmTokensVariant&, const GemmTokensArgs&, cudaStream_t) {}

}  // namespace quire::cuda
