// From logits to tokens: which kernels a call needs; see sampling.h.
#include "backend/cuda/kernels/sampling.h"

#include <algorithm>

#include "backend/cuda/kernels/sampling_kernels.h"

namespace quire::cuda {
namespace {

sampling::Scratch ScratchOf(void* memory, std::int64_t vocab) {
  return {static_cast<char*>(memory),
          static_cast<std::int32_t>(CeilDiv<std::int64_t>(vocab, sampling::kTile))};
}

__global__ void CountTokens(std::int32_t* counts, std::int64_t vocab, const TokenId* prompt,
                            std::int64_t prompt_size, const TokenId* output,
                            std::int64_t output_size) {
  WaitForPrevious();
  LetNextStart();
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < prompt_size) {
    const TokenId token = prompt[i];
    if (token >= 0 && token < vocab) atomicOr(counts + token, kInPrompt);
  } else if (i - prompt_size < output_size) {
    const TokenId token = output[i - prompt_size];
    if (token >= 0 && token < vocab) atomicAdd(counts + token, 1);
  }
}

}  // namespace

SamplingNeeds NeedsOf(std::span<const SamplingRow> rows, std::int64_t vocab) {
  SamplingNeeds needs;
  for (const SamplingRow& row : rows) {
    if (row.slot < 0) continue;
    const bool random = row.temperature >= sampling::kGreedyBelow;
    const bool changes = row.has_penalties() || row.bias_begin != row.bias_end ||
                         row.allowed_begin != row.allowed_end || row.banned_begin != row.banned_end;
    needs.random |= random;
    const bool top_k = row.top_k > 0 && row.top_k < vocab;
    needs.truncation |= random && (top_k || row.top_p < 1.0F || row.min_p > 0.0F);
    needs.check |= random && (top_k || row.top_p < 1.0F) &&
                   !sampling::ListsDirectly(top_k ? row.top_k : 0, vocab);
    needs.changes |= changes;
    needs.ranks |= row.num_logprobs >= 0 && (random || changes);
    needs.top = std::max(needs.top, row.num_logprobs);
  }
  return needs;
}

std::size_t SamplingScratchBytes(std::int32_t rows, std::int64_t vocab) {
  return sizeof(sampling::Head) +
         ScratchOf(nullptr, vocab).row_bytes() * static_cast<std::size_t>(rows);
}

void Sample(const SamplingArgs& args, const SamplingNeeds& needs, void* scratch,
            cudaStream_t stream) {
  if (args.rows <= 0) return;
  const sampling::Scratch parts = ScratchOf(scratch, args.vocab);
  sampling::LaunchScan(args, needs, {}, parts, stream);
  if (needs.check) {
    sampling::LaunchCheck(args, needs, parts, stream);
    sampling::LaunchFindCut(args, needs, parts, stream);
  }
  if (needs.truncation) sampling::LaunchDraw(args, needs, parts, stream);
  const bool best = std::min(needs.top, args.max_top) > 0;
  if (best) sampling::LaunchFindBest(args, {}, parts, stream);
  if (best || needs.ranks) sampling::LaunchRank(args, {}, parts, stream);
}

void ScoreTokens(const SamplingArgs& args, std::int32_t num_top, void* scratch,
                 cudaStream_t stream) {
  if (args.rows <= 0) return;
  const sampling::Scratch parts = ScratchOf(scratch, args.vocab);
  const sampling::Score score{true, std::min(num_top, args.max_top)};
  sampling::LaunchScan(args, {}, score, parts, stream);
  if (score.top > 0) sampling::LaunchFindBest(args, score, parts, stream);
  sampling::LaunchRank(args, score, parts, stream);
}

void ResetSlot(std::int32_t* counts, std::int64_t vocab, const TokenId* prompt,
               std::int64_t prompt_size, const TokenId* output, std::int64_t output_size,
               cudaStream_t stream) {
  constexpr int kThreads = 256;
  cudaMemsetAsync(counts, 0, sizeof(std::int32_t) * static_cast<std::size_t>(vocab), stream);
  const std::int64_t size = prompt_size + output_size;
  if (size <= 0) return;
  const auto blocks = static_cast<unsigned>(CeilDiv<std::int64_t>(size, kThreads));
  Launch(CountTokens, blocks, kThreads, 0, stream, counts, vocab, prompt, prompt_size, output,
         output_size);
}

}  // namespace quire::cuda
