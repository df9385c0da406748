#include "backend/cpu/selection.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>

namespace quire::cpu {
namespace {

// Most draws need only tokens within these factors of the best one; the last takes all that have a
// weight.
constexpr std::array<float, 3> kReach{1e-2F, 1e-5F, 0.0F};

constexpr std::int64_t kRun = 1024;  // weights added in one go

float ValueOf(std::uint64_t key) {
  const auto falling = static_cast<std::uint32_t>(key >> 32);
  const std::uint32_t rising = ~falling;
  return std::bit_cast<float>((rising & 0x80000000U) != 0 ? rising ^ 0x80000000U : ~rising);
}

double RunTotal(const float* weights, std::int64_t begin, std::int64_t end) {
  std::array<double, 8> sums{};
  std::int64_t i = begin;
  for (; i + 8 <= end; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) {
      sums[j] += static_cast<double>(weights[i + static_cast<std::int64_t>(j)]);
    }
  }
  for (; i < end; ++i) sums[0] += static_cast<double>(weights[i]);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

double MassOf(std::span<const std::uint64_t> keys) {
  double mass = 0;
  for (const std::uint64_t key : keys) mass += static_cast<double>(ValueOf(key));
  return mass;
}

// The last key of the shortest best part of `keys` whose weight reaches `target`; reorders keys.
std::uint64_t LastKeyOfMass(std::span<std::uint64_t> keys, double target) {
  double before = 0;
  while (keys.size() > 64) {
    const std::size_t half = keys.size() / 2;
    std::nth_element(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(half), keys.end());
    const double mass = MassOf(keys.first(half));
    if (before + mass >= target) {
      keys = keys.first(half);
    } else {
      before += mass;
      keys = keys.subspan(half);
    }
  }
  std::sort(keys.begin(), keys.end());
  for (const std::uint64_t key : keys) {
    before += static_cast<double>(ValueOf(key));
    if (before >= target) return key;
  }
  return keys.back();
}

}  // namespace

TokenId FirstOf(const float* values, std::int64_t count, float value) {
  return static_cast<TokenId>(std::find(values, values + count, value) - values);
}

std::int32_t CountGreater(const float* values, std::int64_t count, float value) {
  std::int32_t greater = 0;
  for (std::int64_t i = 0; i < count; ++i) greater += values[i] > value ? 1 : 0;
  return greater;
}

std::uint64_t KeyOf(float value, TokenId token) {
  // Adding zero makes −0 a +0; then the bits of floats, so turned, ascend with their values.
  const auto bits = std::bit_cast<std::uint32_t>(value + 0.0F);
  const std::uint32_t rising = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return std::uint64_t{~rising} << 32 | static_cast<std::uint32_t>(token);
}

std::span<const std::uint64_t> BestTokens(const float* values, std::int64_t count, std::int64_t num,
                                          std::uint64_t* keys) {
  const std::int64_t kept = std::min(num, count);
  // A heap of the best so far, its worst on top.
  for (std::int64_t i = 0; i < kept; ++i) keys[i] = KeyOf(values[i], static_cast<TokenId>(i));
  std::make_heap(keys, keys + kept);
  float worst = kept > 0 ? ValueOf(keys[0]) : 0.0F;
  for (std::int64_t i = kept; i < count; ++i) {
    if (!(values[i] > worst)) continue;
    std::pop_heap(keys, keys + kept);
    keys[kept - 1] = KeyOf(values[i], static_cast<TokenId>(i));
    std::push_heap(keys, keys + kept);
    worst = ValueOf(keys[0]);
  }
  std::sort_heap(keys, keys + kept);
  return {keys, static_cast<std::size_t>(kept)};
}

double Candidates::Total() const {
  double total = 0;
  for (std::int64_t i = 0; i < count_; i += kRun) {
    total += RunTotal(weights_, i, std::min(i + kRun, count_));
  }
  return total;
}

std::span<std::uint64_t> Candidates::ListKeys(float weight) {
  std::int64_t listed = 0;
  for (std::int64_t i = 0; i < count_; ++i) {
    if (weights_[i] > 0.0F && weights_[i] >= weight) {
      keys_[listed++] = KeyOf(weights_[i], static_cast<TokenId>(i));
    }
  }
  return {keys_, static_cast<std::size_t>(listed)};
}

void Candidates::KeepUpTo(std::uint64_t last_key) {
  const float worst = ValueOf(last_key);
  for (std::int64_t i = 0; i < count_; ++i) {
    const float w = weights_[i];
    if (w > worst) continue;
    if (w < worst || KeyOf(w, static_cast<TokenId>(i)) > last_key) weights_[i] = 0.0F;
  }
}

void Candidates::DropBelow(float weight) {
  for (std::int64_t i = 0; i < count_; ++i) {
    if (weights_[i] < weight) weights_[i] = 0.0F;
  }
}

void Candidates::KeepBest(std::int64_t num) {
  for (const float reach : kReach) {
    const std::span<std::uint64_t> keys = ListKeys(reach);
    if (static_cast<std::int64_t>(keys.size()) < num) continue;
    std::nth_element(keys.begin(), keys.begin() + (num - 1), keys.end());
    KeepUpTo(keys[static_cast<std::size_t>(num - 1)]);
    return;
  }
}

void Candidates::KeepMass(float share) {
  const double target = static_cast<double>(share) * Total();
  for (const float reach : kReach) {
    const std::span<std::uint64_t> keys = ListKeys(reach);
    if (reach > 0.0F && MassOf(keys) < target) continue;
    KeepUpTo(LastKeyOfMass(keys, target));
    return;
  }
}

TokenId Candidates::Pick(double uniform) const {
  const double target = uniform * Total();
  double before = 0;
  std::int64_t run = 0;
  for (; run + kRun < count_; run += kRun) {
    const double mass = RunTotal(weights_, run, run + kRun);
    if (before + mass > target) break;
    before += mass;
  }
  std::int64_t last = -1;
  for (std::int64_t i = run; i < count_; ++i) {
    if (!(weights_[i] > 0.0F)) continue;
    last = i;
    before += static_cast<double>(weights_[i]);
    if (before > target) break;
  }
  // Rounding may leave the target at the very end, with no weight after it.
  if (last < 0) {
    last = run - 1;
    while (last > 0 && !(weights_[last] > 0.0F)) --last;
  }
  return static_cast<TokenId>(last);
}

}  // namespace quire::cpu
