#include "bench/dataset.h"

#include <fmt/format.h>

#include <string_view>

#include "bench/dataset_makers.h"

namespace quire {
namespace {

struct DatasetKind {
  std::string_view name;
  bool needs_path;
  bool needs_codec;
  bool may_take_all;  // num_prompts 0
  Result<BenchWorkload> (*make)(const DatasetOptions& options, PromptCodec* codec);
};

template <Result<BenchWorkload> (*make)(const DatasetOptions&, PromptCodec&)>
Result<BenchWorkload> WithCodec(const DatasetOptions& options, PromptCodec* codec) {
  return make(options, *codec);
}

constexpr DatasetKind kDatasetKinds[] = {
    {"random", false, true, false, WithCodec<MakeRandomWorkload>},
    {"prefix_repetition", false, true, false, WithCodec<MakePrefixRepetition>},
    {"sharegpt", true, true, true, WithCodec<MakeShareGpt>},
    {"custom", true, false, true, MakeCustom},
    {"sonnet", true, true, false, WithCodec<MakeSonnet>},
    {"azure", true, true, true, WithCodec<MakeAzureReplay>},
    {"mooncake", true, true, true, WithCodec<MakeMooncakeReplay>},
};
constexpr DatasetKind kSyntheticTurns = {"multi_turn", false, true, false,
                                         WithCodec<MakeSyntheticTurns>};
constexpr DatasetKind kFileTurns = {"multi_turn", true, false, true, MakeFileTurns};

const DatasetKind* FindKind(const DatasetOptions& options) {
  if (options.name == "multi_turn") return options.path.empty() ? &kSyntheticTurns : &kFileTurns;
  for (const DatasetKind& kind : kDatasetKinds) {
    if (options.name == kind.name) return &kind;
  }
  return nullptr;
}

Status CheckLength(std::string_view flag, int value, int least) {
  if (value >= least && value <= kMaxPromptTokens) return {};
  return ConfigFault(fmt::format("{}: {} is not in {}..{}", flag, value, least, kMaxPromptTokens));
}

Status CheckLengths(const DatasetOptions& options) {
  QUIRE_RETURN_IF_ERROR(CheckLength("--random-prefix-len", options.random_prefix_len, 0));
  QUIRE_RETURN_IF_ERROR(CheckLength("--random-input-len", options.random_input_len,
                                    options.random_prefix_len > 0 ? 0 : 1));
  QUIRE_RETURN_IF_ERROR(CheckLength("--random-output-len", options.random_output_len, 1));
  QUIRE_RETURN_IF_ERROR(CheckLength("--prefix-repetition-prefix-len", options.prefix_len, 0));
  QUIRE_RETURN_IF_ERROR(CheckLength("--prefix-repetition-suffix-len", options.suffix_len,
                                    options.prefix_len > 0 ? 0 : 1));
  QUIRE_RETURN_IF_ERROR(CheckLength("--prefix-repetition-num-prefixes", options.num_prefixes, 1));
  QUIRE_RETURN_IF_ERROR(
      CheckLength("--prefix-repetition-output-len", options.prefix_output_len, 1));
  QUIRE_RETURN_IF_ERROR(CheckLength("--sonnet-input-len", options.sonnet_input_len, 1));
  QUIRE_RETURN_IF_ERROR(CheckLength("--sonnet-output-len", options.sonnet_output_len, 1));
  QUIRE_RETURN_IF_ERROR(CheckLength("--sonnet-prefix-len", options.sonnet_prefix_len, 0));
  QUIRE_RETURN_IF_ERROR(CheckLength("the dataset's output length", options.output_len, 0));
  return CheckLength("--max-input-len", options.max_input_len, 0);
}

Status CheckOptions(const DatasetOptions& options, const DatasetKind& kind) {
  QUIRE_RETURN_IF_ERROR(CheckLengths(options));
  if (options.num_prompts < (kind.may_take_all ? 0 : 1)) {
    return ConfigFault(fmt::format("--num-prompts: {} is too few", options.num_prompts));
  }
  if (!(options.random_range_ratio >= 0 && options.random_range_ratio < 1)) {
    return ConfigFault(
        fmt::format("--random-range-ratio: {} is not in [0, 1)", options.random_range_ratio));
  }
  if (!(options.trace_speed >= 1e-6 && options.trace_speed <= 1e6)) {
    return ConfigFault(
        fmt::format("--trace-speed: {} is not in 0.000001..1000000", options.trace_speed));
  }
  if (!(options.think_s >= 0 && options.think_s <= 1e6)) {
    return ConfigFault(fmt::format("think time: {} is not in 0..1000000 seconds", options.think_s));
  }
  if (options.turns < 1 || options.turns > 10000) {
    return ConfigFault(fmt::format("--turns: {} is not in 1..10000", options.turns));
  }
  if (kind.needs_path && options.path.empty()) {
    return ConfigFault(
        fmt::format("--dataset-path is missing: --dataset-name {} is a file", options.name));
  }
  return {};
}

}  // namespace

Result<BenchWorkload> MakeWorkload(const DatasetOptions& options, PromptCodec* codec) {
  const DatasetKind* kind = FindKind(options);
  if (kind == nullptr) {
    return ConfigFault(
        fmt::format("--dataset-name: '{}' is none of random, prefix_repetition, sharegpt, custom, "
                    "sonnet, azure, mooncake, multi_turn",
                    options.name));
  }
  QUIRE_RETURN_IF_ERROR(CheckOptions(options, *kind));
  if (codec == nullptr && (kind->needs_codec || options.token_ids)) {
    return ConfigFault(
        fmt::format("--dataset-name {} counts tokens{}: give --tokenizer FOLDER, as the server has "
                    "no /tokenize",
                    options.name, kind->needs_codec ? "" : " to send ids"));
  }
  return kind->make(options, codec);
}

}  // namespace quire
