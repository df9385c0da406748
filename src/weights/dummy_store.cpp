#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <unordered_map>

#include "weights/weight_source.h"

namespace quire {
namespace {

// The sum of eight random bytes is close to normal: its mean and the deviation.
constexpr int kMaxByteSum = 8 * 255;
constexpr double kMean = kMaxByteSum / 2.0;
constexpr double kDeviation = 209.0151;  // sqrt(8 · (256² − 1) / 12)

std::uint64_t SplitMix(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9E3779B97F4A7C15U);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

std::uint64_t HashName(std::uint64_t seed, const std::string& name) {
  std::uint64_t hash = 0xCBF29CE484222325U ^ seed;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return SplitMix(hash);
}

std::size_t SumOfBytes(std::uint64_t word) {
  const std::uint64_t pairs = (word & 0x00FF00FF00FF00FFU) + ((word >> 8) & 0x00FF00FF00FF00FFU);
  return static_cast<std::size_t>((pairs * 0x0001000100010001U) >> 48);
}

bool EndsWith(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

template <class Element>
Element Convert(double value, DType dtype) {
  const auto narrow = static_cast<float>(value);
  if constexpr (sizeof(Element) == sizeof(float)) {
    return narrow;
  } else {
    return dtype == DType::kBF16 ? FloatToBF16(narrow) : FloatToF16(narrow);
  }
}

// A gigabyte takes a second: each random word picks from a table of values already converted.
template <class Element>
void FillNormal(Element* out, std::int64_t count, double deviation, std::uint64_t state,
                DType dtype) {
  std::array<Element, kMaxByteSum + 1> values;
  for (int i = 0; i <= kMaxByteSum; ++i) {
    values[static_cast<std::size_t>(i)] =
        Convert<Element>((i - kMean) / kDeviation * deviation, dtype);
  }
  for (std::int64_t i = 0; i < count; ++i) out[i] = values[SumOfBytes(SplitMix(state))];
}

template <class Element>
void Fill(Element* out, const Tensor& shape, const std::string& name, std::uint64_t seed,
          DType dtype) {
  const std::int64_t count = shape.num_elements();
  if (EndsWith(name, "norm.weight")) {
    std::fill(out, out + count, Convert<Element>(1.0, dtype));
  } else if (shape.rank() >= 2) {
    const double columns = static_cast<double>(shape.dim(shape.rank() - 1));
    FillNormal(out, count, 1.0 / std::sqrt(columns), HashName(seed, name), dtype);
  }  // else a bias: memory is zero already
}

// Owns the random tensors that were asked for.
class DummyStore final : public TensorStore {
 public:
  DummyStore(std::uint64_t seed, DType dtype) : seed_(seed), dtype_(dtype) {}

  bool Has(const std::string&) const override { return true; }

  Tensor Get(const std::string& name, std::initializer_list<std::int64_t> shape) const override {
    const std::lock_guard lock(mutex_);
    std::vector<std::uint64_t>& data = tensors_[name];
    const std::size_t bytes = Tensor(nullptr, dtype_, shape).num_bytes();
    const std::size_t words = bytes / sizeof(std::uint64_t) + 1;
    const bool made = data.size() == words;
    data.resize(words);
    const Tensor view(data.data(), dtype_, shape);
    if (made) return view;
    if (dtype_ == DType::kF32) {
      Fill(view.data<float>(), view, name, seed_, dtype_);
    } else {
      Fill(view.data<std::uint16_t>(), view, name, seed_, dtype_);
    }
    return view;
  }

  std::size_t num_bytes() const override { return 0; }  // unknown before modules ask
  std::vector<std::string> Unused() const override { return {}; }

 private:
  std::uint64_t seed_;
  DType dtype_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::string, std::vector<std::uint64_t>> tensors_;
};

}  // namespace

std::shared_ptr<const TensorStore> MakeDummyStore(std::uint64_t seed, DType dtype) {
  return std::make_shared<DummyStore>(seed, dtype);
}

}  // namespace quire
