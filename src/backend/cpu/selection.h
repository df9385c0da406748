// Choosing among a vocabulary's tokens without sorting it.
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"

namespace quire::cpu {

// The lowest id whose value is `value`; `value` occurs.
TokenId FirstOf(const float* values, std::int64_t count, float value);
std::int32_t CountGreater(const float* values, std::int64_t count, float value);

// Keys order tokens: greater values first, lower ids among equals.
std::uint64_t KeyOf(float value, TokenId token);
inline TokenId TokenOf(std::uint64_t key) { return static_cast<TokenId>(key & 0xFFFFFFFFU); }

// The keys of the `num` best values in order (fewer where count is less). keys: scratch [count].
std::span<const std::uint64_t> BestTokens(const float* values, std::int64_t count, std::int64_t num,
                                          std::uint64_t* keys);

// Weights of the tokens of one row, from which one is drawn. The best token's weight is 1. Owns
// nothing.
class Candidates {
 public:
  // keys: scratch [count].
  Candidates(float* weights, std::uint64_t* keys, std::int64_t count)
      : weights_(weights), keys_(keys), count_(count) {}

  // Each of these gives the tokens that it drops the weight 0.
  void DropBelow(float weight);
  void KeepBest(std::int64_t num);  // exactly so many; lower ids among equals
  void KeepMass(float share);       // the fewest best tokens that have this share of the weight
  // The token at `uniform` of the cumulated weight, in the order of ids.
  TokenId Pick(double uniform) const;

 private:
  double Total() const;
  // Lists the keys of tokens of at least `weight`.
  std::span<std::uint64_t> ListKeys(float weight);
  void KeepUpTo(std::uint64_t last_key);

  float* weights_;
  std::uint64_t* keys_;
  std::int64_t count_;
};

}  // namespace quire::cpu
