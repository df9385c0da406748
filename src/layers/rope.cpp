#include "layers/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "layers/pack.h"

namespace quire {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

double ScaleLlama3(double frequency, const RopeParameters& rope) {
  const double wavelength = kTwoPi / frequency;
  const auto original = static_cast<double>(rope.original_max_positions);
  if (wavelength < original / rope.high_freq_factor) return frequency;
  if (wavelength > original / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth = (original / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  return (1.0 - smooth) * frequency / rope.factor + smooth * frequency;
}

// The pair that turns `rotations` times over the original context.
double YarnCorrection(double rotations, const RopeParameters& rope) {
  return static_cast<double>(rope.rotary_dim) *
         std::log(static_cast<double>(rope.original_max_positions) / (rotations * kTwoPi)) /
         (2.0 * std::log(rope.theta));
}

void ScaleYarn(std::vector<double>& frequencies, const RopeParameters& rope) {
  double low = YarnCorrection(rope.beta_fast, rope);
  double high = YarnCorrection(rope.beta_slow, rope);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.rotary_dim - 1));
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double interpolated = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] *= interpolated / rope.factor + (1.0 - interpolated);
  }
}

double YarnScale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

}  // namespace

std::vector<double> RopeFrequencies(const RopeParameters& rope) {
  std::vector<double> frequencies(static_cast<std::size_t>(rope.rotary_dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(rope.rotary_dim);
    frequencies[i] = std::pow(rope.theta, -exponent);
    if (rope.scaling == RopeScaling::kLinear) frequencies[i] /= rope.factor;
    if (rope.scaling == RopeScaling::kLlama3) frequencies[i] = ScaleLlama3(frequencies[i], rope);
  }
  if (rope.scaling == RopeScaling::kYarn) ScaleYarn(frequencies, rope);
  return frequencies;
}

double RopeAttentionFactor(const RopeParameters& rope) {
  if (rope.scaling != RopeScaling::kYarn) return 1.0;
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.mscale != 0.0 && rope.mscale_all_dim != 0.0)
    return YarnScale(rope.factor, rope.mscale) / YarnScale(rope.factor, rope.mscale_all_dim);
  return YarnScale(rope.factor, 1.0);
}

std::vector<float> RopeTable(const RopeParameters& rope, std::int64_t num_positions) {
  const std::vector<double> frequencies = RopeFrequencies(rope);
  const double factor = RopeAttentionFactor(rope);
  std::vector<float> table;
  table.reserve(static_cast<std::size_t>(num_positions * rope.rotary_dim));
  for (std::int64_t position = 0; position < num_positions; ++position) {
    const auto at = static_cast<double>(position);
    for (const double f : frequencies)
      table.push_back(static_cast<float>(factor * std::cos(at * f)));
    for (const double f : frequencies)
      table.push_back(static_cast<float>(factor * std::sin(at * f)));
  }
  return table;
}

Rope::Rope(BuildContext& ctx, const RopeParameters& rope)
    : owner_(UploadFloat32(ctx, RopeTable(rope, ctx.max_positions))),
      cos_sin_(owner_.View(DType::kF32, {ctx.max_positions, rope.rotary_dim})) {}

}  // namespace quire
