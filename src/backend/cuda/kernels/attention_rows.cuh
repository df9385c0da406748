// The rows of a prefill tile: where they lie in q and out, which keys they see, and how their
// results are written, whole or in a slot to be added up.
//
// A slot of kRows rows is [kRows][kDim] outputs, not divided by their sums, then kRows maxima and
// kRows sums, all float32.
#pragma once

#include "backend/cuda/kernels/attention.h"
#include "backend/cuda/kernels/attention_mma.cuh"

namespace quire::cuda::attention {

__device__ __forceinline__ AttentionPiece LoadPiece(const AttentionPiece* pieces, int index) {
  AttentionPiece piece;
  const int4* from = reinterpret_cast<const int4*>(pieces + index);
#pragma unroll
  for (int i = 0; i < 3; ++i) reinterpret_cast<int4*>(&piece)[i] = __ldg(from + i);
  return piece;
}

__device__ __forceinline__ int TokenOf(const AttentionArgs& args, int row) {
  return args.group == 1 ? row : static_cast<int>(__umulhi(row, args.group_inverse));
}

// The first key that any row of the piece sees.
__device__ __forceinline__ int FirstKey(const AttentionArgs& args, const AttentionPiece& piece) {
  if (args.window == 0) return piece.begin;
  return max(piece.begin, piece.position + TokenOf(args, piece.first_row) + 1 - args.window);
}

// Element [row][0] of a matrix [tokens, num_heads, kDim] for packed row `row` of the piece.
template <int kDim>
__device__ __forceinline__ std::int64_t RowOffset(const AttentionArgs& args,
                                                  const AttentionPiece& piece, int kv_head,
                                                  std::int64_t stride, int row) {
  const int token = TokenOf(args, row);
  return (piece.first_token + token) * stride +
         (kv_head * args.group + row - token * args.group) * kDim;
}

// What a thread's two rows of a 16-row accumulator may see: keys [first, end).
struct RowBounds {
  int first[2], end[2];

  __device__ RowBounds(const AttentionArgs& args, const AttentionPiece& piece, int row) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      end[r] = piece.position + TokenOf(args, piece.first_row + row + 8 * r) + 1;
      first[r] = args.window > 0 ? end[r] - args.window : 0;
    }
  }
};

// A tile's scores, [16 rows, 8 · kTiles keys], to probabilities relative to the rows' new maxima
// (of the scores · scale; scale holds log2(e)). The sums are over this thread's columns. `weight`:
// what outputs so far must be multiplied with. `bounds_of_rows` gives the RowBounds.
template <int kTiles, typename Bounds>
__device__ __forceinline__ void Normalize(float (&s)[kTiles][4], float scale, bool masked, int tile,
                                          const Bounds& bounds_of_rows, float (&max)[2],
                                          float (&sum)[2], float (&weight)[2]) {
  if (masked) {
    const RowBounds bounds = bounds_of_rows();
    const int key = tile + threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < kTiles * 4; ++i) {
      const int k = key + i / 4 * 8 + i % 2, r = i / 2 % 2;
      if (k >= bounds.end[r] || k < bounds.first[r]) s[i / 4][i % 4] = -INFINITY;
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float tile_max = -INFINITY;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      tile_max = fmaxf(tile_max, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
    }
    tile_max = fmaxf(tile_max, __shfl_xor_sync(~0U, tile_max, 1));
    tile_max = fmaxf(tile_max, __shfl_xor_sync(~0U, tile_max, 2));
    tile_max = fmaxf(max[r], tile_max * scale);
    weight[r] = Weight(max[r], tile_max);
    max[r] = tile_max;
    sum[r] *= weight[r];
    const float base = tile_max == -INFINITY ? 0 : tile_max;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        s[n][i] = Exp2(fmaf(s[n][i], scale, -base));
        sum[r] += s[n][i];
      }
    }
  }
}

// Multiplies rows g and g + 8 with their weights.
template <int kTiles>
__device__ __forceinline__ void Rescale(float (&out)[kTiles][4], const float (&weight)[2]) {
#pragma unroll
  for (auto& tile : out) {
    tile[0] *= weight[0];
    tile[1] *= weight[0];
    tile[2] *= weight[1];
    tile[3] *= weight[1];
  }
}

// Adds up the parts of a row's sum that the four threads of it hold.
__device__ __forceinline__ void AddThreads(float (&sum)[2]) {
#pragma unroll
  for (float& x : sum) {
    x += __shfl_xor_sync(~0U, x, 1);
    x += __shfl_xor_sync(~0U, x, 2);
  }
}

// Probabilities of 16 keys, tiles 2k and 2k + 1, as the left operand of the product with values.
template <typename T, int kTiles>
__device__ __forceinline__ Fragment4 Operand(const float (&p)[kTiles][4], int k) {
  const float(&low)[4] = p[2 * k];
  const float(&high)[4] = p[2 * k + 1];
  return {{Pack<T>(low[0], low[1]), Pack<T>(low[2], low[3]), Pack<T>(high[0], high[1]),
           Pack<T>(high[2], high[3])}};
}

__device__ __forceinline__ float Inverse(float sum) {
  return sum > 0 ? 1.0F / sum : sum;  // no keys: 0; NaN stays
}

// Each of four neighbouring threads holds one word of each of four rows of four words; afterwards
// each holds the row whose index is its own.
__device__ __forceinline__ void TransposeWords(std::uint32_t (&x)[4]) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int bit = 1; bit <= 2; bit *= 2) {
    const bool upper = (t & bit) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((i & bit) != 0) continue;
      // Of a pair of rows the upper thread keeps the upper one.
      const std::uint32_t other = __shfl_xor_sync(~0U, upper ? x[i] : x[i + bit], bit);
      (upper ? x[i] : x[i + bit]) = other;
    }
  }
}

// Writes a thread's part of 16 rows, of which `row` and row + 8 are its own.
template <typename T, int kDim>
__device__ __forceinline__ void WriteRows(const AttentionArgs& args, const AttentionPiece& piece,
                                          int kv_head, int row, const float (&out)[kDim / 8][4],
                                          const float (&sum)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float inverse = Inverse(sum[r]);
    T* to = static_cast<T*>(args.out) + threadIdx.x % 4 * 8 +
            RowOffset<kDim>(args, piece, kv_head, args.out_stride, piece.first_row + row + 8 * r);
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 4) {
      std::uint32_t x[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] = Pack<T>(out[n + i][2 * r] * inverse, out[n + i][2 * r + 1] * inverse);
      }
      TransposeWords(x);
      if (row + 8 * r < piece.num_rows) {
        *reinterpret_cast<uint4*>(to + n * 8) = make_uint4(x[0], x[1], x[2], x[3]);
      }
    }
  }
}

template <int kRows, int kDim>
constexpr int kSlotFloats = kRows*(kDim + 2);

template <int kRows, int kDim>
__device__ __forceinline__ void StoreRows(float* slot, int row, const float (&out)[kDim / 8][4],
                                          const float (&max)[2], const float (&sum)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float* to = slot + (row + 8 * r) * kDim + threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      *reinterpret_cast<float2*>(to + n * 8) = make_float2(out[n][2 * r], out[n][2 * r + 1]);
    }
    if (threadIdx.x % 4 == 0) {
      slot[kRows * kDim + row + 8 * r] = max[r];
      slot[kRows * kDim + kRows + row + 8 * r] = sum[r];
    }
  }
}

// Adds the slots of the piece's rows up, in their order, and writes the rows: thread `thread` of
// kThreads takes some of the elements, kBatch vectors of four at a time. `slots`: the first of the
// rows' slots, which lie `stride` floats apart.
template <typename T, int kRows, int kDim, int kThreads>
__device__ __noinline__ void MergeSlots(const AttentionArgs& args, const AttentionPiece& piece,
                                        const float* slots, int stride, int thread) {
  constexpr int kBatch = 4;
  const int count = piece.num_rows * (kDim / 4);
  for (int first = thread; first < count; first += kBatch * kThreads) {
    float max[kBatch], sum[kBatch] = {};
    float4 out[kBatch] = {};
#pragma unroll
    for (float& m : max) m = -INFINITY;
#pragma unroll 4
    for (int s = 0; s < piece.num_slots; ++s) {
      const float* slot = slots + std::int64_t{s} * stride;
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int at = min(first + i * kThreads, count - 1);
        const int row = at / (kDim / 4);
        const float slot_max = __ldcg(slot + kRows * kDim + row);
        const float slot_sum = __ldcg(slot + kRows * kDim + kRows + row);
        const float4 x = __ldcg(reinterpret_cast<const float4*>(slot) + at);
        const float both = fmaxf(max[i], slot_max);
        const float old_weight = Weight(max[i], both), weight = Weight(slot_max, both);
        max[i] = both;
        sum[i] = sum[i] * old_weight + slot_sum * weight;
        out[i].x = out[i].x * old_weight + x.x * weight;
        out[i].y = out[i].y * old_weight + x.y * weight;
        out[i].z = out[i].z * old_weight + x.z * weight;
        out[i].w = out[i].w * old_weight + x.w * weight;
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int at = first + i * kThreads;
      if (at >= count) break;
      const float inverse = Inverse(sum[i]);
      const uint2 packed = make_uint2(Pack<T>(out[i].x * inverse, out[i].y * inverse),
                                      Pack<T>(out[i].z * inverse, out[i].w * inverse));
      const int row = at / (kDim / 4), column = at % (kDim / 4) * 4;
      *reinterpret_cast<uint2*>(static_cast<T*>(args.out) + column +
                                RowOffset<kDim>(args, piece, piece.kv_head, args.out_stride,
                                                piece.first_row + row)) = packed;
    }
  }
}

// By one thread, once all of a piece's sums are stored: whether it is the last of its rows'
// num_slots pieces.
__device__ __forceinline__ bool CountPiece(std::int32_t* counter, int num_slots) {
  __threadfence();
  const bool is_last = atomicAdd(counter, 1) == num_slots - 1;
  if (is_last) *counter = 0;
  __threadfence();
  return is_last;
}

}  // namespace quire::cuda::attention
