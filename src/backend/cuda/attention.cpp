#include "backend/cuda/attention.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "backend/cuda/attention_plan.h"
#include "backend/cuda/kernels/attention_decode.h"
#include "backend/cuda/kernels/attention_generic.h"
#include "backend/cuda/kernels/attention_prefill.h"
#include "base/check.h"

namespace quire::cuda {
namespace {

// Sequences with at most so many packed rows are decoded; the others are tiled.
constexpr int kMaxDecodeRows = 2 * kDecodeRows;

// The kernels for tiles of rows; the first feasible one is taken.
struct PrefillKernel {
  const char* name;
  bool hopper;  // needs sm_90a, and more than 99 KB of shared memory
  bool (*supports)(DType, int head_dim, int block_size);
  AttentionTile (*tile)(int head_dim);
  int (*prepare)(DType, int head_dim);
  void (*launch)(const AttentionArgs&, cudaStream_t);
};
constexpr PrefillKernel kPrefillKernels[] = {
    {"wgmma", true, AttentionPrefillSm90Supports, AttentionPrefillSm90Tile,
     AttentionPrefillSm90Prepare, AttentionPrefillSm90},
    {"mma.sync", false, AttentionPrefillSupports, AttentionPrefillTile, AttentionPrefillPrepare,
     AttentionPrefill},
};

Error DeviceFault(const char* what, cudaError_t error) {
  Error fault;
  fault.kind = ErrorKind::kDevice;
  fault.message = std::string(what) + ": " + cudaGetErrorString(error);
  return fault;
}

// Owns memory of the device, or pinned memory of the host.
class Memory {
 public:
  Memory() = default;
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(pinned_, other.pinned_);
    return *this;
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    if (pinned_) {
      cudaFreeHost(data_);
    } else {
      cudaFree(data_);
    }
  }

  // Zeroed. What was there before is lost.
  Status Resize(std::size_t bytes, bool pinned) {
    *this = Memory();
    void* data = nullptr;
    const cudaError_t error = pinned ? cudaMallocHost(&data, bytes) : cudaMalloc(&data, bytes);
    if (error != cudaSuccess) return DeviceFault("memory for attention plans", error);
    data_ = data;
    bytes_ = bytes;
    pinned_ = pinned;
    if (pinned) {
      std::memset(data, 0, bytes);
    } else if (cudaMemset(data, 0, bytes) != cudaSuccess ||
               cudaDeviceSynchronize() != cudaSuccess) {  // other streams do not wait for it
      return DeviceFault("memory for attention plans", cudaGetLastError());
    }
    return {};
  }
  char* data() const { return static_cast<char*>(data_); }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  bool pinned_ = false;
};

// One list of pieces: its place on the device, and where it is staged in each plan's pinned memory.
struct PieceList {
  AttentionDivision division;
  std::int64_t capacity = 0;  // pieces
  Memory device;
  std::size_t staged_at = 0;
  bool wanted = false;  // by the last plan

  std::size_t bytes() const { return static_cast<std::size_t>(capacity) * sizeof(AttentionPiece); }
  const AttentionPiece* pieces() const {
    return reinterpret_cast<const AttentionPiece*>(device.data());
  }
};

// What layers that are planned together have in common.
struct Geometry {
  KvLayerSpec spec;
  int block_size = 0;
  const PrefillKernel* prefill_kernel = nullptr;  // null: the generic kernel computes all
  PieceList decode, prefill;
  bool planned = false;  // in this step

  int group() const { return spec.num_heads / spec.num_kv_heads; }
  bool Serves(const KvLayer& layer) const {
    const KvLayerSpec& other = layer.spec;
    return block_size == layer.block_size && spec.num_heads == other.num_heads &&
           spec.num_kv_heads == other.num_kv_heads && spec.head_dim == other.head_dim &&
           spec.sliding_window == other.sliding_window && spec.dtype == other.dtype;
  }
};

}  // namespace

struct CudaAttention::State {
  AttentionOptions options;
  int num_processors = 0;
  bool hopper = false;
  std::vector<std::unique_ptr<Geometry>> geometries;
  Memory partial, counters;  // of all geometries: layers run one after another
  Memory staging[kPlansInFlight];
  cudaEvent_t copied[kPlansInFlight] = {};
  int turn = 0;
  AttentionPlanner planner;
  std::vector<std::int32_t> decoded, tiled;  // sequences

  ~State() {
    for (cudaEvent_t event : copied) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }

  Geometry* Find(const KvLayer& layer) const {
    for (const auto& geometry : geometries) {
      if (geometry->Serves(layer)) return geometry.get();
    }
    return nullptr;
  }
  const PrefillKernel* Choose(const KvLayer& layer) const;
  Status Add(const KvLayer& layer);
  Status Allocate();
  // Whether a step that is replayed launches these kernels, whatever its lengths are.
  bool ReplaysDecode(const Geometry& g) const { return g.group() <= kMaxDecodeRows; }
  bool ReplaysPrefill(const Geometry& g, const AttentionBatch& batch) const {
    return batch.num_tokens > batch.num_sequences || !ReplaysDecode(g);
  }
  void PlanGeometry(Geometry& geometry, const AttentionBatch& batch, char* staged,
                    cudaStream_t stream);
  void Upload(PieceList& list, const AttentionStep& step, std::span<const std::int32_t> sequences,
              char* staged, cudaStream_t stream);
};

const PrefillKernel* CudaAttention::State::Choose(const KvLayer& layer) const {
  const KvLayerSpec& spec = layer.spec;
  if (!AttentionDecodeSupports(spec.dtype, spec.head_dim, layer.block_size)) return nullptr;
  for (const PrefillKernel& kernel : kPrefillKernels) {
    if (kernel.hopper && (!hopper || options.cap_shared_memory)) continue;
    if (kernel.supports(spec.dtype, spec.head_dim, layer.block_size) &&
        kernel.prepare(spec.dtype, spec.head_dim) > 0) {
      return &kernel;
    }
  }
  return nullptr;
}

Status CudaAttention::State::Add(const KvLayer& layer) {
  auto geometry = std::make_unique<Geometry>();
  const KvLayerSpec& spec = geometry->spec = layer.spec;
  geometry->block_size = layer.block_size;
  geometry->prefill_kernel = Choose(layer);
  const int blocks =
      geometry->prefill_kernel == nullptr ? 0 : AttentionDecodePrepare(spec.dtype, spec.head_dim);
  if (blocks == 0) {
    geometry->prefill_kernel = nullptr;
  } else {
    const int group = geometry->group();
    AttentionDivision& decode = geometry->decode.division;
    decode.rows = kDecodeRows;
    decode.tile_keys = kDecodeTileKeys;
    decode.min_tiles = 8;
    decode.overhead = 2;
    decode.slack = 8;
    decode.workers = std::max(1, num_processors * blocks / spec.num_kv_heads);
    decode.split = !options.batch_invariant;
    geometry->decode.capacity = AttentionPlanner::MaxPieces(
        decode, group, options.max_sequences,
        std::min(options.max_tokens, options.max_sequences * (kMaxDecodeRows / group + 1)));
    AttentionDivision& prefill = geometry->prefill.division;
    const AttentionTile tile = geometry->prefill_kernel->tile(spec.head_dim);
    prefill.rows = tile.rows;
    prefill.tile_keys = tile.keys;
    prefill.min_tiles = 4;
    prefill.overhead = 1;
    prefill.slack = 24;
    prefill.workers = geometry->prefill_kernel->prepare(spec.dtype, spec.head_dim);
    prefill.kv_heads = spec.num_kv_heads;
    prefill.split = !options.batch_invariant;
    geometry->prefill.capacity =
        AttentionPlanner::MaxPieces(prefill, group, options.max_sequences, options.max_tokens);
  }
  geometries.push_back(std::move(geometry));
  return {};
}

Status CudaAttention::State::Allocate() {
  std::size_t staged = 0, floats = 1, slots = 1;
  for (const auto& geometry : geometries) {
    if (geometry->prefill_kernel == nullptr) continue;
    for (PieceList* list : {&geometry->decode, &geometry->prefill}) {
      list->staged_at = staged;
      staged += list->bytes();
      if (list->device.bytes() < list->bytes()) {
        QUIRE_RETURN_IF_ERROR(list->device.Resize(list->bytes(), false));
      }
    }
    const KvLayerSpec& spec = geometry->spec;
    const auto decode_slots = static_cast<std::size_t>(
        AttentionPlanner::MaxSlots(geometry->decode.division) * spec.num_kv_heads);
    const auto prefill_slots =
        static_cast<std::size_t>(AttentionPlanner::MaxSlots(geometry->prefill.division));
    const AttentionTile tile = geometry->prefill_kernel->tile(spec.head_dim);
    slots = std::max(
        {slots, decode_slots, prefill_slots * static_cast<std::size_t>(tile.slot_counters)});
    floats = std::max(
        {floats, decode_slots * static_cast<std::size_t>(AttentionDecodeSlotFloats(spec.head_dim)),
         prefill_slots * static_cast<std::size_t>(tile.slot_floats)});
  }
  if (partial.bytes() < floats * 4) QUIRE_RETURN_IF_ERROR(partial.Resize(floats * 4, false));
  if (counters.bytes() < slots * 4) QUIRE_RETURN_IF_ERROR(counters.Resize(slots * 4, false));
  for (int i = 0; i < kPlansInFlight; ++i) {
    if (staging[i].bytes() < staged) QUIRE_RETURN_IF_ERROR(staging[i].Resize(staged, true));
    if (copied[i] != nullptr) continue;
    const cudaError_t error = cudaEventCreateWithFlags(&copied[i], cudaEventDisableTiming);
    if (error != cudaSuccess) return DeviceFault("attention", error);
  }
  return {};
}

void CudaAttention::State::Upload(PieceList& list, const AttentionStep& step,
                                  std::span<const std::int32_t> sequences, char* staged,
                                  cudaStream_t stream) {
  const std::span<const AttentionPiece> pieces = planner.Plan(list.division, step, sequences);
  QUIRE_CHECK(static_cast<std::int64_t>(pieces.size()) <= list.capacity);
  std::memcpy(staged + list.staged_at, pieces.data(), pieces.size_bytes());
  cudaMemcpyAsync(list.device.data(), staged + list.staged_at, pieces.size_bytes(),
                  cudaMemcpyHostToDevice, stream);
}

void CudaAttention::State::PlanGeometry(Geometry& geometry, const AttentionBatch& batch,
                                        char* staged, cudaStream_t stream) {
  AttentionStep step;
  step.query_start = batch.host_query_start;
  step.context_len = batch.host_context_len;
  step.block_start = batch.host_block_start;
  step.group = geometry.group();
  step.window = geometry.spec.sliding_window;
  decoded.clear();
  tiled.clear();
  for (int s = 0; s < batch.num_sequences; ++s) {
    const auto i = static_cast<std::size_t>(s);
    const int count = step.query_start[i + 1] - step.query_start[i];
    const int limit = options.batch_invariant && count > 1 ? 0 : kMaxDecodeRows;
    (count * step.group <= limit ? decoded : tiled).push_back(s);
  }
  geometry.decode.wanted = batch.replayed ? ReplaysDecode(geometry) : !decoded.empty();
  geometry.prefill.wanted = batch.replayed ? ReplaysPrefill(geometry, batch) : !tiled.empty();
  if (geometry.decode.wanted) Upload(geometry.decode, step, decoded, staged, stream);
  if (geometry.prefill.wanted) Upload(geometry.prefill, step, tiled, staged, stream);
}

CudaAttention::CudaAttention(std::unique_ptr<State> state) : state_(std::move(state)) {}
CudaAttention::~CudaAttention() = default;

Result<std::unique_ptr<CudaAttention>> CudaAttention::Make(const cudaDeviceProp& device,
                                                           const AttentionOptions& options) {
  auto state = std::make_unique<State>();
  state->options = options;
  state->num_processors = device.multiProcessorCount;
  state->hopper = options.hopper && device.major == 9;
  return std::unique_ptr<CudaAttention>(new CudaAttention(std::move(state)));
}

Status CudaAttention::Supports(std::span<const KvLayer> layers) const {
  for (const KvLayer& layer : layers) {
    Error error;
    error.kind = ErrorKind::kModel;
    if (layer.spec.head_dim > kGenericHeadDim) {
      error.message = "attention on CUDA: head_dim " + std::to_string(layer.spec.head_dim) +
                      " is more than " + std::to_string(kGenericHeadDim);
      return error;
    }
    if (!std::has_single_bit(static_cast<unsigned>(layer.block_size))) {
      error.kind = ErrorKind::kConfig;
      error.message = "attention on CUDA: a block of " + std::to_string(layer.block_size) +
                      " tokens is not a power of two";
      return error;
    }
  }
  return {};
}

Status CudaAttention::Prepare(std::span<const KvLayer> layers) {
  QUIRE_RETURN_IF_ERROR(Supports(layers));
  for (const KvLayer& layer : layers) {
    if (state_->Find(layer) == nullptr) QUIRE_RETURN_IF_ERROR(state_->Add(layer));
  }
  return state_->Allocate();
}

void CudaAttention::Plan(const AttentionBatch& batch, std::span<const KvLayer> layers,
                         cudaStream_t stream) {
  State& state = *state_;
  QUIRE_CHECK(batch.num_sequences <= state.options.max_sequences &&
              batch.num_tokens <= state.options.max_tokens);
  const int turn = state.turn;
  state.turn = (turn + 1) % kPlansInFlight;
  cudaEventSynchronize(state.copied[turn]);
  for (const auto& geometry : state.geometries) geometry->planned = false;
  for (const KvLayer& layer : layers) {
    Geometry* geometry = state.Find(layer);
    QUIRE_CHECK(geometry != nullptr);
    if (geometry->planned || geometry->prefill_kernel == nullptr) continue;
    geometry->planned = true;
    state.PlanGeometry(*geometry, batch, state.staging[turn].data(), stream);
  }
  cudaEventRecord(state.copied[turn], stream);
}

void CudaAttention::Attend(const Tensor& q, const KvLayer& cache, const AttentionBatch& batch,
                           float scale, const Tensor& out, cudaStream_t stream) const {
  const State& state = *state_;
  const Geometry* geometry = state.Find(cache);
  QUIRE_CHECK(geometry != nullptr);
  AttentionArgs args;
  args.dtype = cache.spec.dtype;
  args.head_dim = cache.spec.head_dim;
  args.num_heads = cache.spec.num_heads;
  args.num_kv_heads = cache.spec.num_kv_heads;
  args.group = geometry->group();
  args.group_inverse = static_cast<std::uint32_t>(
      (std::uint64_t{1} << 32) / static_cast<std::uint64_t>(args.group) + 1);
  args.block_size = cache.block_size;
  args.block_shift = std::countr_zero(static_cast<unsigned>(cache.block_size));
  args.window = cache.spec.sliding_window;
  args.scale = scale;
  args.q = q.raw();
  args.q_stride = q.row_stride();
  args.out = out.raw();
  args.out_stride = out.row_stride();
  args.cache = cache.data;
  args.num_blocks = cache.num_blocks;
  args.blocks = batch.blocks.data<std::int32_t>();
  if (geometry->prefill_kernel == nullptr) {
    args.num_sequences = batch.num_sequences;
    args.num_tokens = batch.num_tokens;
    args.query_start = batch.query_start.data<std::int32_t>();
    args.context_len = batch.context_len.data<std::int32_t>();
    args.block_start = batch.block_start.data<std::int32_t>();
    AttentionGeneric(args, stream);
    return;
  }
  args.partial = reinterpret_cast<float*>(state.partial.data());
  args.counters = reinterpret_cast<std::int32_t*>(state.counters.data());
  if (geometry->decode.wanted) {
    args.pieces = geometry->decode.pieces();
    args.num_workers = geometry->decode.division.workers;
    AttentionDecode(args, stream);
  }
  if (geometry->prefill.wanted) {
    args.pieces = geometry->prefill.pieces();
    args.num_workers = geometry->prefill.division.workers;
    geometry->prefill_kernel->launch(args, stream);
  }
}

std::string CudaAttention::Describe(const KvLayer& layer) const {
  const Geometry* geometry = state_->Find(layer);
  if (geometry == nullptr) return "not prepared";
  if (geometry->prefill_kernel == nullptr) return "generic kernel";
  const AttentionDivision& prefill = geometry->prefill.division;
  return "decode: mma.sync, " + std::to_string(geometry->decode.division.workers) +
         " blocks of threads per kv head; prefill: " + geometry->prefill_kernel->name + ", " +
         std::to_string(prefill.rows) + " rows × " + std::to_string(prefill.tile_keys) + " keys";
}

std::size_t CudaAttention::device_bytes() const {
  std::size_t bytes = state_->partial.bytes() + state_->counters.bytes();
  for (const auto& geometry : state_->geometries) {
    bytes += geometry->decode.device.bytes() + geometry->prefill.device.bytes();
  }
  return bytes;
}

std::size_t CudaAttention::pinned_bytes() const {
  std::size_t bytes = 0;
  for (const Memory& memory : state_->staging) bytes += memory.bytes();
  return bytes;
}

}  // namespace quire::cuda
