#include "runtime/local_executor.h"

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/log.h"
#include "models/causal_lm.h"
#include "parallel/communicator.h"
#include "runtime/backends.h"
#include "runtime/limits.h"
#include "runtime/model_runner.h"
#include "runtime/null_executor.h"
#include "weights/model_folder.h"

namespace quire {
namespace {

constexpr std::size_t kDefaultCpuCacheBytes = std::size_t{2} << 30;

// Owns everything of one rank and launches its steps on the caller's thread: at once where the
// device works by itself, else when the step is waited for, since a CPU's threads are the back
// end's own.
class LocalExecutor final : public Executor {
 public:
  explicit LocalExecutor(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  Status Load(const RuntimeConfig& config, const LoadProgressHandler& progress);

  const EngineInfo& info() const override { return info_; }
  int max_steps_in_flight() const override {
    return backend_->asynchronous() ? ModelRunner::kMaxStepsInFlight : 1;
  }
  void Submit(std::shared_ptr<const StepPlan> plan) override {
    if (backend_->asynchronous()) {
      runner_->Launch(*plan);
    } else {
      plans_.push_back(std::move(plan));
    }
  }
  StepOutput Finish() override {
    if (!backend_->asynchronous()) {
      QUIRE_CHECK(!plans_.empty());
      runner_->Launch(*plans_.front());
      plans_.pop_front();
    }
    return runner_->Collect();
  }
  Status StartProfile() override { return backend_->StartProfile(); }
  DeviceProfile StopProfile() override { return backend_->StopProfile(); }

 private:
  Status FillInfo(const RuntimeConfig& config, const Json& model_config);
  Status ReadWeights(const RuntimeConfig& config, const Json& model_config,
                     const LoadProgressHandler& progress);
  Status BuildRunner(const RuntimeConfig& config);
  Result<std::int64_t> NumBlocks(const RuntimeConfig& config, std::size_t block_bytes) const;

  std::unique_ptr<Backend> backend_;
  SoloCommunicator solo_;
  ModelShape shape_;
  DType dtype_ = DType::kF32;
  std::unique_ptr<CausalLm> model_;
  std::unique_ptr<ModelRunner> runner_;
  std::deque<std::shared_ptr<const StepPlan>> plans_;
  EngineInfo info_;
};

Result<DType> ChooseDType(const std::string& name, const ModelShape& shape,
                          const Backend& backend) {
  std::optional<DType> dtype;
  if (name == "auto") dtype = shape.stored_dtype;
  if (name == "float32" || name == "float") dtype = DType::kF32;
  if (name == "bfloat16") dtype = DType::kBF16;
  if (name == "float16" || name == "half") dtype = DType::kF16;
  if (!dtype)
    return ConfigFault("--dtype: '" + name + "' is none of auto, float32, bfloat16, float16");
  if (!backend.Supports(*dtype))
    return ConfigFault(
        fmt::format("--dtype: {} does not run on {}", Name(*dtype), backend.Describe()));
  return *dtype;
}

Status LocalExecutor::Load(const RuntimeConfig& config, const LoadProgressHandler& progress) {
  auto model_config = ReadJsonFile(config.model_folder / "config.json");
  if (!model_config) return model_config.error();
  QUIRE_RETURN_IF_ERROR(FillInfo(config, *model_config));
  try {
    QUIRE_RETURN_IF_ERROR(ReadWeights(config, *model_config, progress));
    return BuildRunner(config);
  } catch (const LoadError& error) {
    return ModelFault(error.what());
  } catch (const std::bad_alloc&) {
    return Error{ErrorKind::kDevice, "there is not enough memory for the model's weights", "", ""};
  }
}

Status LocalExecutor::FillInfo(const RuntimeConfig& config, const Json& model_config) {
  auto shape = ReadModelShape(model_config);
  if (!shape) return shape.error();
  shape_ = *shape;
  auto dtype = ChooseDType(config.dtype, shape_, *backend_);
  if (!dtype) return dtype.error();
  dtype_ = *dtype;
  auto eos = ReadEosTokenIds(config.model_folder, shape_.vocab_size);
  if (!eos) return eos.error();
  info_ =
      LimitsOf(config, shape_.vocab_size, shape_.max_position_embeddings, backend_->device().kind);
  if (config.max_model_len > shape_.max_position_embeddings) {
    return ConfigFault(fmt::format("--max-model-len: {} is more than the model's {} positions",
                                   config.max_model_len, shape_.max_position_embeddings));
  }
  info_.architecture = shape_.architecture;
  info_.dtype = Name(dtype_);
  info_.device = backend_->Describe();
  info_.eos_token_ids = *eos;
  return {};
}

Status LocalExecutor::ReadWeights(const RuntimeConfig& config, const Json& model_config,
                                  const LoadProgressHandler& progress) {
  std::shared_ptr<const TensorStore> store;
  if (config.load_format == LoadFormat::kDummy) {
    store = MakeDummyStore(config.seed, dtype_);
  } else {
    auto opened = OpenSafetensors(config.model_folder);
    if (!opened) return opened.error();
    store = *opened;
  }
  std::size_t done = 0;
  BuildContext context{.backend = *backend_,
                       .parallel = {},
                       .tp = solo_,
                       .dtype = dtype_,
                       .kv_dtype = dtype_,
                       .layers = {0, shape_.num_layers},
                       .max_positions = info_.max_model_len,
                       .loaded = [&](std::size_t bytes) {
                         done += bytes;
                         if (progress) progress(done, store->num_bytes());
                       }};
  const std::size_t before = backend_->Memory().available;
  model_ = BuildModel(model_config, WeightSource(store), context);
  const std::size_t after = backend_->Memory().available;
  info_.weight_bytes = static_cast<std::int64_t>(
      store->num_bytes() != 0 ? store->num_bytes() : before - std::min(before, after));
  const std::vector<std::string> unused = store->Unused();
  if (!unused.empty())
    LogWarning("{} tensors of the checkpoint are not used, {} among them", unused.size(),
               unused[0]);
  return {};
}

Result<std::int64_t> LocalExecutor::NumBlocks(const RuntimeConfig& config,
                                              std::size_t block_bytes) const {
  if (config.num_blocks_override > 0) return config.num_blocks_override;
  const std::size_t available = backend_->Memory().available;
  std::size_t bytes =
      static_cast<std::size_t>(static_cast<double>(available) * config.memory_utilization);
  if (backend_->device().kind == DeviceKind::kCpu) bytes = std::min(bytes, kDefaultCpuCacheBytes);
  if (config.kv_cache_memory_bytes > 0)
    bytes = static_cast<std::size_t>(config.kv_cache_memory_bytes);
  const auto blocks = static_cast<std::int64_t>(bytes / block_bytes);
  const std::int64_t needed = (info_.max_model_len + config.block_size - 1) / config.block_size;
  if (blocks < 1 || (config.max_model_len > 0 && blocks < needed)) {
    return Error{ErrorKind::kDevice,
                 fmt::format("the KV cache has room for {} tokens in {} MiB, but one sequence of "
                             "--max-model-len {} needs {} MiB: lower it, or raise "
                             "--kv-cache-memory-bytes",
                             blocks * config.block_size, bytes >> 20, info_.max_model_len,
                             static_cast<std::size_t>(needed) * block_bytes >> 20),
                 "", ""};
  }
  return blocks;
}

Status LocalExecutor::BuildRunner(const RuntimeConfig& config) {
  const std::vector<KvLayerSpec> layers = model_->KvLayers();
  auto num_blocks = NumBlocks(config, KvCache::BlockBytes(*backend_, layers, config.block_size));
  if (!num_blocks) return num_blocks.error();
  auto cache = KvCache::Make(*backend_, layers, config.block_size, *num_blocks);
  if (!cache) return cache.error();
  info_.num_blocks = *num_blocks;
  info_.kv_cache_bytes = *num_blocks * static_cast<std::int64_t>(KvCache::BlockBytes(
                                           *backend_, layers, config.block_size));
  auto runner = ModelRunner::Make(*backend_, solo_, *model_, std::move(cache).value(),
                                  backend_->ActivationDType(dtype_),
                                  {info_.max_num_seqs, info_.max_num_batched_tokens,
                                   info_.max_model_len, info_.vocab_size, info_.eos_token_ids});
  if (!runner) return runner.error();
  runner_ = std::move(runner).value();
  return {};
}

}  // namespace

Result<std::unique_ptr<Executor>> LoadExecutor(const RuntimeConfig& config,
                                               const LoadProgressHandler& progress) {
  if (config.device == "null") return MakeNullExecutor(config);
  auto backend = MakeBackend(config);
  if (!backend) return backend.error();
  auto executor = std::make_unique<LocalExecutor>(std::move(backend).value());
  QUIRE_RETURN_IF_ERROR(executor->Load(config, progress));
  return std::unique_ptr<Executor>(std::move(executor));
}

}  // namespace quire
