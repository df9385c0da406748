// What the tests of the CPU back end share: every usable back end, random tensors, poisoned
// outputs.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/cpu_info.h"
#include "tensor/tensor.h"

namespace quire::cpu_test {

inline std::vector<std::string> InstructionSets() {
  std::vector<std::string> names;
  for (const cpu::CpuKernels* kernels : cpu::UsableKernels()) names.emplace_back(kernels->name);
  return names;
}

inline std::unique_ptr<Backend> Make(const std::string& instruction_set, int threads = 2) {
  Result<std::unique_ptr<Backend>> backend = MakeCpuBackend({threads, instruction_set});
  EXPECT_TRUE(backend.ok());
  return std::move(*backend);
}

// Owns a float32 matrix and shows it as a tensor whose rows may be wider apart than they are long.
class Matrix {
 public:
  Matrix(std::int64_t rows, std::int64_t columns, std::int64_t gap = 0)
      : rows_(rows), columns_(columns), stride_(columns + gap) {
    data_.assign(static_cast<std::size_t>(rows * stride_), std::numeric_limits<float>::quiet_NaN());
  }
  static Matrix Random(std::int64_t rows, std::int64_t columns, std::uint32_t seed,
                       std::int64_t gap = 0, float scale = 1.0F) {
    Matrix m(rows, columns, gap);
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal(0.0F, scale);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) m.at(r, c) = normal(generator);
    }
    return m;
  }

  float& at(std::int64_t r, std::int64_t c) {
    return data_[static_cast<std::size_t>(r * stride_ + c)];
  }
  float at(std::int64_t r, std::int64_t c) const {
    return data_[static_cast<std::size_t>(r * stride_ + c)];
  }
  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  Tensor tensor() {
    Tensor wide(data_.data(), DType::kF32, {rows_, stride_});
    return wide.Columns(0, columns_);
  }
  // [rows, parts, columns / parts]
  Tensor tensor(std::int64_t parts) { return tensor().SplitColumns(parts, columns_ / parts); }

 private:
  std::int64_t rows_;
  std::int64_t columns_;
  std::int64_t stride_;
  std::vector<float> data_;
};

inline float Rounded(float x, DType dtype) {
  if (dtype == DType::kBF16) return BF16ToFloat(FloatToBF16(x));
  if (dtype == DType::kF16) return F16ToFloat(FloatToF16(x));
  return x;
}

// The values of a matrix as elements of any float dtype.
inline std::vector<char> Encoded(const Matrix& m, DType dtype) {
  std::vector<char> bytes(static_cast<std::size_t>(m.rows() * m.columns()) * SizeOf(dtype));
  char* to = bytes.data();
  for (std::int64_t r = 0; r < m.rows(); ++r) {
    for (std::int64_t c = 0; c < m.columns(); ++c, to += SizeOf(dtype)) {
      const float x = m.at(r, c);
      const std::uint16_t half = dtype == DType::kBF16 ? FloatToBF16(x) : FloatToF16(x);
      if (dtype == DType::kF32) {
        std::memcpy(to, &x, sizeof x);
      } else {
        std::memcpy(to, &half, sizeof half);
      }
    }
  }
  return bytes;
}

inline Tensor Ints(std::vector<std::int32_t>& values) {
  return {values.data(), DType::kI32, {static_cast<std::int64_t>(values.size())}};
}

// Whether row `a` of x holds the bits of row `b` of y.
inline bool SameBits(const Matrix& x, std::int64_t a, const Matrix& y, std::int64_t b) {
  for (std::int64_t c = 0; c < x.columns(); ++c) {
    if (std::bit_cast<std::uint32_t>(x.at(a, c)) != std::bit_cast<std::uint32_t>(y.at(b, c)))
      return false;
  }
  return true;
}

inline const DType kFloatTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

}  // namespace quire::cpu_test
