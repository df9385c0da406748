#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>
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

// Large matrices are windows into one pool of random numbers for each deviation, so that a model of
// many gigabytes is there in a second; windows of different names begin at different places.
constexpr std::int64_t kPooledElements = std::int64_t{1} << 24;
constexpr std::int64_t kPoolSlack = std::int64_t{1} << 22;
constexpr std::int64_t kPieceElements = std::int64_t{1} << 20;

using Words = std::vector<std::uint64_t>;

// Piece by piece on all cores; a piece's numbers depend on its index alone.
template <class Element>
void FillPool(Element* out, std::int64_t count, double deviation, std::uint64_t seed, DType dtype) {
  const std::int64_t pieces = (count + kPieceElements - 1) / kPieceElements;
  std::atomic<std::int64_t> next{0};
  const auto work = [&] {
    for (std::int64_t i = next++; i < pieces; i = next++) {
      std::uint64_t state = seed + static_cast<std::uint64_t>(i);
      FillNormal(out + i * kPieceElements, std::min(kPieceElements, count - i * kPieceElements),
                 deviation, SplitMix(state), dtype);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < std::thread::hardware_concurrency(); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

// Owns the random tensors that were asked for.
class DummyStore final : public TensorStore {
 public:
  DummyStore(std::uint64_t seed, DType dtype) : seed_(seed), dtype_(dtype) {}

  bool Has(const std::string&) const override { return true; }

  Tensor Get(const std::string& name, std::initializer_list<std::int64_t> shape) const override {
    const std::lock_guard lock(mutex_);
    const Tensor view(nullptr, dtype_, shape);
    if (view.rank() >= 2 && view.num_elements() >= kPooledElements) return Window(name, shape);
    Words& data = tensors_[name];
    const std::size_t words = view.num_bytes() / sizeof(std::uint64_t) + 1;
    const bool made = data.size() == words;
    data.resize(words);
    const Tensor tensor(data.data(), dtype_, shape);
    if (made) return tensor;
    if (dtype_ == DType::kF32) {
      Fill(tensor.data<float>(), tensor, name, seed_, dtype_);
    } else {
      Fill(tensor.data<std::uint16_t>(), tensor, name, seed_, dtype_);
    }
    return tensor;
  }

  std::size_t num_bytes() const override { return 0; }  // unknown before modules ask
  std::vector<std::string> Unused() const override { return {}; }

 private:
  struct Pool {
    std::int64_t columns = 0;  // decides the deviation
    std::int64_t count = 0;
    std::unique_ptr<std::uint64_t[]> data;  // not zeroed: every byte is written
  };

  Tensor Window(const std::string& name, std::initializer_list<std::int64_t> shape) const {
    const Tensor view(nullptr, dtype_, shape);
    const std::int64_t columns = view.dim(view.rank() - 1);
    const std::int64_t count = view.num_elements() + kPoolSlack;
    auto pool = std::find_if(pools_.begin(), pools_.end(), [&](const Pool& p) {
      return p.columns == columns && p.count >= count;
    });
    if (pool == pools_.end()) pool = pools_.insert(pools_.end(), MakePool(columns, count));
    const auto places = static_cast<std::uint64_t>(kPoolSlack / 64);
    const auto offset = static_cast<std::size_t>(HashName(seed_, name) % places * 64);
    return Tensor(reinterpret_cast<char*>(pool->data.get()) + offset * SizeOf(dtype_), dtype_,
                  shape);
  }

  Pool MakePool(std::int64_t columns, std::int64_t count) const {
    Pool pool{columns, count, nullptr};
    const std::size_t bytes = static_cast<std::size_t>(count) * SizeOf(dtype_);
    pool.data = std::make_unique_for_overwrite<std::uint64_t[]>(bytes / sizeof(std::uint64_t) + 1);
    const double deviation = 1.0 / std::sqrt(static_cast<double>(columns));
    void* data = pool.data.get();
    if (dtype_ == DType::kF32) {
      FillPool(static_cast<float*>(data), count, deviation, seed_, dtype_);
    } else {
      FillPool(static_cast<std::uint16_t*>(data), count, deviation, seed_, dtype_);
    }
    return pool;
  }

  std::uint64_t seed_;
  DType dtype_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::string, Words> tensors_;
  mutable std::vector<Pool> pools_;
};

}  // namespace

std::shared_ptr<const TensorStore> MakeDummyStore(std::uint64_t seed, DType dtype) {
  return std::make_shared<DummyStore>(seed, dtype);
}

}  // namespace quire
