// The kernels of sampling, in the order in which sampling.cu launches them.
//
// Most tokens are drawn by the first: from all tokens, without a look at top_k, top_p and min_p.
// The second sees whether that token is one that these keep; only where it is not is the cut looked
// for, and a token drawn from what it leaves: which is the same as to draw from that at once. The k
// best of a small k are listed at once.
#pragma once

#include "backend/cuda/kernels/sampling_row.cuh"

namespace quire::cuda::sampling {

// What a call scores: the rows' own plans, or given tokens and so many of the best.
struct Score {
  bool given = false;
  std::int32_t top = 0;
};

// One look at each row: its greatest logit, ln Σ exp of the raw logits, and the token of every row
// that drops none. What the other kernels need of the rest is left in the scratch.
void LaunchScan(const SamplingArgs& args, const SamplingNeeds& needs, const Score& score,
                const Scratch& scratch, cudaStream_t stream);

// For rows of the stages kCheck, kCut and kDraw.
void LaunchCheck(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                 cudaStream_t stream);
void LaunchFindCut(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                   cudaStream_t stream);
void LaunchDraw(const SamplingArgs& args, const SamplingNeeds& needs, const Scratch& scratch,
                cudaStream_t stream);

// For rows that ask for the best tokens of their raw logits: where these end; and then, with the
// rank of the row's token, the best.
void LaunchFindBest(const SamplingArgs& args, const Score& score, const Scratch& scratch,
                    cudaStream_t stream);
void LaunchRank(const SamplingArgs& args, const Score& score, const Scratch& scratch,
                cudaStream_t stream);

// How many tiles a block takes in the kernels whose sums are of integers: as few as fill the
// device. Sums of parts of a block's tokens fit 32 bits.
inline int TilesPerBlock(std::int32_t rows, std::int32_t tiles) {
  constexpr std::int64_t kBlocks = 1056;
  const std::int64_t most = std::int64_t{rows} * tiles / kBlocks;
  return static_cast<int>(most < 1 ? 1 : most > 6 ? 6 : most);
}
static_assert(6 * kTile * static_cast<std::uint64_t>(kParts) < (1ULL << 32));

}  // namespace quire::cuda::sampling
