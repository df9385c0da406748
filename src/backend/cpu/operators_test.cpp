// Every operator but attention and sampling, on every instruction set of this CPU, against plain
// double-precision arithmetic.
#include <algorithm>

#include "backend/cpu/cpu_test_util.h"

namespace quire {
namespace {

using cpu_test::Encoded;
using cpu_test::Ints;
using cpu_test::kFloatTypes;
using cpu_test::Matrix;
using cpu_test::Rounded;
using cpu_test::SameBits;

class Operators : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> backend_ = cpu_test::Make(GetParam());
  // The kernels that multiply bfloat16 pairs round x to bfloat16 too.
  bool RoundsX(DType weights) const {
    return weights == DType::kBF16 && (GetParam() == "avx512bf16" || GetParam() == "amx");
  }
};

INSTANTIATE_TEST_SUITE_P(Cpu, Operators, testing::ValuesIn(cpu_test::InstructionSets()),
                         [](const auto& test) { return test.param; });

TEST_P(Operators, MatMulIsRight) {
  struct Shape {
    std::int64_t m, k, n;
    bool bias;
  };
  const Shape shapes[] = {{1, 1, 1, false},   {1, 7, 33, true},    {3, 64, 64, false},
                          {13, 65, 31, true}, {15, 300, 97, true}, {29, 1030, 200, false},
                          {5, 896, 130, true}};
  for (const Shape& shape : shapes) {
    for (const DType source : kFloatTypes) {
      for (const DType dtype : kFloatTypes) {
        SCOPED_TRACE(std::to_string(shape.m) + "x" + std::to_string(shape.k) + "x" +
                     std::to_string(shape.n) + " " + Name(source) + " as " + Name(dtype));
        Matrix x = Matrix::Random(shape.m, shape.k, 1, 3);
        const Matrix w = Matrix::Random(shape.n, shape.k, 2);
        Matrix b = Matrix::Random(1, shape.n, 3);
        std::vector<char> bytes = Encoded(w, source);
        const LinearWeight packed =
            backend_->PackLinear({bytes.data(), source, {shape.n, shape.k}},
                                 shape.bias ? b.tensor().Reshape({shape.n}) : Tensor(), dtype);
        Matrix out(shape.m, shape.n, 5);
        backend_->MatMul(x.tensor(), packed, out.tensor());
        double worst = 0;
        for (std::int64_t i = 0; i < shape.m; ++i) {
          for (std::int64_t j = 0; j < shape.n; ++j) {
            double sum = shape.bias ? b.at(0, j) : 0.0;
            for (std::int64_t k = 0; k < shape.k; ++k) {
              const float xk = RoundsX(dtype) ? Rounded(x.at(i, k), DType::kBF16) : x.at(i, k);
              sum += double{xk} * double{Rounded(Rounded(w.at(j, k), source), dtype)};
            }
            worst = std::max(worst, std::isnan(out.at(i, j)) ? 1e9 : std::abs(sum - out.at(i, j)));
          }
        }
        EXPECT_LT(worst, 2e-6 * std::sqrt(static_cast<double>(shape.k)) * 4 + 1e-6);
      }
    }
  }
}

TEST_P(Operators, MatMulRowsDoNotDependOnTheBatch) {
  constexpr std::int64_t kRows = 300;
  constexpr std::int64_t kIn = 600;
  constexpr std::int64_t kOut = 150;
  Matrix x = Matrix::Random(kRows, kIn, 1);
  Matrix w = Matrix::Random(kOut, kIn, 2);
  Matrix b = Matrix::Random(1, kOut, 3);
  const std::unique_ptr<Backend> alone = cpu_test::Make(GetParam(), 1);
  for (const DType dtype : kFloatTypes) {
    const LinearWeight packed = backend_->PackLinear(w.tensor(), b.tensor().Reshape({kOut}), dtype);
    Matrix all(kRows, kOut);
    backend_->MatMul(x.tensor(), packed, all.tensor());
    for (const std::int64_t count : {1, 7, 64, 299}) {
      Matrix out(count, kOut);
      backend_->MatMul(x.tensor().Rows(kRows - count, count), packed, out.tensor());
      Matrix single(count, kOut);
      alone->MatMul(x.tensor().Rows(kRows - count, count), packed, single.tensor());
      for (std::int64_t i = 0; i < count; ++i) {
        ASSERT_TRUE(SameBits(out, i, all, kRows - count + i)) << Name(dtype) << " " << count;
        ASSERT_TRUE(SameBits(single, i, all, kRows - count + i)) << Name(dtype) << " " << count;
      }
    }
  }
}

TEST_P(Operators, MatMulOfManyRowsIsCutIntoPieces) {
  constexpr std::int64_t kRows = 2100;  // more than are packed at once
  Matrix x = Matrix::Random(kRows, 40, 1);
  Matrix w = Matrix::Random(24, 40, 2);
  const LinearWeight packed = backend_->PackLinear(w.tensor(), {}, DType::kF32);
  Matrix all(kRows, 24);
  backend_->MatMul(x.tensor(), packed, all.tensor());
  for (const std::int64_t row : {0, 1023, 1024, 2048, 2099}) {
    Matrix one(1, 24);
    backend_->MatMul(x.tensor().Rows(row, 1), packed, one.tensor());
    EXPECT_TRUE(SameBits(one, 0, all, row));
  }
}

TEST_P(Operators, Embed) {
  const Matrix table = Matrix::Random(11, 37, 1);
  std::vector<std::int32_t> ids{3, 13, 5, 2, 12, 14, -1};
  for (const DType dtype : kFloatTypes) {
    std::vector<char> bytes = Encoded(table, dtype);
    Buffer owner;
    const Tensor placed = backend_->PlaceTable({bytes.data(), dtype, {11, 37}}, owner);
    EXPECT_EQ(placed.raw(), bytes.data());
    Matrix out(7, 37, 2);
    backend_->Embed(placed, Ints(ids), 3, out.tensor());
    for (std::int64_t i = 0; i < 7; ++i) {
      const std::int64_t row = ids[static_cast<std::size_t>(i)] - 3;
      for (std::int64_t c = 0; c < 37; ++c) {
        const float want = row >= 0 && row < 11 ? Rounded(table.at(row, c), dtype) : 0.0F;
        ASSERT_EQ(out.at(i, c), want) << Name(dtype) << " " << i << " " << c;
      }
    }
  }
}

TEST_P(Operators, AMisalignedTableIsCopied) {
  const Matrix table = Matrix::Random(4, 9, 1);
  const std::vector<char> bytes = Encoded(table, DType::kBF16);
  std::vector<char> shifted(bytes.size() + 1);
  std::copy(bytes.begin(), bytes.end(), shifted.begin() + 1);
  Buffer owner;
  const Tensor placed = backend_->PlaceTable({shifted.data() + 1, DType::kBF16, {4, 9}}, owner);
  EXPECT_EQ(placed.raw(), owner.data());
  EXPECT_EQ(std::memcmp(placed.raw(), bytes.data(), bytes.size()), 0);
}

TEST_P(Operators, RowsMove) {
  Matrix x = Matrix::Random(9, 21, 1, 4);
  std::vector<std::int32_t> rows{8, 0, 8, 3};
  Matrix out(4, 21);
  backend_->GatherRows(x.tensor(), Ints(rows), out.tensor());
  for (std::int64_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(SameBits(out, i, x, rows[static_cast<std::size_t>(i)]));
  }

  std::vector<std::int32_t> last{70, 71, 72};
  std::vector<std::int32_t> slots{-1, 2, 0, -1};
  std::vector<std::int32_t> ids{1, 2, 3, 4};
  backend_->TakeLastTokens({Ints(last), {}}, Ints(slots), Ints(ids));
  EXPECT_EQ(ids, (std::vector<std::int32_t>{1, 72, 70, 4}));
}

TEST_P(Operators, Norms) {
  for (const std::int64_t width : {1, 8, 50, 64, 129, 896}) {
    for (const std::int64_t rows : {1, 5, 70}) {
      Matrix x = Matrix::Random(rows, width, 1, 6);
      Matrix residual = Matrix::Random(rows, width, 2);
      Matrix weight = Matrix::Random(1, width, 3);
      const Tensor w = weight.tensor().Reshape({width});
      Matrix out(rows, width, 1);
      backend_->RmsNorm(x.tensor(), w, 1e-5F, out.tensor());
      Matrix sum = residual;
      Matrix in_place = x;
      backend_->AddRmsNorm(in_place.tensor(), sum.tensor(), w, 1e-5F, in_place.tensor());
      Matrix added = residual;
      backend_->Add(added.tensor(), x.tensor());
      for (std::int64_t r = 0; r < rows; ++r) {
        EXPECT_TRUE(SameBits(sum, r, added, r));
        double squares = 0;
        double sum_squares = 0;
        for (std::int64_t c = 0; c < width; ++c) {
          squares += std::pow(double{x.at(r, c)}, 2);
          const double s = double{x.at(r, c)} + double{residual.at(r, c)};
          sum_squares += s * s;
          ASSERT_NEAR(added.at(r, c), s, 1e-6);
        }
        const double f = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-5);
        const double g = 1 / std::sqrt(sum_squares / static_cast<double>(width) + 1e-5);
        for (std::int64_t c = 0; c < width; ++c) {
          ASSERT_NEAR(out.at(r, c), x.at(r, c) * f * weight.at(0, c), 2e-5);
          ASSERT_NEAR(in_place.at(r, c), sum.at(r, c) * g * weight.at(0, c), 2e-5);
        }
        Matrix one(1, width);
        backend_->RmsNorm(x.tensor().Rows(r, 1), w, 1e-5F, one.tensor());
        ASSERT_TRUE(SameBits(one, 0, out, r));
      }
    }
  }
}

TEST_P(Operators, NormOfHeadsInPlace) {
  Matrix x = Matrix::Random(6, 4 * 24, 1, 24);
  const Matrix before = x;
  Matrix weight = Matrix::Random(1, 24, 2);
  backend_->RmsNorm(x.tensor(4), weight.tensor().Reshape({24}), 1e-6F, x.tensor(4));
  for (std::int64_t r = 0; r < 6; ++r) {
    for (std::int64_t h = 0; h < 4; ++h) {
      double squares = 0;
      for (std::int64_t c = 0; c < 24; ++c)
        squares += std::pow(double{before.at(r, h * 24 + c)}, 2);
      const double f = 1 / std::sqrt(squares / 24 + 1e-6);
      for (std::int64_t c = 0; c < 24; ++c) {
        ASSERT_NEAR(x.at(r, h * 24 + c), before.at(r, h * 24 + c) * f * weight.at(0, c), 1e-5);
      }
    }
  }
}

TEST_P(Operators, RopeRotatesHalves) {
  for (const std::int64_t head_dim : {8, 64, 80}) {
    for (const std::int64_t rotary : {head_dim, head_dim / 2}) {
      Matrix q = Matrix::Random(5, 3 * head_dim, 1, head_dim);
      Matrix k = Matrix::Random(5, head_dim, 2);
      const Matrix q0 = q;
      const Matrix k0 = k;
      Matrix table = Matrix::Random(20, rotary, 3);
      std::vector<std::int32_t> positions{0, 19, 4, 4, 7};
      backend_->Rope(q.tensor(3), k.tensor(1), Ints(positions), table.tensor());
      const auto check = [&](const Matrix& x, const Matrix& before, std::int64_t heads) {
        const std::int64_t half = rotary / 2;
        for (std::int64_t r = 0; r < 5; ++r) {
          const std::int64_t p = positions[static_cast<std::size_t>(r)];
          for (std::int64_t h = 0; h < heads; ++h) {
            for (std::int64_t c = 0; c < head_dim; ++c) {
              double want = before.at(r, h * head_dim + c);
              if (c < rotary) {
                const double cosine = table.at(p, c % half);
                const double sine = table.at(p, half + c % half);
                const std::int64_t other = c < half ? c + half : c - half;
                const double turned = before.at(r, h * head_dim + other);
                want = want * cosine + (c < half ? -turned : turned) * sine;
              }
              ASSERT_NEAR(x.at(r, h * head_dim + c), want, 1e-5);
            }
          }
        }
      };
      check(q, q0, 3);
      check(k, k0, 1);
    }
  }
}

TEST_P(Operators, SiluAndMul) {
  for (const std::int64_t width : {1, 15, 64, 200}) {
    Matrix x = Matrix::Random(9, 2 * width, 1, 2, 8.0F);
    x.at(0, 0) = 200.0F;
    x.at(1, 0) = -200.0F;
    x.at(2, 0) = std::numeric_limits<float>::quiet_NaN();
    Matrix out(9, width);
    backend_->SiluAndMul(x.tensor(), out.tensor());
    for (std::int64_t r = 0; r < 9; ++r) {
      for (std::int64_t c = 0; c < width; ++c) {
        const double gate = x.at(r, c);
        const double want = gate / (1 + std::exp(-gate)) * x.at(r, width + c);
        if (std::isnan(want)) {
          ASSERT_TRUE(std::isnan(out.at(r, c)));
        } else {
          ASSERT_NEAR(out.at(r, c), want, 1e-5 + 1e-6 * std::abs(want)) << gate;
        }
      }
    }
  }
}

TEST(CpuBackend, Options) {
  EXPECT_EQ(MakeCpuBackend({1, "mmx"}).error().kind, ErrorKind::kConfig);
  EXPECT_EQ(MakeCpuBackend({-1, ""}).error().kind, ErrorKind::kConfig);
  EXPECT_EQ(MakeCpuBackend({1000000, ""}).error().kind, ErrorKind::kConfig);
  EXPECT_EQ((*MakeCpuBackend({1, "portable"}))->Describe(), "CPU, portable kernels, 1 thread");
  const auto backend = MakeCpuBackend({});
  ASSERT_TRUE(backend.ok());
  EXPECT_NE((*backend)->Describe().find("thread"), std::string::npos);
}

TEST(CpuBackend, Memory) {
  const auto backend = cpu_test::Make("portable");
  const MemoryInfo memory = backend->Memory();
  EXPECT_GT(memory.available, std::size_t{1} << 20);
  EXPECT_LE(memory.available, memory.total);
  const Result<Buffer> buffer = backend->Allocate(std::size_t{5} << 20);
  ASSERT_TRUE(buffer.ok());
  EXPECT_GE(buffer->bytes(), std::size_t{5} << 20);
  const auto* bytes = static_cast<const char*>(buffer->data());
  EXPECT_TRUE(std::all_of(bytes, bytes + (5 << 20), [](char c) { return c == 0; }));
  EXPECT_EQ(backend->Allocate(memory.total * 2).error().kind, ErrorKind::kDevice);
  EXPECT_EQ(backend->Allocate(SIZE_MAX).error().kind, ErrorKind::kDevice);
  EXPECT_TRUE(backend->Allocate(0).ok());
}

}  // namespace
}  // namespace quire
