// Operators that treat elements or whole rows alike; see elementwise.h. A thread moves one vector
// of N elements: 16 bytes where rows are aligned, else one element.
#include "backend/cuda/kernels/elementwise.h"

#include <algorithm>

#include "backend/cuda/kernels/launch.cuh"

namespace quire::cuda {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kMaxGridY = 65535;

// Calls body(row, column) for all rows and every N-th column. Body: a functor of device code.
template <int N, class Body>
__global__ void __launch_bounds__(kThreads)
    ForVectors(Body body, std::int64_t rows, std::int64_t width) {
  WaitForPrevious();
  LetNextStart();
  const std::int64_t column = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (column >= width) return;
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y) body(row, column);
}

template <int N, class Body>
void LaunchVectors(const Body& body, std::int64_t rows, std::int64_t width, cudaStream_t stream) {
  if (rows <= 0 || width <= 0) return;
  const auto x = static_cast<unsigned>(CeilDiv<std::int64_t>(width, N * kThreads));
  const auto y = static_cast<unsigned>(std::min(rows, kMaxGridY));
  Launch(ForVectors<N, Body>, dim3(x, y), kThreads, 0, stream, body, rows, width);
}

template <class T, int N>
__device__ __forceinline__ Vector<float, N> Floats(const Vector<T, N>& from) {
  Vector<float, N> out;
#pragma unroll
  for (int i = 0; i < N; ++i) out.at[i] = ToFloat(from.at[i]);
  return out;
}

template <class T, int N>
__device__ __forceinline__ Vector<T, N> Rounded(const Vector<float, N>& from) {
  Vector<T, N> out;
#pragma unroll
  for (int i = 0; i < N; ++i) out.at[i] = FromFloat<T>(from.at[i]);
  return out;
}

template <class From, class To, int N>
struct EmbedBody {
  const From* table;
  std::int64_t table_stride, table_rows;
  const std::int32_t* ids;
  std::int64_t first_row;
  To* out;
  std::int64_t out_stride;
  __device__ void operator()(std::int64_t token, std::int64_t column) const {
    const std::int64_t row = ids[token] - first_row;
    Vector<float, N> values{};
    if (row >= 0 && row < table_rows) {
      values = Floats(LoadVector<N>(table + row * table_stride + column));
    }
    StoreVector(out + token * out_stride + column, Rounded<To>(values));
  }
};

// Moves N elements of some size.
template <class T, int N>
struct GatherBody {
  const T* x;
  std::int64_t x_stride;
  const std::int32_t* rows;
  T* out;
  std::int64_t out_stride;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const T* from = x + std::int64_t{rows[row]} * x_stride + column;
    StoreVector(out + row * out_stride + column, LoadVector<N>(from));
  }
};

// Copies elements of any type.
template <class T>
struct CopyBody {
  const T* from;
  T* to;
  __device__ void operator()(std::int64_t, std::int64_t column) const { to[column] = from[column]; }
};

template <class From, class To, int N>
struct ConvertBody {
  const From* x;
  std::int64_t x_stride;
  To* out;
  std::int64_t out_stride;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const Vector<From, N> from = LoadVector<N>(x + row * x_stride + column);
    StoreVector(out + row * out_stride + column, Rounded<To>(Floats(from)));
  }
};

// x += y, where y is of another type or the same for all rows.
template <class T, class Y, int N>
struct AddBody {
  T* x;
  std::int64_t x_stride;
  const Y* y;
  std::int64_t y_stride;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    Vector<float, N> sum = Floats(LoadVector<N>(x + row * x_stride + column));
    const Vector<float, N> more = Floats(LoadVector<N>(y + row * y_stride + column));
#pragma unroll
    for (int i = 0; i < N; ++i) sum.at[i] += more.at[i];
    StoreVector(x + row * x_stride + column, Rounded<T>(sum));
  }
};

template <class T>
__device__ __forceinline__ float Silu(float x) {
  if constexpr (sizeof(T) == 4) {
    return x / (1.0F + expf(-x));
  } else {
    return __fdividef(x, 1.0F + __expf(-x));
  }
}

template <class T, int N>
struct SiluBody {
  const T* gate_up;
  std::int64_t stride;
  T* out;
  std::int64_t out_stride, width;
  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const T* from = gate_up + row * stride + column;
    Vector<float, N> gate = Floats(LoadVector<N>(from));
    const Vector<float, N> up = Floats(LoadVector<N>(from + width));
#pragma unroll
    for (int i = 0; i < N; ++i) gate.at[i] = Silu<T>(gate.at[i]) * up.at[i];
    StoreVector(out + row * out_stride + column, Rounded<T>(gate));
  }
};

__global__ void TakeLastTokensKernel(const std::int32_t* last_token, const std::int32_t* slots,
                                     std::int64_t tokens, std::int32_t* ids) {
  WaitForPrevious();
  LetNextStart();
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < tokens && slots[i] >= 0) ids[i] = last_token[slots[i]];
}

template <class T>
void CopyBlockAs(void* data, std::int64_t block_bytes, std::int32_t from, std::int32_t to,
                 cudaStream_t stream) {
  const std::int64_t size = block_bytes / static_cast<std::int64_t>(sizeof(T));
  T* blocks = static_cast<T*>(data);
  LaunchVectors<1>(CopyBody<T>{blocks + from * size, blocks + to * size}, 1, size, stream);
}

}  // namespace

void Embed(DType table_dtype, const void* table, std::int64_t table_stride, std::int64_t table_rows,
           const std::int32_t* ids, std::int64_t first_row, std::int64_t tokens, std::int64_t width,
           DType out_dtype, void* out, std::int64_t out_stride, cudaStream_t stream) {
  WithFloatType(table_dtype, [&](auto from_tag) {
    WithFloatType(out_dtype, [&](auto to_tag) {
      using From = typename decltype(from_tag)::Type;
      using To = typename decltype(to_tag)::Type;
      constexpr int kN = std::min(kVectorSize<From>, kVectorSize<To>);
      const auto* rows = static_cast<const From*>(table);
      auto* to = static_cast<To*>(out);
      if (width % kN == 0 && FitsVectors(rows, table_stride, kN) &&
          FitsVectors(to, out_stride, kN)) {
        LaunchVectors<kN>(
            EmbedBody<From, To, kN>{rows, table_stride, table_rows, ids, first_row, to, out_stride},
            tokens, width, stream);
      } else {
        LaunchVectors<1>(
            EmbedBody<From, To, 1>{rows, table_stride, table_rows, ids, first_row, to, out_stride},
            tokens, width, stream);
      }
    });
  });
}

void TakeLastTokens(const std::int32_t* last_token, const std::int32_t* slots, std::int64_t tokens,
                    std::int32_t* ids, cudaStream_t stream) {
  if (tokens <= 0) return;
  const auto blocks = static_cast<unsigned>(CeilDiv<std::int64_t>(tokens, kThreads));
  Launch(TakeLastTokensKernel, blocks, kThreads, 0, stream, last_token, slots, tokens, ids);
}

void GatherRows(DType dtype, const void* x, std::int64_t x_stride, const std::int32_t* rows,
                std::int64_t count, std::int64_t width, void* out, std::int64_t out_stride,
                cudaStream_t stream) {
  const auto move = [&](auto size_tag) {
    using T = typename decltype(size_tag)::Type;
    constexpr int kN = kVectorSize<T>;
    const auto* from = static_cast<const T*>(x);
    auto* to = static_cast<T*>(out);
    if (width % kN == 0 && FitsVectors(from, x_stride, kN) && FitsVectors(to, out_stride, kN)) {
      LaunchVectors<kN>(GatherBody<T, kN>{from, x_stride, rows, to, out_stride}, count, width,
                        stream);
    } else {
      LaunchVectors<1>(GatherBody<T, 1>{from, x_stride, rows, to, out_stride}, count, width,
                       stream);
    }
  };
  switch (SizeOf(dtype)) {
    case 1:
      return move(TypeTag<std::uint8_t>{});
    case 2:
      return move(TypeTag<std::uint16_t>{});
    case 4:
      return move(TypeTag<std::uint32_t>{});
    default:
      return move(TypeTag<std::uint64_t>{});
  }
}

void Add(DType dtype, void* x, std::int64_t x_stride, const void* y, std::int64_t y_stride,
         std::int64_t rows, std::int64_t width, cudaStream_t stream) {
  WithFloatType(dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int kN = kVectorSize<T>;
    auto* to = static_cast<T*>(x);
    const auto* from = static_cast<const T*>(y);
    if (width % kN == 0 && FitsVectors(to, x_stride, kN) && FitsVectors(from, y_stride, kN)) {
      LaunchVectors<kN>(AddBody<T, T, kN>{to, x_stride, from, y_stride}, rows, width, stream);
    } else {
      LaunchVectors<1>(AddBody<T, T, 1>{to, x_stride, from, y_stride}, rows, width, stream);
    }
  });
}

void AddBias(DType dtype, void* out, std::int64_t out_stride, const float* bias, std::int64_t rows,
             std::int64_t width, cudaStream_t stream) {
  WithFloatType(dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int kN = 4;
    auto* to = static_cast<T*>(out);
    if (width % kN == 0 && FitsVectors(to, out_stride, kN) && FitsVectors(bias, 0, kN)) {
      LaunchVectors<kN>(AddBody<T, float, kN>{to, out_stride, bias, 0}, rows, width, stream);
    } else {
      LaunchVectors<1>(AddBody<T, float, 1>{to, out_stride, bias, 0}, rows, width, stream);
    }
  });
}

void SiluAndMul(DType dtype, const void* gate_up, std::int64_t stride, std::int64_t rows,
                std::int64_t width, void* out, std::int64_t out_stride, cudaStream_t stream) {
  WithFloatType(dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int kN = kVectorSize<T>;
    const auto* from = static_cast<const T*>(gate_up);
    auto* to = static_cast<T*>(out);
    if (width % kN == 0 && FitsVectors(from, stride, kN) && FitsVectors(to, out_stride, kN)) {
      LaunchVectors<kN>(SiluBody<T, kN>{from, stride, to, out_stride, width}, rows, width, stream);
    } else {
      LaunchVectors<1>(SiluBody<T, 1>{from, stride, to, out_stride, width}, rows, width, stream);
    }
  });
}

void ConvertRows(DType from, const void* x, std::int64_t x_stride, DType to, void* out,
                 std::int64_t out_stride, std::int64_t rows, std::int64_t width,
                 cudaStream_t stream) {
  WithFloatType(from, [&](auto from_tag) {
    WithFloatType(to, [&](auto to_tag) {
      using From = typename decltype(from_tag)::Type;
      using To = typename decltype(to_tag)::Type;
      constexpr int kN = std::min(kVectorSize<From>, kVectorSize<To>);
      const auto* source = static_cast<const From*>(x);
      auto* target = static_cast<To*>(out);
      if (width % kN == 0 && FitsVectors(source, x_stride, kN) &&
          FitsVectors(target, out_stride, kN)) {
        LaunchVectors<kN>(ConvertBody<From, To, kN>{source, x_stride, target, out_stride}, rows,
                          width, stream);
      } else {
        LaunchVectors<1>(ConvertBody<From, To, 1>{source, x_stride, target, out_stride}, rows,
                         width, stream);
      }
    });
  });
}

void CopyBlock(void* data, std::int64_t block_bytes, std::int32_t from, std::int32_t to,
               cudaStream_t stream) {
  if (block_bytes % 16 == 0) return CopyBlockAs<uint4>(data, block_bytes, from, to, stream);
  CopyBlockAs<std::uint32_t>(data, block_bytes, from, to, stream);
}

}  // namespace quire::cuda
