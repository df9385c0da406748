#include "sched/scheduler_lookahead.h"

#include <algorithm>
#include <utility>

namespace quire {

void LengthEstimator::Record(std::int32_t num_output, bool cut_off) {
  if (recent_.size() == kWindow) {
    sorted_.erase(std::ranges::lower_bound(sorted_, recent_.front()));
    recent_.pop_front();
  }
  const std::int32_t length = cut_off ? kUnknown : num_output;
  recent_.push_back(length);
  sorted_.insert(std::ranges::upper_bound(sorted_, length), length);
}

std::int32_t LengthEstimator::Remaining(std::int32_t num_output) const {
  if (sorted_.size() < kEnough) return kUnknown;
  // Only those that came this far tell how it goes on from here.
  const auto longer = std::ranges::upper_bound(sorted_, num_output);
  if (longer == sorted_.end()) return kUnknown;
  const std::int32_t length = *(longer + (sorted_.end() - longer) * 3 / 4);
  return length == kUnknown ? kUnknown : length - num_output;
}

namespace {

// Blocks to add until the sequence has made `steps` more tokens.
std::int32_t Growth(const Expected& e, std::int32_t steps, std::int32_t block_size) {
  const std::int32_t positions = e.length + steps - 1;
  return std::max(0, (positions + block_size - 1) / block_size - e.num_blocks);
}

}  // namespace

std::int64_t PeakBlocks(std::vector<Expected> sequences, const LookAheadPool& pool) {
  // The peak lies just before a sequence's blocks return: look at each such time, with those that
  // outlive it.
  std::ranges::sort(sequences,
                    [](const Expected& a, const Expected& b) { return a.remaining > b.remaining; });
  std::int64_t returned = 0;
  for (const Expected& e : sequences) returned += e.num_private;
  std::int64_t peak = pool.num_used;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    returned -= sequences[i].num_private;
    const std::int32_t time = sequences[i].remaining + pool.lag;
    std::int64_t blocks = pool.num_used - returned;
    for (std::size_t j = 0; j <= i; ++j)
      blocks += Growth(sequences[j], std::min(time, sequences[j].remaining), pool.block_size);
    peak = std::max(peak, blocks);
  }
  return peak;
}

bool FitsAhead(std::vector<Expected> sequences, const LookAheadPool& pool) {
  // Where the cache is roomy, all of them fit at their longest at once; that is quickly seen.
  std::int64_t most = pool.num_used;
  for (const Expected& e : sequences) most += Growth(e, e.remaining, pool.block_size);
  return most <= pool.num_blocks || PeakBlocks(std::move(sequences), pool) <= pool.num_blocks;
}

}  // namespace quire
