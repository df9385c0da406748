// Backend: one device. Memory, and the operators that layers are made of.
//
// Two kinds of operator (rule 3): a primitive is pure virtual; a fused one is virtual with a
// default written in primitives. All launch on the backend's one stream, in order; only
// Synchronize, WaitFor and CopyToHost wait. Shapes are checked by the layers; operators trust them.
// In float32 a row's result never depends on the other rows of its call (rule 8).
//
// Activations have the dtype ActivationDType(weights), the same for all tensors of a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "backend/profile.h"
#include "base/ids.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace quire {

// A part of a linear weight in host memory, of any float dtype: some rows and columns of a stored
// matrix, and of its bias. All slices of a weight have a bias, or none.
struct WeightSlice {
  Tensor weight;  // [out, in], rows may be strided
  Tensor bias;    // [out], or empty
};

struct MemoryInfo {
  std::size_t total = 0;
  std::size_t available = 0;
};

// What one layer's KV cache must hold. Models state it; the runtime allocates from it.
struct KvLayerSpec {
  int num_kv_heads = 0;  // of this rank
  int head_dim = 0;
  int sliding_window = 0;  // 0: full attention; else a token sees itself and window − 1 before it
  DType dtype = DType::kF32;
  int num_heads = 0;  // query heads of this rank that read it
};

// One layer's KV cache: [num_blocks] blocks of `block_size` tokens in the backend's own layout.
struct KvLayer {
  KvLayerSpec spec;
  int block_size = 16;
  std::int64_t num_blocks = 0;
  void* data = nullptr;  // num_blocks * Backend::KvBlockBytes(spec, block_size)
};

// Which tokens of which sequences a step computes; the same for all layers. int32 tensors on the
// device. Sequence i owns the rows [query_start[i], query_start[i+1]) of q, k and v, which are its
// last tokens: positions context_len[i] − count to context_len[i] − 1. Its blocks are
// blocks[block_start[i]] on: block j of them holds positions j·block_size….
//
// A step that is replayed from a graph is padded to its bucket: a padding sequence has one row, a
// context_len of 0 and the kv_slot −1; nothing is stored for it, and its row of attention is zero.
struct AttentionBatch {
  int num_sequences = 0;
  int num_tokens = 0;
  int max_query_len = 0;
  int max_context_len = 0;
  bool replayed = false;  // geometry of launches may depend on num_sequences and num_tokens alone
  Tensor query_start;     // [num_sequences + 1]
  Tensor context_len;     // [num_sequences] tokens in the cache once this step's are stored
  Tensor block_start;     // [num_sequences + 1]
  Tensor blocks;          // [block_start[num_sequences]] block ids
  Tensor positions;       // [num_tokens]
  Tensor kv_slots;  // [num_tokens] block id · block_size + offset: where k and v of the token go
  // The same in host memory, for plans; valid until the step is launched.
  std::span<const std::int32_t> host_query_start, host_context_len, host_block_start;
};

// The largest step that there will be, padding included.
struct StepLimits {
  int max_sequences = 0;
  int max_tokens = 0;
};

// What q and k go through between their projection and their use.
struct QkTransform {
  Tensor q_norm, k_norm;  // float32 [head_dim], or empty
  float norm_eps = 0;
  Tensor cos_sin;  // float32 [positions, rotary_dim]: cosines of the rotary_dim/2 frequencies, then
                   // sines
};

// One row of a sampling step, in the device's terms: which row of logits and of state, and how to
// draw.
struct SamplingRow {
  std::int32_t slot = 0;  // row of SamplerState
  std::uint64_t seed = 0;
  std::int32_t output_index = 0;  // random numbers are a function of (seed, output_index)
  float temperature = 1.0F;       // 0: greedy, the lowest id among equals
  float top_p = 1.0F;
  std::int32_t top_k = 0;  // 0: all
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  std::int32_t num_logprobs = -1;  // −1: none; 0: of the sampled token alone; n: and of the n best
  // Index ranges into the tables of SamplingBatch: [begin, end).
  std::int32_t bias_begin = 0, bias_end = 0;
  std::int32_t allowed_begin = 0, allowed_end = 0;  // empty: all tokens are allowed
  std::int32_t banned_begin = 0,
               banned_end = 0;  // stop tokens while min_tokens is not reached, bad words
  bool has_penalties() const {
    return repetition_penalty != 1.0F || presence_penalty != 0.0F || frequency_penalty != 0.0F;
  }
};

struct TokenBias {
  TokenId token = 0;
  float bias = 0.0F;
};

// What the rows of one sampling step share. Host memory, read before the call returns.
struct SamplingBatch {
  std::span<const SamplingRow> rows;
  std::span<const TokenBias> biases;
  std::span<const TokenId> allowed;
  std::span<const TokenId> banned;
};

// Per-slot state that sampling reads and updates on the device.
struct SamplerState {
  Tensor last_token;    // int32 [num_slots]: the token sampled last, input of the next step
  Tensor token_counts;  // int32 [num_slots, vocab]: times generated; bit 30 set where the prompt
                        // has it
};
constexpr std::int32_t kInPrompt = 1 << 30;

// Log-probabilities of one row's token, natural logarithm of the raw distribution (before
// penalties, temperature and masks), as vLLM's default.
struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0.0F;
};

// What sampling gives back for its rows; memory of AllocateHost, owned by the caller, sized [rows]
// by it, written by the time a mark behind the call has passed.
struct SampledRows {
  std::span<TokenId> tokens;
  std::span<std::uint8_t> faults;  // 1: the logits held a NaN or no finite value; token is −1
  std::span<float> logprobs;       // of the token, where num_logprobs ≥ 0
  std::span<std::int32_t> ranks;   // 1 + number of tokens with a greater logit, likewise
  std::span<TokenLogprob> top;     // [rows, max_top]: the best first
  std::int32_t max_top = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // -- the device -------------------------------------------------------------------------------
  virtual Device device() const = 0;
  virtual std::string Describe() const = 0;  // one line for the start-up summary
  virtual MemoryInfo Memory() const = 0;
  virtual DType ActivationDType(DType weights) const = 0;
  virtual bool Supports(DType weights) const = 0;

  // -- memory -----------------------------------------------------------------------------------
  // Zeroed memory; kDevice error where there is not enough.
  virtual Result<Buffer> Allocate(std::size_t bytes) = 0;
  // Dense; `host` is read before the call returns, the copy is launched like an operator.
  virtual void CopyToDevice(const void* host, const Tensor& to) = 0;
  virtual void CopyToHost(const Tensor& from, void* host) = 0;  // waits
  virtual void Synchronize() = 0;

  // -- weights ----------------------------------------------------------------------------------
  // One weight as `dtype`, whose rows are those of the slices, in order. The slices are read before
  // the call returns. Throws std::bad_alloc where memory is short.
  virtual LinearWeight PackLinear(std::span<const WeightSlice> slices, DType dtype) = 0;
  LinearWeight PackLinear(const Tensor& weight, const Tensor& bias, DType dtype) {
    const WeightSlice slice{weight, bias};
    return PackLinear({&slice, 1}, dtype);
  }
  // Embedding tables: a copy on the device, or the very same memory where the device reads host
  // memory (the caller keeps `host` alive as long as the result). [rows, columns], any float dtype.
  virtual Tensor PlaceTable(const Tensor& host, Buffer& owner) = 0;

  // -- primitives ---------------------------------------------------------------------------------
  // out [tokens, hidden] = table[ids − first_row], zero where the id is outside of the table's rows
  // (the other ranks of a split vocabulary have it). ids: int32 [tokens].
  virtual void Embed(const Tensor& table, const Tensor& ids, std::int64_t first_row,
                     const Tensor& out) = 0;
  // ids[i] = state.last_token[slots[i]] where slots[i] ≥ 0; else ids[i] stays. int32 [tokens].
  virtual void TakeLastTokens(const SamplerState& state, const Tensor& slots,
                              const Tensor& ids) = 0;
  // out[i] = x[rows[i]]. rows: int32 [n]; x [tokens, width]; out [n, width].
  virtual void GatherRows(const Tensor& x, const Tensor& rows, const Tensor& out) = 0;
  // x += y. [tokens, width]
  virtual void Add(const Tensor& x, const Tensor& y) = 0;
  // out = x / sqrt(mean(x²) + eps) · weight over the last dimension. x, out: [rows, width] or
  // [rows, parts, width] (the heads of q and k), rows may be strided and out may be x; weight:
  // float32 [width].
  virtual void RmsNorm(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) = 0;
  // out [rows, out_features] = x [rows, in_features] Wᵀ + b. out may be float32 whatever x is.
  virtual void MatMul(const Tensor& x, const LinearWeight& weight, const Tensor& out) = 0;
  // Here and below q, k and v are cut out of one qkv matrix: their rows are strided.
  // Rotates q [tokens, heads, head_dim] and k in place, halves apart (GPT-NeoX order):
  // cos_sin float32 [positions, rotary_dim]: cosines of the rotary_dim/2 frequencies, then sines.
  virtual void Rope(const Tensor& q, const Tensor& k, const Tensor& positions,
                    const Tensor& cos_sin) = 0;
  // Stores k, v [tokens, num_kv_heads, head_dim] at kv_slots.
  virtual void StoreKv(const Tensor& k, const Tensor& v, const Tensor& kv_slots,
                       const KvLayer& cache) = 0;
  // Causal attention of q [tokens, num_heads, head_dim] over the cache; out has q's shape.
  virtual void Attend(const Tensor& q, const KvLayer& cache, const AttentionBatch& batch,
                      float scale, const Tensor& out) = 0;
  // out [tokens, width] = silu(gate_up[:, :width]) · gate_up[:, width:].
  virtual void SiluAndMul(const Tensor& gate_up, const Tensor& out) = 0;

  // -- KV cache
  // -------------------------------------------------------------------------------------
  virtual std::size_t KvBlockBytes(const KvLayerSpec& spec, int block_size) const = 0;
  virtual void CopyKvBlock(const KvLayer& cache, BlockId from, BlockId to) = 0;

  // -- sampling
  // --------------------------------------------------------------------------------------- logits
  // float32 [rows, vocab], changed by the call. Computes log-probabilities of the raw logits,
  // applies penalties, biases and masks, draws, and updates state.last_token and, where a row has
  // penalties, state.token_counts.
  virtual void Sample(const Tensor& logits, const SamplingBatch& batch, const SamplerState& state,
                      const SampledRows& out) = 0;
  // Log-probability, rank and the best of given tokens (prompt log-probabilities). logits float32
  // [rows, vocab], unchanged; `out.tokens` holds the tokens asked for; `num_top` ≤ out.max_top.
  virtual void ScoreTokens(const Tensor& logits, std::int32_t num_top, const SampledRows& out) = 0;
  // Begins a slot: counts of its prompt and of what it generated before (after a preemption).
  virtual void ResetSlot(const SamplerState& state, SlotId slot, std::span<const TokenId> prompt,
                         std::span<const TokenId> output) = 0;

  // -- steps
  // Called once, before the first step.
  virtual Status PrepareSteps(const StepLimits& limits, std::span<const KvLayer> layers);
  // Called once a step, before its layers: a back end may plan its attention here.
  virtual void BeginStep(const AttentionBatch& batch, std::span<const KvLayer> layers);
  // Runs `launch`, or replays what it launched when it was called with this key before. What it
  // launches may depend on the key and on device memory alone.
  virtual void Replay(std::uint64_t key, const std::function<void()>& launch);
  // How many sequences a replayed step of so many is padded to; 0: it is not to be replayed.
  virtual int ReplayBucket(int num_sequences) const;
  // Memory of the host that results are written to (SampledRows); pinned where there is a device.
  virtual Result<Buffer> AllocateHost(std::size_t bytes) = 0;
  // A point behind all that was launched so far, and the wait for it. At most a few are open.
  virtual std::uint64_t Mark() = 0;
  virtual void WaitFor(std::uint64_t mark) = 0;
  // Microseconds on the device between two marks that have passed; 0 where it cannot tell.
  virtual float MicrosecondsBetween(std::uint64_t from, std::uint64_t to);
  // Whether launches return before they are done, so that steps overlap with the host.
  virtual bool asynchronous() const = 0;

  // -- profiles
  // Records what the device does from the start on; stopping waits for what was launched. An error
  // of one line where the device cannot tell: the profile has the host alone, then.
  virtual Status StartProfile();
  virtual DeviceProfile StopProfile();
  // Names what the calling thread does for a profiler that is attached from outside (NVTX).
  virtual void BeginRange(const char* name, std::int64_t value);
  virtual void EndRange();

  // -- fused
  // --------------------------------------------------------------------------------------------
  // residual += x, then out = RmsNorm(residual). All [tokens, hidden]; out may be x.
  virtual void AddRmsNorm(const Tensor& x, const Tensor& residual, const Tensor& weight, float eps,
                          const Tensor& out);
  // gate_up = x Wᵀ + b, W being gate over up, then out = SiluAndMul(gate_up). gate_up [tokens,
  // 2·width] is scratch: it may stay unwritten.
  virtual void MatMulSiluAndMul(const Tensor& x, const LinearWeight& weight, const Tensor& gate_up,
                                const Tensor& out);
  // Normalises and rotates q and k in place as `how` says, then stores k and v.
  virtual void RotateAndStoreKv(const Tensor& q, const Tensor& k, const Tensor& v,
                                const QkTransform& how, const AttentionBatch& batch,
                                const KvLayer& cache);
};

// Names the calling thread's work while it lives: see Backend::BeginRange.
class BackendRange {
 public:
  BackendRange(Backend& backend, const char* name, std::int64_t value = 0) : backend_(backend) {
    backend_.BeginRange(name, value);
  }
  ~BackendRange() { backend_.EndRange(); }
  BackendRange(const BackendRange&) = delete;
  BackendRange& operator=(const BackendRange&) = delete;

 private:
  Backend& backend_;
};

}  // namespace quire
