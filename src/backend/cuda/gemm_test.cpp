// Products against the CPU back end, whose sums are float32.
#include "backend/cuda/cuda_test_util.h"

namespace quire {
namespace {

using cuda_test::DeviceMatrix;
using cuda_test::Epsilon;
using cuda_test::ExpectNear;
using cuda_test::kFloatTypes;
using cuda_test::Matrix;
using cuda_test::RandomAs;
using cuda_test::Reference;
using cuda_test::SameBits;

constexpr DType kF32 = DType::kF32;
constexpr DType kBF16 = DType::kBF16;
constexpr DType kF16 = DType::kF16;

// Whether kernels for Hopper may be taken.
class CudaGemmTest : public testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<Backend> backend_ = cuda_test::MakeCuda(GetParam());

  // One weight on both back ends; outputs are of about unit size.
  struct Weight {
    std::int64_t n = 0, k = 0;
    LinearWeight cuda, cpu;
  };
  Weight MakeWeight(DType dtype, std::int64_t n, std::int64_t k, bool bias) {
    Matrix w = RandomAs(dtype, n, k, 2, 1.0F / std::sqrt(static_cast<float>(k)));
    Matrix b = RandomAs(dtype, 1, n, 3);
    const Tensor row = bias ? b.tensor().Reshape({n}) : Tensor();
    return {n, k, backend_->PackLinear(w.tensor(), row, dtype),
            Reference().PackLinear(w.tensor(), row, dtype)};
  }
  // Where rows are not aligned the library may round partial sums to the dtype of the output.
  static double Tolerance(const Weight& weight, DType out_dtype) {
    if (out_dtype == kF32) return 5e-5;
    const bool aligned = weight.n % 8 == 0 && weight.k % 8 == 0;
    return aligned ? Epsilon(out_dtype) : 4 * Epsilon(out_dtype);
  }
  void Check(const Weight& weight, DType dtype, std::int64_t m, DType out_dtype,
             std::int64_t gap = 0) {
    SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(weight.k) + " x " +
                 std::to_string(weight.n) + " " + Name(dtype) + " to " + Name(out_dtype) +
                 (weight.cuda.bias.data() != nullptr ? ", bias" : ""));
    Matrix x = RandomAs(dtype, m, weight.k, 1);
    Matrix want(m, weight.n);
    Reference().MatMul(x.tensor(), weight.cpu, want.tensor());
    const DeviceMatrix device_x(*backend_, x, dtype, gap);
    const DeviceMatrix out(*backend_, m, weight.n, out_dtype, gap);
    backend_->MatMul(device_x.tensor(), weight.cuda, out.tensor());
    ExpectNear(out.Get(), want, Tolerance(weight, out_dtype));
  }
};

INSTANTIATE_TEST_SUITE_P(Cuda, CudaGemmTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "hopper" : "portable"; });

TEST_P(CudaGemmTest, SmallShapes) {
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t k : {64, 100, 256}) {
      for (const std::int64_t n : {1, 24, 33, 257}) {
        const Weight weight = MakeWeight(dtype, n, k, n != 24);
        for (const std::int64_t m : {1, 2, 7, 16, 17}) {
          Check(weight, dtype, m, dtype);
          Check(weight, dtype, m, kF32);
        }
      }
    }
  }
}

TEST_P(CudaGemmTest, OddDepths) {
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t k : {1, 37, 301}) {
      const Weight weight = MakeWeight(dtype, 40, k, true);
      for (const std::int64_t m : {1, 5, 64}) Check(weight, dtype, m, dtype);
    }
  }
}

TEST_P(CudaGemmTest, ShapesOfModels) {
  struct Layer {
    std::int64_t n, k;
    bool bias;
  };
  const Layer layers[] = {{1152, 896, true},   {896, 4864, false}, {4608, 3584, true},
                          {3584, 3584, false}, {1003, 896, true},  {2001, 3584, false},
                          {500, 100, true}};
  for (const Layer& layer : layers) {
    for (const DType dtype : kFloatTypes) {
      const Weight weight = MakeWeight(dtype, layer.n, layer.k, layer.bias);
      for (const std::int64_t m : {1, 2, 7, 16, 17, 64, 257, 300, 512, 1023}) {
        Check(weight, dtype, m, dtype);
        if (dtype != kF32 && (m == 7 || m == 64 || m == 300)) Check(weight, dtype, m, kF32);
      }
    }
  }
}

// Logits: float32 out of bfloat16, more columns than anything else has.
TEST_P(CudaGemmTest, Vocabulary) {
  const Weight weight = MakeWeight(kBF16, 32003, 896, false);
  for (const std::int64_t m : {1, 2, 16, 17, 64, 257}) Check(weight, kBF16, m, kF32);
}

TEST_P(CudaGemmTest, RowsMayBeStrided) {
  for (const DType dtype : kFloatTypes) {
    const Weight weight = MakeWeight(dtype, 264, 256, true);
    for (const std::int64_t m : {1, 2, 17, 64, 300}) Check(weight, dtype, m, dtype, 8);
  }
}

TEST_P(CudaGemmTest, SlicesOfOtherTypesAreConverted) {
  constexpr std::int64_t kDepth = 128;
  for (const DType source : kFloatTypes) {
    for (const DType dtype : kFloatTypes) {
      SCOPED_TRACE(std::string(Name(source)) + " as " + Name(dtype));
      std::vector<std::vector<char>> stored;
      std::vector<WeightSlice> slices;  // strided: the right halves of the stored rows
      std::vector<WeightSlice> dense;
      std::vector<Matrix> biases;
      for (const std::int64_t n : {40, 17}) {
        const auto seed = static_cast<std::uint64_t>(n);
        const Matrix wide_rows = RandomAs(kF32, n, 2 * kDepth, seed, 0.1F);
        Matrix right(n, kDepth);
        for (std::int64_t r = 0; r < n; ++r) {
          for (std::int64_t c = 0; c < kDepth; ++c) right.at(r, c) = wide_rows.at(r, kDepth + c);
        }
        stored.push_back(cpu_test::Encoded(right, source));
        dense.push_back({Tensor(stored.back().data(), source, {n, kDepth}), {}});
        stored.push_back(cpu_test::Encoded(wide_rows, source));
        biases.push_back(RandomAs(kF32, 1, n, seed + 1));
        const Tensor wide(stored.back().data(), source, {n, 2 * kDepth});
        slices.push_back({wide.Columns(kDepth, kDepth), {}});
      }
      for (std::size_t i = 0; i < slices.size(); ++i)
        slices[i].bias = dense[i].bias = biases[i].tensor().Reshape({biases[i].columns()});
      const LinearWeight cuda = backend_->PackLinear(slices, dtype);
      const LinearWeight cpu = Reference().PackLinear(dense, dtype);
      Matrix x = RandomAs(dtype, 5, kDepth, 1);
      Matrix want(5, 57);
      Reference().MatMul(x.tensor(), cpu, want.tensor());
      const DeviceMatrix device_x(*backend_, x, dtype);
      const DeviceMatrix out(*backend_, 5, 57, dtype);
      backend_->MatMul(device_x.tensor(), cuda, out.tensor());
      // The bias may be rounded to the dtype too.
      ExpectNear(out.Get(), want, 2 * Epsilon(dtype));
    }
  }
}

TEST_P(CudaGemmTest, RowsOfFloat32DoNotDependOnTheBatch) {
  for (const std::int64_t k : {100, 896}) {
    const Weight weight = MakeWeight(kF32, 333, k, true);
    const DeviceMatrix x(*backend_, RandomAs(kF32, 1023, k, 1), kF32);
    const DeviceMatrix all(*backend_, 1023, 333, kF32);
    backend_->MatMul(x.tensor(), weight.cuda, all.tensor());
    const Matrix whole = all.Get();
    for (const std::int64_t m : {1, 2, 7, 16, 17, 64, 257, 512}) {
      const DeviceMatrix out(*backend_, m, 333, kF32);
      backend_->MatMul(x.tensor().Rows(1023 - m, m), weight.cuda, out.tensor());
      const Matrix part = out.Get();
      for (std::int64_t i = 0; i < m; ++i) {
        ASSERT_TRUE(SameBits(part, i, whole, 1023 - m + i)) << m << " rows, row " << i;
      }
    }
  }
}

TEST_P(CudaGemmTest, ReplayedProductsReadNewRows) {
  for (const DType dtype : kFloatTypes) {
    const Weight weight = MakeWeight(dtype, 1152, 896, true);
    for (const std::int64_t m : {1, 4, 24, 256}) {
      SCOPED_TRACE(std::to_string(m) + " rows of " + Name(dtype));
      DeviceMatrix x(*backend_, m, 896, dtype);
      DeviceMatrix out(*backend_, m, 1152, dtype);
      const auto key = static_cast<std::uint64_t>(m) * 8 + static_cast<std::uint64_t>(dtype);
      for (std::uint64_t turn = 0; turn < 4; ++turn) {
        Matrix rows = RandomAs(dtype, m, 896, 10 + turn);
        x.Set(rows);
        backend_->Replay(key, [&] { backend_->MatMul(x.tensor(), weight.cuda, out.tensor()); });
        Matrix want(m, 1152);
        Reference().MatMul(rows.tensor(), weight.cpu, want.tensor());
        ExpectNear(out.Get(), want, Tolerance(weight, dtype));
        out.Set(Matrix(m, 1152));
      }
    }
  }
}

TEST_P(CudaGemmTest, NoRows) {
  const Weight weight = MakeWeight(kF16, 64, 64, false);
  const DeviceMatrix x(*backend_, 1, 64, kF16);
  const DeviceMatrix out(*backend_, 1, 64, kF16);
  backend_->MatMul(x.tensor().Rows(0, 0), weight.cuda, out.tensor().Rows(0, 0));
  backend_->Synchronize();
  EXPECT_TRUE(std::isnan(out.Get().at(0, 0)));
}

}  // namespace
}  // namespace quire
