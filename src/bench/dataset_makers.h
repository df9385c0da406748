// One function a dataset; dataset.cpp has checked the options and picks.
#pragma once

#include "base/result.h"
#include "bench/dataset.h"
#include "bench/prompt_codec.h"
#include "bench/workload.h"

namespace quire {

constexpr int kMaxPromptTokens = 1 << 22;  // of one prompt or answer; more is a mistake in a file

Result<BenchWorkload> MakeRandomWorkload(const DatasetOptions& options, PromptCodec& codec);
Result<BenchWorkload> MakePrefixRepetition(const DatasetOptions& options, PromptCodec& codec);
Result<BenchWorkload> MakeSyntheticTurns(const DatasetOptions& options, PromptCodec& codec);

Result<BenchWorkload> MakeAzureReplay(const DatasetOptions& options, PromptCodec& codec);
Result<BenchWorkload> MakeMooncakeReplay(const DatasetOptions& options, PromptCodec& codec);

Result<BenchWorkload> MakeShareGpt(const DatasetOptions& options, PromptCodec& codec);
Result<BenchWorkload> MakeSonnet(const DatasetOptions& options, PromptCodec& codec);
// codec: may be null
Result<BenchWorkload> MakeCustom(const DatasetOptions& options, PromptCodec* codec);
Result<BenchWorkload> MakeFileTurns(const DatasetOptions& options, PromptCodec* codec);

}  // namespace quire
