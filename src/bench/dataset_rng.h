// DatasetRng: random numbers for workloads, the same with every standard library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

namespace quire {

// Owns the generator's state. The engine is fixed by the C++ standard, its distributions are not:
// hence these.
class DatasetRng {
 public:
  // `stream` separates independent sequences of one seed.
  explicit DatasetRng(std::uint64_t seed, std::uint64_t stream = 0)
      : engine_(Mix(seed ^ Mix(stream))) {}

  std::uint64_t Below(std::uint64_t n) {  // uniform in [0, n), n > 0
    constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
    const std::uint64_t biased = (kMax % n + 1) % n;  // 2^64 mod n
    std::uint64_t x = engine_();
    while (x < biased) x = engine_();
    return x % n;
  }

  int Between(int low, int high) {  // uniform in [low, high]
    const auto range = static_cast<std::uint64_t>(std::int64_t{high} - low + 1);
    return static_cast<int>(low + static_cast<std::int64_t>(Below(range)));
  }

  template <class T>
  void Shuffle(std::vector<T>& items) {
    for (std::size_t left = items.size(); left > 1; --left) {
      std::swap(items[left - 1], items[Below(left)]);
    }
  }

 private:
  static std::uint64_t Mix(std::uint64_t x) {  // SplitMix64's finalizer
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  std::mt19937_64 engine_;
};

}  // namespace quire
