// Paged attention of any head_dim up to 256 without tensor cores, in float32, bf16 or f16.
//
// q, out [tokens, num_heads, head_dim]; cache [blocks][2][num_kv_heads][block_size][head_dim].
//
// A block of threads computes one token and up to kHeads heads of one kv head. Its 8 warps take
// chunks of 32 keys in turn, aligned to multiples of 32, each with a running maximum, sum and
// output; these are added up in the order of the warps. So the order of summation of a row follows
// from its own position and window alone (rule 8).
#include "backend/cuda/kernels/attention_generic.h"
#include "backend/cuda/kernels/launch.cuh"

namespace quire::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kChunk = 32;  // keys

// The sequence that owns a row of q: the last one that starts at or before it.
__device__ int SequenceOf(const AttentionArgs& args, int token) {
  int low = 0, high = args.num_sequences - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (args.query_start[middle] <= token) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// What a block of threads computes.
struct Task {
  int token, kv_head, first_head, num_heads;
  int begin, end;  // keys
  const std::int32_t* blocks;
};

template <int kHeads>
__device__ Task TaskOf(const AttentionArgs& args) {
  Task task;
  task.token = blockIdx.x;
  task.kv_head = blockIdx.y;
  task.first_head = task.kv_head * args.group + blockIdx.z * kHeads;
  task.num_heads = min(kHeads, args.group - static_cast<int>(blockIdx.z) * kHeads);
  const int sequence = SequenceOf(args, task.token);
  const int end_row = args.query_start[sequence + 1];
  task.end = task.token < end_row ? args.context_len[sequence] - (end_row - 1 - task.token) : 0;
  task.begin = args.window > 0 ? max(0, task.end - args.window) : 0;
  task.blocks = args.blocks + args.block_start[sequence];
  return task;
}

// The key of a position; its value lies num_kv_heads · block_size · head_dim elements behind it.
template <typename T>
__device__ const T* KeyAt(const AttentionArgs& args, const Task& task, int position) {
  const std::int64_t id = task.blocks[position >> args.block_shift];
  const int offset = position & (args.block_size - 1);
  return static_cast<const T*>(args.cache) +
         ((id * 2 * args.num_kv_heads + task.kv_head) * args.block_size + offset) * args.head_dim;
}

// Lane i's score of the key `first` + i with each head.
template <typename T, int kHeads, bool kVectors>
__device__ void Scores(const AttentionArgs& args, const T* key, const float* q,
                       float (&score)[kHeads]) {
  constexpr int kStep = kVectors ? 4 : 1;
#pragma unroll
  for (float& s : score) s = 0;
  for (int d = 0; d < args.head_dim; d += kStep) {
    const Vector<T, kStep> k = LoadVector<kStep>(key + d);
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const Vector<float, kStep> x = LoadVector<kStep>(q + h * kGenericHeadDim + d);
#pragma unroll
      for (int i = 0; i < kStep; ++i) score[h] = fmaf(x.at[i], ToFloat(k.at[i]), score[h]);
    }
  }
}

// One warp's running softmax of kHeads rows; lane i holds the columns i, i + 32, ….
template <int kHeads, int kColumns>
struct WarpState {
  float max[kHeads], sum[kHeads];
  float out[kHeads][kColumns];
};

__device__ float Weight(float m, float max) { return m == -INFINITY ? 0.0F : expf(m - max); }

// Lane i's scores to probabilities relative to the new maximum.
template <int kHeads, int kColumns>
__device__ void Normalize(float (&score)[kHeads], bool valid, float scale,
                          WarpState<kHeads, kColumns>& state) {
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    const float s = valid ? score[h] * scale : -INFINITY;
    float max = s;
    for (int o = 16; o > 0; o /= 2) max = fmaxf(max, __shfl_xor_sync(~0U, max, o));
    max = fmaxf(max, state.max[h]);
    const float weight = Weight(state.max[h], max);
    state.max[h] = max;
    score[h] = valid ? expf(s - max) : 0.0F;
    state.sum[h] = state.sum[h] * weight + WarpSum(score[h]);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) state.out[h][c] *= weight;
  }
}

template <typename T, int kHeads, int kColumns, bool kVectors>
__device__ void AttendChunk(const AttentionArgs& args, const Task& task, int chunk, const float* q,
                            WarpState<kHeads, kColumns>& state) {
  const int lane = threadIdx.x % 32;
  const int position = chunk + lane;
  const bool valid = position >= task.begin && position < task.end;
  const T* key = valid ? KeyAt<T>(args, task, position) : nullptr;
  float score[kHeads];
  if (valid) Scores<T, kHeads, kVectors>(args, key, q, score);
  Normalize<kHeads, kColumns>(score, valid, args.scale, state);
  const std::int64_t to_value = std::int64_t{args.num_kv_heads} * args.block_size * args.head_dim;
  const int first = max(chunk, task.begin) - chunk;
  const int count = min(chunk + kChunk, task.end) - chunk;
  for (int i = first; i < count; ++i) {
    const T* value =
        reinterpret_cast<const T*>(__shfl_sync(~0U, reinterpret_cast<unsigned long long>(key), i)) +
        to_value;
    float v[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      v[c] = c * 32 + lane < args.head_dim ? ToFloat(value[c * 32 + lane]) : 0.0F;
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const float p = __shfl_sync(~0U, score[h], i);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) state.out[h][c] = fmaf(p, v[c], state.out[h][c]);
    }
  }
}

// Adds the warps' states up and writes head h of the task.
template <typename T, int kHeads, int kColumns>
__device__ void WriteOut(const AttentionArgs& args, const Task& task,
                         const WarpState<kHeads, kColumns>& state) {
  __shared__ float out[kWarps][32 * kColumns];
  __shared__ float max[kWarps][kHeads], sum[kWarps][kHeads];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (lane == 0) {
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      max[warp][h] = state.max[h];
      sum[warp][h] = state.sum[h];
    }
  }
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    __syncthreads();
#pragma unroll
    for (int c = 0; c < kColumns; ++c) out[warp][c * 32 + lane] = state.out[h][c];
    __syncthreads();
    const int column = threadIdx.x;
    if (h >= task.num_heads || column >= args.head_dim) continue;
    float total_max = max[0][h];
    for (int w = 1; w < kWarps; ++w) total_max = fmaxf(total_max, max[w][h]);
    float total_sum = 0, value = 0;
    for (int w = 0; w < kWarps; ++w) {
      const float weight = Weight(max[w][h], total_max);
      total_sum += weight * sum[w][h];
      value += weight * out[w][column];
    }
    value = total_sum > 0 ? value / total_sum : total_sum;  // no keys: 0; NaN stays
    static_cast<T*>(
        args.out)[task.token * args.out_stride + (task.first_head + h) * args.head_dim + column] =
        FromFloat<T>(value);
  }
}

template <typename T, int kHeads, int kColumns, bool kVectors>
__global__ void __launch_bounds__(kWarps * 32)
    GenericKernel(const __grid_constant__ AttentionArgs args) {
  __shared__ alignas(16) float q[kHeads * kGenericHeadDim];
  WaitForPrevious();
  const Task task = TaskOf<kHeads>(args);
  for (int i = threadIdx.x; i < kHeads * args.head_dim; i += kWarps * 32) {
    const int h = i / args.head_dim, d = i % args.head_dim;
    const T* from = static_cast<const T*>(args.q) + task.token * args.q_stride +
                    (task.first_head + h) * args.head_dim + d;
    q[h * kGenericHeadDim + d] = h < task.num_heads ? ToFloat(*from) : 0.0F;
  }
  __syncthreads();
  WarpState<kHeads, kColumns> state;
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    state.max[h] = -INFINITY;
    state.sum[h] = 0;
#pragma unroll
    for (float& x : state.out[h]) x = 0;
  }
  const int first = task.begin / kChunk * kChunk;
  for (int chunk = first + threadIdx.x / 32 * kChunk; chunk < task.end; chunk += kWarps * kChunk) {
    AttendChunk<T, kHeads, kColumns, kVectors>(args, task, chunk, q, state);
  }
  LetNextStart();
  WriteOut<T, kHeads, kColumns>(args, task, state);
}

template <typename T, int kHeads, int kColumns>
void LaunchKernel(const AttentionArgs& args, cudaStream_t stream) {
  const dim3 grid(args.num_tokens, args.num_kv_heads, CeilDiv(args.group, kHeads));
  auto* kernel = args.head_dim % 4 == 0 ? GenericKernel<T, kHeads, kColumns, true>
                                        : GenericKernel<T, kHeads, kColumns, false>;
  Launch(kernel, grid, dim3(kWarps * 32), 0, stream, args);
}

template <typename T, int kHeads>
void LaunchColumns(const AttentionArgs& args, cudaStream_t stream) {
  if (args.head_dim <= 64) return LaunchKernel<T, kHeads, 2>(args, stream);
  if (args.head_dim <= 128) return LaunchKernel<T, kHeads, 4>(args, stream);
  LaunchKernel<T, kHeads, 8>(args, stream);
}

}  // namespace

void AttentionGeneric(const AttentionArgs& args, cudaStream_t stream) {
  if (args.num_tokens == 0) return;
  WithFloatType(args.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    if (args.group == 1) return LaunchColumns<T, 1>(args, stream);
    if (args.group <= 4) return LaunchColumns<T, 4>(args, stream);
    LaunchColumns<T, 8>(args, stream);
  });
}

}  // namespace quire::cuda
