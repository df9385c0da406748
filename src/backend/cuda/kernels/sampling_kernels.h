// The kernels of sampling, in the order in which sampling.cu launches them.
//
// Most tokens are drawn by the first: from all tokens, without a look at top_k, top_p and min_p.
// The second sees whether that token is one that these keep; only where it is not is the cut looked
// for, and a token drawn from what it leaves: which is the same as to draw from that at once. The k
// best of a small k are listed at once.
#pragma once

#include <algorithm>

#include "backend/cuda/kernels/sampling_read.cuh"

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

// For rows in the queues.
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

// The tiles of some rows as work for blocks, a few tiles of one row at a time: so many that the
// device is filled and the last blocks leave little of it idle. Sums of parts of these tokens fit
// 32 bits.
constexpr int kMostTiles = 6;
static_assert(kMostTiles * kTile * static_cast<std::uint64_t>(kParts) < (1ULL << 32));

struct Work {
  int tiles;      // of a row
  int per_block;  // tiles
  int blocks;     // of a row
  int items;      // of all rows

  __host__ __device__ Work(int rows, int row_tiles, int at_once) : tiles(row_tiles) {
    per_block = 1;
    int least = 0;
    for (int per = 1; per <= kMostTiles; ++per) {
      const int waves = CeilDiv(rows * CeilDiv(tiles, per), at_once);
      const int cost = waves * (2 * per + 3);  // beginning and ending take as long as 1.5 tiles
      if (per == 1 || cost < least) {
        least = cost;
        per_block = per;
      }
    }
    blocks = CeilDiv(tiles, per_block);
    items = rows * blocks;
  }
  __device__ int begin(int block) const { return block * per_block; }
  __device__ int end(int block) const { return min((block + 1) * per_block, tiles); }
};

// Blocks that run at once on the device.
constexpr int kBlocksPerMultiprocessor = 4;
inline int BlocksAtOnce() { return kBlocksPerMultiprocessor * NumMultiprocessors(); }

// Launches kernel(args..., BlocksAtOnce()) with a block for each piece of work where all of `rows`
// have some; blocks without work end at once, and where there are more pieces a block takes
// several. With the shared memory of a reader and `more` bytes.
template <class Kernel, class... Args>
void LaunchWorkers(Kernel* kernel, std::int32_t rows, const Scratch& scratch, std::size_t more,
                   cudaStream_t stream, const Args&... args) {
  const int at_once = BlocksAtOnce();
  const int all = std::max(at_once, rows * CeilDiv(scratch.tiles, kMostTiles));
  const int blocks = std::min(all, rows * scratch.tiles);
  const std::size_t bytes = TileReader::kRingBytes + more;
  if (bytes > 38 * 1024) AllowSharedMemory(kernel, bytes);
  Launch(kernel, static_cast<unsigned>(blocks), kThreads, bytes, stream, args..., at_once);
}

}  // namespace quire::cuda::sampling
