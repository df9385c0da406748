#include "rank.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "weights/model_folder.h"

namespace quire::testing_models {
namespace {

void Need(Status status) {
  if (!status.ok()) throw LoadError(status.error().message);
}

template <class T>
T Need(Result<T> result) {
  if (!result) throw LoadError(result.error().message);
  return std::move(result).value();
}

}  // namespace

std::string FixtureName(const testing::TestParamInfo<const char*>& fixture) {
  return fixture.param;
}

std::string FixtureFolder(const std::string& name) {
  const char* moved = std::getenv("QUIRE_MODEL_FIXTURES");  // where the build folder is not at hand
  return std::string(moved != nullptr ? moved : QUIRE_MODEL_FIXTURES) + "/" + name;
}

Json ReadConfig(const std::string& folder) {
  return Need(ReadJsonFile(std::filesystem::path(folder) / "config.json"));
}

WeightSource OpenWeights(const std::string& folder) {
  return WeightSource(Need(OpenSafetensors(folder)));
}

RankUnderTest::RankUnderTest(const Json& config, const WeightSource& weights, Communicator& tp,
                             const RankOptions& options)
    : options_(options),
      tp_(tp),
      shape_(Need(ReadModelShape(config))),
      backend_(MakeTestBackend(options.num_threads)) {
  BuildContext context{*backend_, options.parallel, tp};
  context.dtype = options.dtype;
  context.kv_dtype = options.dtype;
  context.layers.last = shape_.num_layers;
  context.max_positions = options.max_positions;
  context.loaded = [this](std::size_t bytes) { loaded_bytes_ += bytes; };
  model_ = BuildModel(config, weights, context);
  const std::int64_t num_blocks = options.max_positions / kBlockSize + 1;
  for (const KvLayerSpec& spec : model_->KvLayers()) {
    cache_memory_.push_back(Need(backend_->Allocate(static_cast<std::size_t>(num_blocks) *
                                                    backend_->KvBlockBytes(spec, kBlockSize))));
    cache_.push_back({spec, kBlockSize, num_blocks, cache_memory_.back().data()});
  }
  Need(backend_->PrepareSteps({1, options.max_positions}, cache_));
  const std::size_t inputs = static_cast<std::size_t>(options.max_positions) * 64;
  arena_ = Arena(Need(backend_->Allocate(
      inputs + model_->ArenaBytes(options.max_positions, options.max_positions))));
}

Tensor RankUnderTest::Upload(const std::vector<std::int32_t>& values) {
  const Tensor tensor = arena_.Take(DType::kI32, {static_cast<std::int64_t>(values.size())});
  backend_->CopyToDevice(values.data(), tensor);
  return tensor;
}

AttentionBatch RankUnderTest::BatchOf(int first, int count) {
  const int last_block = options_.max_positions / kBlockSize;
  std::vector<std::int32_t> table, positions, slots;
  // Blocks from the last to the first: a cache that is contiguous by accident would hide mistakes.
  for (int block = 0; block <= last_block; ++block) table.push_back(last_block - block);
  for (int position = first; position < first + count; ++position) {
    positions.push_back(position);
    slots.push_back((last_block - position / kBlockSize) * kBlockSize + position % kBlockSize);
  }
  AttentionBatch batch;
  batch.num_sequences = 1;
  batch.num_tokens = count;
  batch.max_query_len = count;
  batch.max_context_len = first + count;
  query_start_ = {0, count};
  context_len_ = {first + count};
  block_start_ = {0, last_block + 1};
  batch.query_start = Upload(query_start_);
  batch.context_len = Upload(context_len_);
  batch.block_start = Upload(block_start_);
  batch.host_query_start = query_start_;
  batch.host_context_len = context_len_;
  batch.host_block_start = block_start_;
  batch.blocks = Upload(table);
  batch.positions = Upload(positions);
  batch.kv_slots = Upload(slots);
  return batch;
}

std::vector<float> RankUnderTest::Run(std::span<const TokenId> ids, int first) {
  arena_.Reset();
  const AttentionBatch batch = BatchOf(first, static_cast<int>(ids.size()));
  ForwardContext fwd{*backend_, tp_,   arena_, backend_->ActivationDType(options_.dtype),
                     batch,     cache_};
  const Tensor tokens = Upload(std::vector<std::int32_t>(ids.begin(), ids.end()));
  backend_->BeginStep(batch, cache_);
  const Hidden hidden = model_->Forward(fwd, {model_->EmbedTokens(fwd, tokens), {}});
  const Tensor logits = model_->Logits(fwd, hidden.x);
  std::vector<float> values(static_cast<std::size_t>(logits.num_elements()));
  backend_->CopyToHost(logits, values.data());
  return values;
}

}  // namespace quire::testing_models
