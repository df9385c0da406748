// Rotary position embedding and its scalings, as transformers' modeling_rope_utils.py defines them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "layers/context.h"

namespace quire {

enum class RopeScaling : std::uint8_t { kNone, kLinear, kLlama3, kYarn };

// What config.json says of the rotation. Fields below `scaling` are read where the scaling has
// them.
struct RopeParameters {
  double theta = 10000.0;
  std::int64_t rotary_dim = 0;  // how much of a head is rotated; even
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  std::int64_t original_max_positions = 0;
  double low_freq_factor = 1.0;  // llama3
  double high_freq_factor = 4.0;
  double beta_fast = 32.0;  // yarn
  double beta_slow = 1.0;
  bool truncate = true;
  std::optional<double> attention_factor;
  double mscale = 0.0;  // 0: not given
  double mscale_all_dim = 0.0;
};

// Angle per position of each pair: [rotary_dim / 2].
std::vector<double> RopeFrequencies(const RopeParameters& rope);
// What cosines and sines are multiplied by (yarn's attention factor).
double RopeAttentionFactor(const RopeParameters& rope);
// [num_positions, rotary_dim]: cosines, then sines.
std::vector<float> RopeTable(const RopeParameters& rope, std::int64_t num_positions);

// Owns the table of cosines and sines as far as BuildContext::max_positions.
class Rope {
 public:
  Rope(BuildContext& ctx, const RopeParameters& rope);

  const Tensor& cos_sin() const { return cos_sin_; }  // as QkTransform has it

 private:
  Buffer owner_;
  Tensor cos_sin_;  // float32 [max_positions, rotary_dim]
};

}  // namespace quire
