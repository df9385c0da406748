// How long sequences will go on, and how many blocks they will then need together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace quire {

// Owns the output lengths of the sequences that ended lately.
class LengthEstimator {
 public:
  // A sequence that ended by itself behind this many output tokens, or that its limit cut off
  // there.
  void Record(std::int32_t num_output, bool cut_off);
  // Tokens that a sequence with this much output still makes, as three of four did; kUnknown where
  // too few were seen, or that many were cut off.
  std::int32_t Remaining(std::int32_t num_output) const;

  static constexpr std::int32_t kUnknown = INT32_MAX;

 private:
  static constexpr std::size_t kWindow = 256;
  static constexpr std::size_t kEnough = 32;

  std::deque<std::int32_t> recent_;   // in order of ending
  std::vector<std::int32_t> sorted_;  // the same, ascending; kUnknown: cut off
};

// One sequence in the look-ahead.
struct Expected {
  std::int32_t length = 0;       // tokens now
  std::int32_t remaining = 0;    // tokens to come; the last one of all takes no place
  std::int32_t num_blocks = 0;   // it has now
  std::int32_t num_private = 0;  // of these, no other sequence holds: they come free at its end
};

struct LookAheadPool {
  std::int64_t num_used = 0;  // blocks held now, all in all
  std::int64_t num_blocks = 0;
  std::int32_t block_size = 1;
  std::int32_t lag = 0;  // steps between a sequence's end and its blocks' return
};

// The most blocks that are used at any time, if every sequence grows by a token a step until its
// end and nobody else begins.
std::int64_t PeakBlocks(std::vector<Expected> sequences, const LookAheadPool& pool);
// Whether that peak is within the pool.
bool FitsAhead(std::vector<Expected> sequences, const LookAheadPool& pool);

}  // namespace quire
