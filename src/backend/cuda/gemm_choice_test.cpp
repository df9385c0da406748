#include "backend/cuda/gemm.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace quire::cuda {
namespace {

void FreeDevice(void* data, std::size_t) { cudaFree(data); }

Buffer Allocate(std::size_t bytes) {
  void* data = nullptr;
  Check(cudaMalloc(&data, std::max<std::size_t>(bytes, 1)), "cudaMalloc");
  return Buffer(data, bytes, {DeviceKind::kCuda, 0}, FreeDevice);
}

std::vector<std::byte> Encode(const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * SizeOf(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(&bytes[4 * i], &values[i], 4);
    } else {
      const std::uint16_t bits =
          dtype == DType::kBF16 ? FloatToBF16(values[i]) : FloatToF16(values[i]);
      std::memcpy(&bytes[2 * i], &bits, 2);
    }
  }
  return bytes;
}

float Decode(const std::byte* bytes, std::size_t i, DType dtype) {
  if (dtype == DType::kF32) {
    float value = 0;
    std::memcpy(&value, bytes + 4 * i, 4);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, bytes + 2 * i, 2);
  return dtype == DType::kBF16 ? BF16ToFloat(bits) : F16ToFloat(bits);
}

float Rounded(float value, DType dtype) {
  const auto bytes = Encode({value}, dtype);
  return Decode(bytes.data(), 0, dtype);
}

// Random values that the dtype has.
std::vector<float> Random(std::size_t count, DType dtype, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  for (float& value : values) value = Rounded(uniform(generator), dtype);
  return values;
}

Buffer Upload(const std::vector<std::byte>& bytes) {
  Buffer buffer = Allocate(bytes.size());
  Check(cudaMemcpy(buffer.data(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice),
        "cudaMemcpy");
  Check(cudaDeviceSynchronize(), "cudaMemcpy");  // the copy may still be under way
  return buffer;
}

// A weight, and the same on the host.
struct Layer {
  LinearWeight weight;
  std::vector<float> matrix, bias;

  Layer(std::int64_t n, std::int64_t k, DType dtype, bool with_bias)
      : matrix(Random(static_cast<std::size_t>(n * k), dtype, static_cast<unsigned>(n + k))) {
    weight.dtype = dtype;
    weight.out_features = n;
    weight.in_features = k;
    weight.packed = Upload(Encode(matrix, dtype));
    if (!with_bias) return;
    bias = Random(static_cast<std::size_t>(n), dtype, static_cast<unsigned>(n));
    auto bytes = Encode(bias, dtype);
    bytes.resize(FloatBiasOffset(weight));
    const auto floats = Encode(bias, DType::kF32);
    bytes.insert(bytes.end(), floats.begin(), floats.end());
    weight.bias = Upload(bytes);
  }
  double Product(const float* x, std::int64_t column) const {
    const auto k = static_cast<std::size_t>(weight.in_features);
    const float* row = &matrix[static_cast<std::size_t>(column) * k];
    double sum = bias.empty() ? 0 : bias[static_cast<std::size_t>(column)];
    for (std::size_t i = 0; i < k; ++i) sum += double{x[i]} * double{row[i]};
    return sum;
  }
};

GemmOptions OptionsOf(bool hopper, bool batch_invariant = false) {
  GemmOptions options;
  options.hopper = hopper;
  options.batch_invariant = batch_invariant;
  return options;
}

class GemmChoiceTest : public testing::Test {
 protected:
  static constexpr std::int64_t kPadding = 24;  // elements between rows

  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no CUDA device";
    device_ = OpenDevice(0).value();
    Check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    folder_ =
        std::filesystem::temp_directory_path() / ("gemm_choice_test." + std::to_string(getpid()));
  }
  void TearDown() override {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
    std::filesystem::remove_all(folder_);
  }
  std::unique_ptr<CudaGemm> Make(const GemmOptions& options = {}) const {
    return CudaGemm::Make(device_, options).value();
  }

  // Rows of bytes of out, behind which nothing was written. x: [m, k] on the host.
  std::vector<std::byte> Run(CudaGemm& gemm, const Layer& layer, const std::vector<float>& x,
                             std::int64_t m, DType out_dtype, bool silu = false) {
    const DType dtype = layer.weight.dtype;
    const std::int64_t k = layer.weight.in_features;
    const std::int64_t n = silu ? layer.weight.out_features / 2 : layer.weight.out_features;
    std::vector<float> padded(static_cast<std::size_t>(m * (k + kPadding)),
                              std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t row = 0; row < m; ++row)
      std::copy_n(x.begin() + row * k, k, padded.begin() + row * (k + kPadding));
    const Buffer x_buffer = Upload(Encode(padded, dtype));
    const std::size_t row_bytes = static_cast<std::size_t>(n + kPadding) * SizeOf(out_dtype);
    const Buffer out_buffer =
        Upload(std::vector<std::byte>(static_cast<std::size_t>(m) * row_bytes, std::byte{0xFF}));
    const Tensor wide_x(x_buffer.data(), dtype, {m, k + kPadding}, x_buffer.device());
    const Tensor wide_out(out_buffer.data(), out_dtype, {m, n + kPadding}, out_buffer.device());
    if (silu) {
      EXPECT_TRUE(
          gemm.MultiplySilu(wide_x.Columns(0, k), layer.weight, wide_out.Columns(0, n), stream_));
    } else {
      gemm.Multiply(wide_x.Columns(0, k), layer.weight, wide_out.Columns(0, n), stream_);
    }
    Check(cudaGetLastError(), "a product");
    Check(cudaStreamSynchronize(stream_), "a product");
    std::vector<std::byte> all(static_cast<std::size_t>(m) * row_bytes);
    Check(cudaMemcpy(all.data(), out_buffer.data(), all.size(), cudaMemcpyDeviceToHost),
          "cudaMemcpy");
    std::vector<std::byte> rows;
    const std::size_t used = static_cast<std::size_t>(n) * SizeOf(out_dtype);
    for (std::size_t row = 0; row < static_cast<std::size_t>(m); ++row) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(row * row_bytes);
      const auto end = begin + static_cast<std::ptrdiff_t>(used);
      rows.insert(rows.end(), begin, end);
      EXPECT_TRUE(std::all_of(end, begin + static_cast<std::ptrdiff_t>(row_bytes),
                              [](std::byte b) { return b == std::byte{0xFF}; }));
    }
    return rows;
  }

  void Compare(CudaGemm& gemm, const Layer& layer, std::int64_t m, DType out_dtype) {
    const DType dtype = layer.weight.dtype;
    const std::int64_t k = layer.weight.in_features;
    const std::int64_t n = layer.weight.out_features;
    const std::vector<float> x = Random(static_cast<std::size_t>(m * k), dtype, 7);
    const std::vector<std::byte> out = Run(gemm, layer, x, m, out_dtype);
    double error = 0;
    double norm = 0;
    for (std::int64_t row = 0; row < m; row += std::max<std::int64_t>(1, m / 5)) {
      for (std::int64_t column = 0; column < n; ++column) {
        const double expected = layer.Product(&x[static_cast<std::size_t>(row * k)], column);
        const double actual =
            Decode(out.data(), static_cast<std::size_t>(row * n + column), out_dtype);
        error += (actual - expected) * (actual - expected);
        norm += expected * expected;
      }
    }
    const double limit = out_dtype == DType::kF32 ? 1e-5 : (out_dtype == DType::kF16 ? 4e-4 : 3e-3);
    EXPECT_LT(std::sqrt(error / norm), limit)
        << m << " x " << n << " x " << k << " " << Name(dtype) << " to " << Name(out_dtype)
        << " by " << gemm.KernelOf(layer.weight, out_dtype, m);
  }

  DeviceFacts device_;
  cudaStream_t stream_ = nullptr;
  std::filesystem::path folder_;
};

TEST_F(GemmChoiceTest, ProductsEqualTheReference) {
  for (const bool hopper : {true, false}) {
    const auto gemm = Make(OptionsOf(hopper));
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      const std::int64_t shapes[][2] = {{1000, 1032}, {264, 72}, {8, 8}, {1, 200}, {4616, 520}};
      for (const auto& [n, k] : shapes) {
        for (const bool bias : {false, true}) {
          const Layer layer(n, k, dtype, bias);
          for (const std::int64_t m : {1, 2, 3, 5, 8, 9, 16, 17, 64, 257, 300, 513, 1023}) {
            Compare(*gemm, layer, m, dtype);
            if (m < 20 || m == 257) Compare(*gemm, layer, m, DType::kF32);
          }
        }
      }
      if (dtype == DType::kF32) continue;
      const Layer odd(37, 36, dtype, true);  // rows begin at no multiple of 16 bytes
      for (const std::int64_t m : {1, 17, 300}) Compare(*gemm, odd, m, dtype);
    }
  }
}

TEST_F(GemmChoiceTest, SmallBatchesShareTheirBits) {
  for (const bool hopper : {true, false}) {
    const auto gemm = Make(OptionsOf(hopper));
    const Layer layer(5000, 2056, DType::kBF16, true);
    const std::vector<float> x = Random(std::size_t{16} * 2056, DType::kBF16, 3);
    const auto alone = Run(*gemm, layer, x, 1, DType::kF32);
    for (const std::int64_t m : {2, 3, 8, 9, 16}) {
      const auto among = Run(*gemm, layer, x, m, DType::kF32);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), among.begin())) << m;
    }
  }
}

TEST_F(GemmChoiceTest, BatchInvariantRowsKeepTheirBits) {
  for (const bool hopper : {true, false}) {
    const auto gemm = Make(OptionsOf(hopper, true));
    const std::int64_t shapes[][2] = {{3584, 3584}, {1000, 1032}, {1024, 8192}};
    for (const auto& [n, k] : shapes) {
      const Layer layer(n, k, DType::kBF16, true);
      const std::vector<float> x = Random(static_cast<std::size_t>(1100 * k), DType::kBF16, 3);
      const auto alone = Run(*gemm, layer, x, 1, DType::kF32);
      for (const std::int64_t m : {2, 8, 9, 16, 17, 64, 300, 304, 305, 512, 513, 1100}) {
        const auto among = Run(*gemm, layer, x, m, DType::kF32);
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), among.begin()))
            << m << " x " << n << " x " << k << " by "
            << gemm->KernelOf(layer.weight, DType::kF32, m);
      }
      Compare(*gemm, layer, 1100, DType::kBF16);
    }
  }
}

TEST_F(GemmChoiceTest, SiluEqualsItsParts) {
  const auto gemm = Make();
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const std::int64_t n = 1000;
    const std::int64_t k = 520;
    const Layer layer(2 * n, k, dtype, true);
    for (const std::int64_t m : {1, 7, 16, 33, 300}) {
      if (gemm->KernelOf(layer.weight, dtype, m).starts_with("cublaslt")) continue;
      const std::vector<float> x = Random(static_cast<std::size_t>(m * k), dtype, 5);
      const auto parts = Run(*gemm, layer, x, m, dtype);
      const auto fused = Run(*gemm, layer, x, m, dtype, true);
      double error = 0;
      double norm = 0;
      for (std::int64_t row = 0; row < m; ++row) {
        for (std::int64_t column = 0; column < n; ++column) {
          const auto at = static_cast<std::size_t>(row * 2 * n + column);
          const double gate = Decode(parts.data(), at, dtype);
          const double up = Decode(parts.data(), at + static_cast<std::size_t>(n), dtype);
          const double expected = gate / (1 + std::exp(-gate)) * up;
          const double actual =
              Decode(fused.data(), static_cast<std::size_t>(row * n + column), dtype);
          error += (actual - expected) * (actual - expected);
          norm += expected * expected;
        }
      }
      EXPECT_LT(std::sqrt(error / norm), 4e-3) << m << " " << Name(dtype);
    }
  }
}

TEST_F(GemmChoiceTest, KeepsWhatItTimed) {
  const Layer layer(4096, 1024, DType::kBF16, false);
  const GemmTuneItem item{&layer.weight, DType::kBF16, 600};
  GemmOptions options;
  options.cache_folder = folder_.string();
  std::vector<std::string> chosen;
  {
    const auto gemm = Make(options);
    EXPECT_GT(gemm->Tune({&item, 1}, std::chrono::milliseconds(0), stream_), 30);
    EXPECT_EQ(gemm->Tune({&item, 1}, std::chrono::minutes(1), stream_), 0);
    for (const std::int64_t m : {1, 16, 100, 600}) {
      chosen.push_back(gemm->KernelOf(layer.weight, DType::kBF16, m));
      Compare(*gemm, layer, m, DType::kBF16);
    }
  }
  {
    const auto gemm = Make(options);
    EXPECT_EQ(gemm->Tune({&item, 1}, std::chrono::milliseconds(0), stream_), 0);
    std::size_t i = 0;
    for (const std::int64_t m : {1, 16, 100, 600})
      EXPECT_EQ(gemm->KernelOf(layer.weight, DType::kBF16, m), chosen[i++]) << m;
  }
  for (const auto& file : std::filesystem::directory_iterator(folder_))
    std::ofstream(file.path()) << "{\"format\"";
  const auto gemm = Make(options);  // logs a line
  EXPECT_GT(gemm->Tune({&item, 1}, std::chrono::milliseconds(0), stream_), 30);
  Compare(*gemm, layer, 16, DType::kBF16);
}

}  // namespace
}  // namespace quire::cuda
