// What the tests of the CUDA back end share: matrices on the device, random values, poisoned
// outputs, comparisons. The reference is the CPU back end, or arithmetic in double precision.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/cpu/cpu_test_util.h"
#include "backend/cuda/cuda_backend.h"

namespace quire::cuda_test {

using cpu_test::kFloatTypes;
using cpu_test::Matrix;
using cpu_test::Rounded;
using cpu_test::SameBits;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

inline std::unique_ptr<Backend> MakeCuda(bool hopper = true) {
  CudaBackendOptions options;
  options.hopper = hopper;
  Result<std::unique_ptr<Backend>> backend = MakeCudaBackend(options);
  EXPECT_TRUE(backend.ok()) << (backend.ok() ? "" : backend.error().message);
  return std::move(*backend);
}

// The CPU back end, whose activations are float32 whatever the weights are.
inline Backend& Reference() {
  static const std::unique_ptr<Backend> backend = std::move(*MakeCpuBackend({}));
  return *backend;
}

// About normal, a function of (seed, index) alone.
inline float Noise(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t x = seed * 0x9E3779B97F4A7C15U + index;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  x ^= x >> 31;
  const auto sum =
      static_cast<float>((x & 0xFFFF) + (x >> 16 & 0xFFFF) + (x >> 32 & 0xFFFF) + (x >> 48)) /
      65536.0F;
  return (sum - 2.0F) * 1.7320508F;
}

// Random values that `dtype` can hold.
inline Matrix RandomAs(DType dtype, std::int64_t rows, std::int64_t columns, std::uint64_t seed,
                       float scale = 1.0F) {
  Matrix m(rows, columns);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const auto index = static_cast<std::uint64_t>(r * columns + c);
      m.at(r, c) = Rounded(scale * Noise(seed, index), dtype);
    }
  }
  return m;
}

inline Buffer Allocated(Backend& backend, std::size_t bytes) {
  Result<Buffer> buffer = backend.Allocate(bytes);
  EXPECT_TRUE(buffer.ok());
  return std::move(*buffer);
}

// All bits set: a NaN in every float dtype, −1 in the others.
inline void Poison(Backend& backend, const Buffer& buffer) {
  const std::vector<std::uint8_t> ones(buffer.bytes(), 0xFF);
  const auto size = static_cast<std::int64_t>(buffer.bytes());
  backend.CopyToDevice(ones.data(), Tensor(buffer.data(), DType::kU8, {size}, backend.device()));
}

inline float Decoded(const std::vector<char>& bytes, std::int64_t index, DType dtype) {
  const char* from = bytes.data() + static_cast<std::size_t>(index) * SizeOf(dtype);
  float x = 0;
  std::uint16_t half = 0;
  if (dtype == DType::kF32) {
    std::memcpy(&x, from, sizeof x);
    return x;
  }
  std::memcpy(&half, from, sizeof half);
  return dtype == DType::kBF16 ? BF16ToFloat(half) : F16ToFloat(half);
}

// Owns a matrix on the device. Its rows may be `gap` elements wider apart than they are long; what
// lies between them is NaN, as is everything until it is set.
class DeviceMatrix {
 public:
  DeviceMatrix(Backend& backend, std::int64_t rows, std::int64_t columns, DType dtype,
               std::int64_t gap = 0)
      : backend_(&backend), rows_(rows), columns_(columns), stride_(columns + gap), dtype_(dtype) {
    buffer_ = Allocated(backend, static_cast<std::size_t>(rows_ * stride_) * SizeOf(dtype));
    Poison(backend, buffer_);
  }
  DeviceMatrix(Backend& backend, const Matrix& values, DType dtype, std::int64_t gap = 0)
      : DeviceMatrix(backend, values.rows(), values.columns(), dtype, gap) {
    Set(values);
  }

  void Set(const Matrix& values) {
    Matrix wide(rows_, stride_);
    for (std::int64_t r = 0; r < rows_; ++r) {
      for (std::int64_t c = 0; c < columns_; ++c) wide.at(r, c) = values.at(r, c);
    }
    const std::vector<char> bytes = cpu_test::Encoded(wide, dtype_);
    backend_->CopyToDevice(bytes.data(), whole());
  }
  // Waits. Fails the test where something was written between rows.
  Matrix Get() const {
    std::vector<char> bytes(buffer_.bytes());
    backend_->CopyToHost(whole(), bytes.data());
    Matrix values(rows_, columns_);
    std::int64_t stray = 0;
    for (std::int64_t r = 0; r < rows_; ++r) {
      for (std::int64_t c = 0; c < stride_; ++c) {
        const float x = Decoded(bytes, r * stride_ + c, dtype_);
        if (c < columns_) {
          values.at(r, c) = x;
        } else if (!std::isnan(x)) {
          ++stray;
        }
      }
    }
    EXPECT_EQ(stray, 0) << "elements written between rows";
    return values;
  }
  Tensor tensor() const { return whole().Columns(0, columns_); }
  // [rows, parts, columns / parts]
  Tensor tensor(std::int64_t parts) const { return tensor().SplitColumns(parts, columns_ / parts); }
  // The only row of a weight.
  Tensor vector() const { return Tensor(buffer_.data(), dtype_, {columns_}, backend_->device()); }

 private:
  Tensor whole() const {
    return Tensor(buffer_.data(), dtype_, {rows_, stride_}, backend_->device());
  }

  Backend* backend_;
  std::int64_t rows_, columns_, stride_;
  DType dtype_;
  Buffer buffer_;
};

// Owns int32 values on the device; what is set later lies at the same address.
class DeviceInts {
 public:
  DeviceInts(Backend& backend, std::size_t capacity)
      : backend_(&backend), buffer_(Allocated(backend, capacity * sizeof(std::int32_t))) {
    Poison(backend, buffer_);
  }
  DeviceInts(Backend& backend, std::span<const std::int32_t> values)
      : DeviceInts(backend, values.size()) {
    Set(values);
  }
  Tensor Set(std::span<const std::int32_t> values) {
    size_ = static_cast<std::int64_t>(values.size());
    EXPECT_LE(values.size_bytes(), buffer_.bytes());
    backend_->CopyToDevice(values.data(), tensor());
    return tensor();
  }
  std::vector<std::int32_t> Get() const {
    std::vector<std::int32_t> values(static_cast<std::size_t>(size_));
    backend_->CopyToHost(tensor(), values.data());
    return values;
  }
  Tensor tensor() const { return Tensor(buffer_.data(), DType::kI32, {size_}, backend_->device()); }

 private:
  Backend* backend_;
  Buffer buffer_;
  std::int64_t size_ = 0;
};

// What one rounding to `dtype` costs, relatively; of float32, what a few operations cost.
inline double Epsilon(DType dtype) {
  if (dtype == DType::kBF16) return 0x1p-8;
  if (dtype == DType::kF16) return 0x1p-11;
  return 4e-6;
}

// |got − want| ≤ epsilon · (|want| + scale) everywhere; NaN where NaN is wanted alone.
inline void ExpectNear(const Matrix& got, const Matrix& want, double epsilon, double scale = 1.0) {
  std::int64_t bad = 0;
  double worst = -1;
  std::int64_t row = 0, column = 0;
  for (std::int64_t r = 0; r < want.rows(); ++r) {
    for (std::int64_t c = 0; c < want.columns(); ++c) {
      const double wanted = want.at(r, c);
      if (std::isnan(wanted) && std::isnan(got.at(r, c))) continue;
      const double error = std::abs(got.at(r, c) - wanted) / (std::abs(wanted) + scale);
      if (error <= epsilon) continue;
      ++bad;
      if (error <= worst || worst == std::numeric_limits<double>::infinity()) continue;
      worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
      row = r;
      column = c;
    }
  }
  EXPECT_EQ(bad, 0) << "of " << want.rows() << " x " << want.columns() << "; the worst at (" << row
                    << ", " << column << "): " << got.at(row, column) << " instead of "
                    << want.at(row, column) << ", error " << worst << " > " << epsilon;
}

inline void ExpectSame(const Matrix& got, const Matrix& want) {
  for (std::int64_t r = 0; r < want.rows(); ++r) {
    ASSERT_TRUE(SameBits(got, r, want, r)) << "row " << r << " of " << want.rows();
  }
}

}  // namespace quire::cuda_test
