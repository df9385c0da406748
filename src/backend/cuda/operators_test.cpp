// Every operator but products, attention and sampling against plain double-precision arithmetic;
// and the main function of this test program.
#include <cstdio>

#include "backend/cuda/cuda_test_util.h"

namespace quire {
namespace {

using cuda_test::Allocated;
using cuda_test::DeviceInts;
using cuda_test::DeviceMatrix;
using cuda_test::Epsilon;
using cuda_test::ExpectNear;
using cuda_test::ExpectSame;
using cuda_test::kFloatTypes;
using cuda_test::Matrix;
using cuda_test::RandomAs;
using cuda_test::Rounded;
using cuda_test::SameBits;

class CudaOperators : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = cuda_test::MakeCuda();
};

std::string Traced(DType dtype, std::int64_t rows, std::int64_t width) {
  return std::string(Name(dtype)) + " " + std::to_string(rows) + " x " + std::to_string(width);
}

// x / sqrt(mean(x²) + eps) · weight of each stretch of weight's width.
Matrix Normalized(const Matrix& x, const Matrix& weight, double eps) {
  Matrix out(x.rows(), x.columns());
  const std::int64_t width = weight.columns();
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    for (std::int64_t first = 0; first < x.columns(); first += width) {
      double squares = 0;
      for (std::int64_t c = 0; c < width; ++c) squares += std::pow(double{x.at(r, first + c)}, 2);
      const double f = 1 / std::sqrt(squares / static_cast<double>(width) + eps);
      for (std::int64_t c = 0; c < width; ++c) {
        out.at(r, first + c) = static_cast<float>(x.at(r, first + c) * f * weight.at(0, c));
      }
    }
  }
  return out;
}

// Heads of head_dim, turned by the angles of their row's position.
Matrix Rotated(const Matrix& x, std::int64_t head_dim, const Matrix& table,
               const std::vector<std::int32_t>& positions) {
  Matrix out = x;
  const std::int64_t half = table.columns() / 2;
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    const std::int64_t p = positions[static_cast<std::size_t>(r)];
    for (std::int64_t first = 0; first < x.columns(); first += head_dim) {
      for (std::int64_t c = 0; c < half; ++c) {
        const double cosine = table.at(p, c);
        const double sine = table.at(p, half + c);
        const double a = x.at(r, first + c);
        const double b = x.at(r, first + half + c);
        out.at(r, first + c) = static_cast<float>(a * cosine - b * sine);
        out.at(r, first + half + c) = static_cast<float>(b * cosine + a * sine);
      }
    }
  }
  return out;
}

TEST_F(CudaOperators, Embed) {
  for (const std::int64_t width : {37, 100, 896, 3584}) {
    const Matrix table = RandomAs(DType::kF32, 11, width, 1);
    for (const DType dtype : kFloatTypes) {
      std::vector<char> bytes = cpu_test::Encoded(table, dtype);
      Buffer owner;
      const Tensor placed = backend_->PlaceTable({bytes.data(), dtype, {11, width}}, owner);
      for (const std::size_t count : {1, 17, 257}) {
        SCOPED_TRACE(Traced(dtype, static_cast<std::int64_t>(count), width));
        std::vector<std::int32_t> ids(count);
        for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<std::int32_t>(i * 5 % 17) - 1;
        const DeviceInts device_ids(*backend_, ids);
        const auto rows = static_cast<std::int64_t>(count);
        const DeviceMatrix out(*backend_, rows, width, dtype, 8);
        backend_->Embed(placed, device_ids.tensor(), 3, out.tensor());
        Matrix want(rows, width);
        for (std::int64_t i = 0; i < rows; ++i) {
          const std::int64_t row = ids[static_cast<std::size_t>(i)] - 3;
          for (std::int64_t c = 0; c < width; ++c)
            want.at(i, c) = row >= 0 && row < 11 ? Rounded(table.at(row, c), dtype) : 0.0F;
        }
        ExpectSame(out.Get(), want);
      }
    }
  }
}

TEST_F(CudaOperators, RowsMove) {
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t width : {21, 100, 3584}) {
      SCOPED_TRACE(Traced(dtype, 9, width));
      const Matrix x = RandomAs(dtype, 9, width, 1);
      const DeviceMatrix device_x(*backend_, x, dtype, 4);
      const std::vector<std::int32_t> rows{8, 0, 8, 3};
      const DeviceInts device_rows(*backend_, rows);
      const DeviceMatrix out(*backend_, 4, width, dtype);
      backend_->GatherRows(device_x.tensor(), device_rows.tensor(), out.tensor());
      const Matrix got = out.Get();
      for (std::int64_t i = 0; i < 4; ++i)
        EXPECT_TRUE(SameBits(got, i, x, rows[static_cast<std::size_t>(i)]));
    }
  }
}

TEST_F(CudaOperators, LastTokensAreTaken) {
  const DeviceInts last(*backend_, std::vector<std::int32_t>{70, 71, 72});
  const DeviceInts slots(*backend_, std::vector<std::int32_t>{-1, 2, 0, -1});
  const DeviceInts ids(*backend_, std::vector<std::int32_t>{1, 2, 3, 4});
  backend_->TakeLastTokens({last.tensor(), {}}, slots.tensor(), ids.tensor());
  EXPECT_EQ(ids.Get(), (std::vector<std::int32_t>{1, 72, 70, 4}));
}

TEST_F(CudaOperators, Add) {
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t width : {1, 37, 100, 896, 3584}) {
      for (const std::int64_t rows : {1, 17, 257, 1023}) {
        SCOPED_TRACE(Traced(dtype, rows, width));
        const Matrix x = RandomAs(dtype, rows, width, 1);
        const Matrix y = RandomAs(dtype, rows, width, 2);
        const DeviceMatrix sum(*backend_, x, dtype, rows == 17 ? 8 : 0);
        const DeviceMatrix device_y(*backend_, y, dtype);
        backend_->Add(sum.tensor(), device_y.tensor());
        Matrix want(rows, width);
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t c = 0; c < width; ++c)
            want.at(r, c) = Rounded(x.at(r, c) + y.at(r, c), dtype);
        }
        ExpectSame(sum.Get(), want);
      }
    }
  }
}

TEST_F(CudaOperators, Norms) {
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t width : {1, 50, 100, 129, 896, 3584, 8192}) {
      for (const std::int64_t rows : {1, 17, 257, 1023}) {
        if (rows > 257 && width > 3584) continue;
        SCOPED_TRACE(Traced(dtype, rows, width));
        const Matrix x = RandomAs(dtype, rows, width, 1, 2.0F);
        const Matrix residual = RandomAs(dtype, rows, width, 2);
        const Matrix weight = RandomAs(DType::kF32, 1, width, 3);
        const DeviceMatrix w(*backend_, weight, DType::kF32);
        const DeviceMatrix device_x(*backend_, x, dtype, rows == 17 ? 8 : 0);
        const DeviceMatrix out(*backend_, rows, width, dtype);
        backend_->RmsNorm(device_x.tensor(), w.vector(), 1e-5F, out.tensor());
        const Matrix got = out.Get();
        ExpectNear(got, Normalized(x, weight, 1e-5), 2 * Epsilon(dtype), 0.01);

        const DeviceMatrix sum(*backend_, residual, dtype);
        backend_->AddRmsNorm(device_x.tensor(), sum.tensor(), w.vector(), 1e-5F, device_x.tensor());
        Matrix want(rows, width);
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t c = 0; c < width; ++c)
            want.at(r, c) = Rounded(x.at(r, c) + residual.at(r, c), dtype);
        }
        ExpectSame(sum.Get(), want);
        ExpectNear(device_x.Get(), Normalized(want, weight, 1e-5), 2 * Epsilon(dtype), 0.01);
        for (const std::int64_t row : {std::int64_t{0}, rows / 2, rows - 1}) {
          if (dtype != DType::kF32) break;
          const DeviceMatrix source(*backend_, x, dtype);
          const DeviceMatrix one(*backend_, 1, width, dtype);
          backend_->RmsNorm(source.tensor().Rows(row, 1), w.vector(), 1e-5F, one.tensor());
          ASSERT_TRUE(SameBits(one.Get(), 0, got, row)) << row;
        }
      }
    }
  }
}

TEST_F(CudaOperators, NormOfHeadsInPlace) {
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t head_dim : {24, 64, 80, 128, 256}) {
      for (const std::int64_t heads : {1, 3, 28}) {
        SCOPED_TRACE(Traced(dtype, heads, head_dim));
        const Matrix x = RandomAs(dtype, 17, heads * head_dim, 1, 2.0F);
        const Matrix weight = RandomAs(DType::kF32, 1, head_dim, 2);
        const DeviceMatrix w(*backend_, weight, DType::kF32);
        const DeviceMatrix out(*backend_, x, dtype, head_dim);
        backend_->RmsNorm(out.tensor(heads), w.vector(), 1e-6F, out.tensor(heads));
        ExpectNear(out.Get(), Normalized(x, weight, 1e-6), Epsilon(dtype), 0.01);
      }
    }
  }
}

TEST_F(CudaOperators, SiluAndMul) {
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t width : {1, 15, 100, 896, 4864}) {
      for (const std::int64_t rows : {3, 17, 257}) {
        SCOPED_TRACE(Traced(dtype, rows, width));
        Matrix x = RandomAs(dtype, rows, 2 * width, 1, 4.0F);
        x.at(0, 0) = 200.0F;
        x.at(1, 0) = -200.0F;
        x.at(2, 0) = cuda_test::kNaN;
        const DeviceMatrix gate_up(*backend_, x, dtype, rows == 17 ? 2 : 0);
        const DeviceMatrix out(*backend_, rows, width, dtype, rows == 17 ? 8 : 0);
        backend_->SiluAndMul(gate_up.tensor(), out.tensor());
        Matrix want(rows, width);
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t c = 0; c < width; ++c) {
            const double gate = x.at(r, c);
            want.at(r, c) = static_cast<float>(gate / (1 + std::exp(-gate)) * x.at(r, width + c));
          }
        }
        ExpectNear(out.Get(), want, Epsilon(dtype), 0.01);
      }
    }
  }
}

// The qkv rows of some tokens, the tables that turn them, and a cache to store them in.
class Qkv {
 public:
  Qkv(Backend& backend, DType dtype, std::int64_t tokens, std::int64_t heads, std::int64_t kv_heads,
      std::int64_t head_dim, std::int64_t rotary)
      : heads_(heads), kv_heads_(kv_heads), head_dim_(head_dim), dtype_(dtype) {
    q = RandomAs(dtype, tokens, heads * head_dim, 1);
    k = RandomAs(dtype, tokens, kv_heads * head_dim, 2);
    v = RandomAs(dtype, tokens, kv_heads * head_dim, 3);
    table = RandomAs(DType::kF32, 50, rotary, 4);
    Matrix all(tokens, (heads + 2 * kv_heads) * head_dim);
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t c = 0; c < q.columns(); ++c) all.at(t, c) = q.at(t, c);
      for (std::int64_t c = 0; c < k.columns(); ++c) {
        all.at(t, q.columns() + c) = k.at(t, c);
        all.at(t, q.columns() + k.columns() + c) = v.at(t, c);
      }
      positions.push_back(static_cast<std::int32_t>(t * 29 % 50));
      // Scattered, and nothing is stored for every seventh.
      const std::int64_t blocks = num_blocks(tokens);
      slots.push_back(t % 7 == 3 ? -1
                                 : static_cast<std::int32_t>(t % blocks * kBlock + t / blocks));
    }
    rows = std::make_unique<DeviceMatrix>(backend, all, dtype);
    device_table = std::make_unique<DeviceMatrix>(backend, table, DType::kF32);
    device_positions = std::make_unique<DeviceInts>(backend, positions);
    device_slots = std::make_unique<DeviceInts>(backend, slots);
    cache.spec = {static_cast<int>(kv_heads), static_cast<int>(head_dim), 0, dtype,
                  static_cast<int>(heads)};
    cache.block_size = kBlock;
    cache.num_blocks = num_blocks(tokens);
    memory = std::make_unique<DeviceMatrix>(backend, cache.num_blocks,
                                            2 * kv_heads * head_dim * kBlock, dtype);
    cache.data = memory->tensor().raw();
  }

  Tensor q_rows() const {
    return rows->tensor().Columns(0, q.columns()).SplitColumns(heads_, head_dim_);
  }
  Tensor k_rows() const { return kv_rows(0); }
  Tensor v_rows() const { return kv_rows(1); }

  // What of the qkv rows is q and k.
  void CheckRotated(const Matrix& want_q, const Matrix& want_k, double epsilon) const {
    const Matrix got = rows->Get();
    Matrix got_q(q.rows(), q.columns());
    Matrix got_k(k.rows(), k.columns());
    for (std::int64_t t = 0; t < q.rows(); ++t) {
      for (std::int64_t c = 0; c < q.columns(); ++c) got_q.at(t, c) = got.at(t, c);
      for (std::int64_t c = 0; c < k.columns(); ++c) got_k.at(t, c) = got.at(t, q.columns() + c);
    }
    ExpectNear(got_q, want_q, epsilon);
    ExpectNear(got_k, want_k, epsilon);
  }

  // The cache holds these keys, the values as they are, and NaN where no slot is.
  // Its blocks are [2 (k, then v)][kv head][offset][head_dim].
  void CheckStored(const Matrix& keys, double epsilon) const {
    Matrix want(cache.num_blocks, 2 * kv_heads_ * head_dim_ * kBlock);
    for (std::int64_t t = 0; t < k.rows(); ++t) {
      const std::int64_t slot = slots[static_cast<std::size_t>(t)];
      if (slot < 0) continue;
      for (std::int64_t c = 0; c < k.columns(); ++c) {
        const std::int64_t at =
            (c / head_dim_ * kBlock + slot % kBlock) * head_dim_ + c % head_dim_;
        want.at(slot / kBlock, at) = keys.at(t, c);
        want.at(slot / kBlock, kv_heads_ * head_dim_ * kBlock + at) = v.at(t, c);
      }
    }
    ExpectNear(memory->Get(), want, epsilon);
  }

  Matrix q{0, 0}, k{0, 0}, v{0, 0}, table{0, 0};
  std::vector<std::int32_t> positions, slots;
  std::unique_ptr<DeviceMatrix> rows, device_table, memory;
  std::unique_ptr<DeviceInts> device_positions, device_slots;
  KvLayer cache;

 private:
  static constexpr int kBlock = 16;
  static std::int64_t num_blocks(std::int64_t tokens) { return (tokens + kBlock - 1) / kBlock + 2; }
  Tensor kv_rows(std::int64_t which) const {
    return rows->tensor()
        .Columns(q.columns() + which * k.columns(), k.columns())
        .SplitColumns(kv_heads_, head_dim_);
  }

  std::int64_t heads_, kv_heads_, head_dim_;
  DType dtype_;
};

struct HeadShape {
  std::int64_t tokens, heads, kv_heads, head_dim, rotary;
};
constexpr HeadShape kHeadShapes[] = {
    {5, 28, 4, 128, 128}, {17, 14, 2, 64, 64}, {3, 1, 1, 256, 128},    {9, 7, 1, 80, 32},
    {3, 2, 2, 6, 4},      {257, 8, 8, 80, 80}, {1023, 28, 4, 128, 128}};

template <class Body>
void ForHeadShapes(Backend& backend, const Body& body) {
  for (const HeadShape& s : kHeadShapes) {
    for (const DType dtype : kFloatTypes) {
      SCOPED_TRACE(Traced(dtype, s.tokens, s.head_dim) + ", " + std::to_string(s.heads) + " / " +
                   std::to_string(s.kv_heads) + " heads");
      Qkv qkv(backend, dtype, s.tokens, s.heads, s.kv_heads, s.head_dim, s.rotary);
      body(qkv, s, 2 * Epsilon(dtype));
    }
  }
}

TEST_F(CudaOperators, RopeRotatesHalves) {
  ForHeadShapes(*backend_, [&](Qkv& x, const HeadShape& s, double epsilon) {
    backend_->Rope(x.q_rows(), x.k_rows(), x.device_positions->tensor(), x.device_table->tensor());
    x.CheckRotated(Rotated(x.q, s.head_dim, x.table, x.positions),
                   Rotated(x.k, s.head_dim, x.table, x.positions), epsilon);
  });
}

TEST_F(CudaOperators, KeysAndValuesAreStored) {
  ForHeadShapes(*backend_, [&](Qkv& x, const HeadShape&, double) {
    backend_->StoreKv(x.k_rows(), x.v_rows(), x.device_slots->tensor(), x.cache);
    x.CheckStored(x.k, 0.0);
  });
}

TEST_F(CudaOperators, RotateAndStoreKvDoesAllAtOnce) {
  for (const bool norms : {false, true}) {
    ForHeadShapes(*backend_, [&](Qkv& x, const HeadShape& s, double epsilon) {
      Matrix want_q = x.q;
      Matrix want_k = x.k;
      const Matrix q_norm = RandomAs(DType::kF32, 1, s.head_dim, 5);
      const Matrix k_norm = RandomAs(DType::kF32, 1, s.head_dim, 6);
      const DeviceMatrix device_q_norm(*backend_, q_norm, DType::kF32);
      const DeviceMatrix device_k_norm(*backend_, k_norm, DType::kF32);
      QkTransform how;
      how.cos_sin = x.device_table->tensor();
      if (norms) {
        want_q = Normalized(x.q, q_norm, 1e-6);
        want_k = Normalized(x.k, k_norm, 1e-6);
        how.q_norm = device_q_norm.vector();
        how.k_norm = device_k_norm.vector();
        how.norm_eps = 1e-6F;
      }
      want_q = Rotated(want_q, s.head_dim, x.table, x.positions);
      want_k = Rotated(want_k, s.head_dim, x.table, x.positions);
      AttentionBatch batch;
      batch.positions = x.device_positions->tensor();
      batch.kv_slots = x.device_slots->tensor();
      backend_->RotateAndStoreKv(x.q_rows(), x.k_rows(), x.v_rows(), how, batch, x.cache);
      // The reference does not round between the norm and the rotation; a back end may.
      x.CheckRotated(want_q, want_k, 2 * epsilon);
      x.CheckStored(want_k, 2 * epsilon);
    });
  }
}

TEST_F(CudaOperators, BlocksAreCopied) {
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t head_dim : {6, 80, 128}) {
      Qkv x(*backend_, dtype, 80, 4, 2, head_dim, 2);
      backend_->StoreKv(x.k_rows(), x.v_rows(), x.device_slots->tensor(), x.cache);
      const Matrix before = x.memory->Get();
      backend_->CopyKvBlock(x.cache, BlockId{3}, BlockId{1});
      const Matrix after = x.memory->Get();
      for (std::int64_t b = 0; b < before.rows(); ++b) {
        for (std::int64_t c = 0; c < before.columns(); ++c) {
          const float want = before.at(b == 1 ? 3 : b, c);
          ASSERT_TRUE(after.at(b, c) == want || (std::isnan(want) && std::isnan(after.at(b, c))));
        }
      }
    }
  }
}

TEST_F(CudaOperators, Memory) {
  EXPECT_EQ(backend_->device().kind, DeviceKind::kCuda);
  EXPECT_NE(backend_->Describe().find("CUDA"), std::string::npos);
  const MemoryInfo memory = backend_->Memory();
  EXPECT_LE(memory.available, memory.total);
  std::vector<std::uint8_t> bytes((std::size_t{5} << 20) + 3);
  const auto size = static_cast<std::int64_t>(bytes.size());
  for (int turn = 0; turn < 2; ++turn) {  // memory that was used before is zeroed again
    const Buffer buffer = Allocated(*backend_, bytes.size());
    std::fill(bytes.begin(), bytes.end(), std::uint8_t{1});
    const Tensor view(buffer.data(), DType::kU8, {size}, backend_->device());
    backend_->CopyToHost(view, bytes.data());
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::uint8_t{0}), size);
    cuda_test::Poison(*backend_, buffer);
    backend_->Synchronize();
  }
  EXPECT_EQ(backend_->Allocate(memory.total * 2).error().kind, ErrorKind::kDevice);
  EXPECT_TRUE(backend_->Allocate(0).ok());
}

// More than the staging memory holds, from memory that changes as soon as the call returns.
TEST_F(CudaOperators, HostMemoryIsReadBeforeCopiesReturn) {
  std::vector<std::int32_t> host((std::size_t{150} << 20) / sizeof(std::int32_t) + 1);
  for (std::size_t i = 0; i < host.size(); ++i) host[i] = static_cast<std::int32_t>(i * 7);
  DeviceInts device(*backend_, host.size());
  device.Set(host);
  std::fill(host.begin(), host.end(), 0);
  const std::vector<std::int32_t> got = device.Get();
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < got.size(); ++i)
    wrong += got[i] == static_cast<std::int32_t>(i * 7) ? 0U : 1U;
  EXPECT_EQ(wrong, 0U);
}

TEST_F(CudaOperators, MarksPass) {
  const DeviceMatrix x(*backend_, RandomAs(DType::kF32, 1023, 896, 1), DType::kF32);
  const std::uint64_t before = backend_->Mark();
  for (int i = 0; i < 10; ++i) backend_->Add(x.tensor(), x.tensor());
  const std::uint64_t after = backend_->Mark();
  backend_->WaitFor(after);
  EXPECT_GT(backend_->MicrosecondsBetween(before, after), 0.0F);
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!quire::HasCudaDevice()) {
    std::puts("skipped: no CUDA device");
    return 0;
  }
  return RUN_ALL_TESTS();
}
