// Stands in for attention_prefill_sm90.cu in a program that is not built for sm_90a.
#include "backend/cuda/kernels/attention_prefill.h"

namespace quire::cuda {

bool AttentionPrefillSm90Supports(DType, int, int) { return false; }
AttentionTile AttentionPrefillSm90Tile(int) { return {}; }
int AttentionPrefillSm90Prepare(DType, int) { return 0; }
void AttentionPrefillSm90(const AttentionArgs&, cudaStream_t) {}

}  // namespace quire::cuda
