// Head norms, rotary embedding and the store into the cache; see rope.h. A head belongs to a group
// of lanes of one warp; a lane holds N elements of a head's first half and the N that turn with
// them. Behind the part that turns, it holds 2·N neighbours.
#include "backend/cuda/kernels/rope.h"

#include "backend/cuda/kernels/launch.cuh"

namespace quire::cuda {
namespace {

constexpr int kThreads = 256;

struct RopeArgs {
  QkvRows rows;
  HeadNorms norms;
  Rotation rotation;   // cos_sin: null where nothing turns
  KvBlocks cache;      // data: null where nothing is stored
  int first_head = 0;  // of the heads of q, then of k, then of v: those that a call looks at
  int end_head = 0;
};

// Where one head of one token lies, and what becomes of it.
template <class T>
struct Head {
  T* data;
  const float* norm;
  bool turns;
  int cache_half;  // 0: into the keys; 1: into the values; −1: not stored
  int cache_head;
};

template <class T>
__device__ __forceinline__ Head<T> HeadOf(const RopeArgs& args, std::int64_t token, int head) {
  const QkvRows& rows = args.rows;
  if (head < rows.num_heads) {
    return {static_cast<T*>(rows.q) + token * rows.q_stride + head * rows.head_dim,
            args.norms.q_norm, args.rotation.cos_sin != nullptr, -1, 0};
  }
  head -= rows.num_heads;
  const int store = args.cache.data != nullptr ? 0 : -1;
  if (head < rows.num_kv_heads) {
    return {static_cast<T*>(rows.k) + token * rows.k_stride + head * rows.head_dim,
            args.norms.k_norm, args.rotation.cos_sin != nullptr, store, head};
  }
  head -= rows.num_kv_heads;
  return {
      const_cast<T*>(static_cast<const T*>(rows.v)) + token * rows.v_stride + head * rows.head_dim,
      nullptr, false, store < 0 ? -1 : 1, head};
}

// Where a lane's two vectors begin in a head, and whether they turn.
struct Place {
  int low, high;
  bool turns;
};

template <int N>
__device__ __forceinline__ Place PlaceOf(int slot, int rotary_dim) {
  const int turning = rotary_dim / (2 * N);
  if (slot < turning) return {slot * N, rotary_dim / 2 + slot * N, true};
  return {slot * 2 * N, slot * 2 * N + N, false};
}

template <class T, int N>
__device__ __forceinline__ void LoadFloats(const T* from, float* out) {
  const Vector<T, N> vector = LoadVector<N>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) out[i] = ToFloat(vector.at[i]);
}

template <class T, int N>
__device__ __forceinline__ void StoreFloats(T* to, const float* values) {
  Vector<T, N> vector;
#pragma unroll
  for (int i = 0; i < N; ++i) vector.at[i] = FromFloat<T>(values[i]);
  StoreVector(to, vector);
}

// Heads are held as kSteps vectors of N in each of `lanes` lanes, a power of two.
template <class T, class C, int N, int kSteps>
__global__ void __launch_bounds__(kThreads) RopeKernel(RopeArgs args, int lanes) {
  WaitForPrevious();
  LetNextStart();
  const int heads = args.end_head - args.first_head;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const std::int64_t unit =
      std::int64_t{blockIdx.x} * (kThreads / lanes) + static_cast<int>(threadIdx.x) / lanes;
  const std::int64_t token = unit / heads;
  const bool any = token < args.rows.tokens;  // all lanes take part in the sums of their warp
  const int head_dim = args.rows.head_dim;
  const int slots = any ? head_dim / (2 * N) : 0;
  const Head<T> head =
      HeadOf<T>(args, any ? token : 0, args.first_head + static_cast<int>(unit % heads));
  const int kv_slot = any && head.cache_half >= 0 ? args.cache.kv_slots[token] : -1;
  const int rotary_dim = args.rotation.rotary_dim;
  const float* table = nullptr;
  if (any && head.turns) {
    table = args.rotation.cos_sin + std::int64_t{args.rotation.positions[token]} * rotary_dim;
  }

  float low[kSteps][N], high[kSteps][N];
  float squares = 0.0F;
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    const int slot = s * lanes + lane;
    if (slot >= slots) continue;
    const Place place = PlaceOf<N>(slot, rotary_dim);
    LoadFloats<T, N>(head.data + place.low, low[s]);
    LoadFloats<T, N>(head.data + place.high, high[s]);
#pragma unroll
    for (int i = 0; i < N; ++i) squares += low[s][i] * low[s][i] + high[s][i] * high[s][i];
  }
  const bool changed = head.norm != nullptr || head.turns;
  float factor = 1.0F;
  if (args.norms.q_norm != nullptr || args.norms.k_norm != nullptr) {
    for (int offset = lanes / 2; offset > 0; offset /= 2) {
      squares += __shfl_xor_sync(0xFFFFFFFFU, squares, offset);
    }
    factor = 1.0F / sqrtf(squares / static_cast<float>(head_dim) + args.norms.eps);
  }
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    const int slot = s * lanes + lane;
    if (slot >= slots) continue;
    const Place place = PlaceOf<N>(slot, rotary_dim);
    if (head.norm != nullptr) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        low[s][i] = low[s][i] * factor * head.norm[place.low + i];
        high[s][i] = high[s][i] * factor * head.norm[place.high + i];
      }
    }
    if (table != nullptr && place.turns) {
      float cosines[N], sines[N];
      LoadFloats<float, N>(table + place.low, cosines);
      LoadFloats<float, N>(table + place.high, sines);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float a = low[s][i];
        const float b = high[s][i];
        low[s][i] = a * cosines[i] - b * sines[i];
        high[s][i] = b * cosines[i] + a * sines[i];
      }
    }
    if (changed) {
      StoreFloats<T, N>(head.data + place.low, low[s]);
      StoreFloats<T, N>(head.data + place.high, high[s]);
    }
    if (kv_slot < 0) continue;
    const int block = kv_slot / args.cache.block_size;
    const int offset = kv_slot % args.cache.block_size;
    const std::int64_t cache_row =
        ((std::int64_t{block} * 2 + head.cache_half) * args.rows.num_kv_heads + head.cache_head) *
            args.cache.block_size +
        offset;
    C* to = static_cast<C*>(args.cache.data) + cache_row * head_dim;
    StoreFloats<C, N>(to + place.low, low[s]);
    StoreFloats<C, N>(to + place.high, high[s]);
  }
}

template <class T, class C, int N, int kSteps>
void LaunchHeads(const RopeArgs& args, cudaStream_t stream) {
  const int slots = args.rows.head_dim / (2 * N);
  int lanes = 1;
  while (lanes < 32 && lanes * kSteps < slots) lanes *= 2;
  const std::int64_t units = args.rows.tokens * (args.end_head - args.first_head);
  const auto blocks = static_cast<unsigned>(CeilDiv<std::int64_t>(units, kThreads / lanes));
  Launch(RopeKernel<T, C, N, kSteps>, blocks, kThreads, 0, stream, args, lanes);
}

template <class T, class C>
void LaunchRope(const RopeArgs& args, cudaStream_t stream) {
  constexpr int kN = kVectorSize<T>;
  const QkvRows& rows = args.rows;
  const bool with_q = args.first_head < rows.num_heads;
  const bool with_v = args.end_head > rows.num_heads + rows.num_kv_heads;
  const auto fits = [&](const void* data, std::int64_t stride) {
    return FitsVectors(static_cast<const T*>(data), stride, kN);
  };
  const bool aligned = rows.head_dim % (2 * kN) == 0 && args.rotation.rotary_dim % (2 * kN) == 0 &&
                       (!with_q || fits(rows.q, rows.q_stride)) && fits(rows.k, rows.k_stride) &&
                       (!with_v || fits(rows.v, rows.v_stride)) &&
                       FitsVectors(args.rotation.cos_sin, 0, kN) &&
                       FitsVectors(static_cast<const C*>(args.cache.data), 0, kN);
  if (aligned) {
    LaunchHeads<T, C, kN, 1>(args, stream);
  } else {
    LaunchHeads<T, C, 1, 4>(args, stream);
  }
}

void Dispatch(const RopeArgs& args, cudaStream_t stream) {
  if (args.rows.tokens <= 0) return;
  WithFloatType(args.rows.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    if (args.cache.data == nullptr) return LaunchRope<T, T>(args, stream);
    WithFloatType(args.cache.dtype, [&](auto cache_tag) {
      LaunchRope<T, typename decltype(cache_tag)::Type>(args, stream);
    });
  });
}

}  // namespace

void Rope(const QkvRows& rows, const Rotation& rotation, cudaStream_t stream) {
  Dispatch({rows, {}, rotation, {}, 0, rows.num_heads + rows.num_kv_heads}, stream);
}

void StoreKv(const QkvRows& rows, const KvBlocks& cache, cudaStream_t stream) {
  Dispatch({rows, {}, {}, cache, rows.num_heads, rows.num_heads + 2 * rows.num_kv_heads}, stream);
}

void RotateAndStoreKv(const QkvRows& rows, const HeadNorms& norms, const Rotation& rotation,
                      const KvBlocks& cache, cudaStream_t stream) {
  Dispatch({rows, norms, rotation, cache, 0, rows.num_heads + 2 * rows.num_kv_heads}, stream);
}

}  // namespace quire::cuda
