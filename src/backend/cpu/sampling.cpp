#include "backend/cpu/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/selection.h"

namespace quire::cpu {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr float kGreedyBelow = 1e-5F;  // temperatures that divide no better than 0

bool IsGreedy(const SamplingRow& how) { return !(how.temperature >= kGreedyBelow); }

// [0, 1) from (seed, index) alone: two rounds of the splitmix64 finaliser, 53 bits of it.
double Uniform(std::uint64_t seed, std::int32_t index) {
  const auto mix = [](std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return x ^ (x >> 31);
  };
  const std::uint64_t step = 0x9E3779B97F4A7C15U;
  const std::uint64_t start = mix(seed + step);
  const std::uint64_t bits = mix(start + step * (static_cast<std::uint32_t>(index) + 1ULL));
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

void ApplyPenalties(const SamplingRow& how, const std::int32_t* counts, std::int64_t vocab,
                    float* logits) {
  for (std::int64_t i = 0; i < vocab; ++i) {
    const std::int32_t count = counts[i];
    if (count == 0) continue;
    float x = logits[i];
    x = x > 0.0F ? x / how.repetition_penalty : x * how.repetition_penalty;
    const std::int32_t generated = count & ~kInPrompt;
    if (generated > 0) {
      x -= how.frequency_penalty * static_cast<float>(generated) + how.presence_penalty;
    }
    logits[i] = x;
  }
}

bool InVocabulary(TokenId token, std::int64_t vocab) { return token >= 0 && token < vocab; }

void KeepAllowed(std::span<const TokenId> allowed, std::int64_t vocab, float* logits,
                 float* spare) {
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    spare[i] = InVocabulary(allowed[i], vocab) ? logits[allowed[i]] : kNone;
  }
  std::fill_n(logits, vocab, kNone);
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    if (InVocabulary(allowed[i], vocab)) logits[allowed[i]] = spare[i];
  }
}

template <class T>
std::span<const T> Part(std::span<const T> all, std::int32_t begin, std::int32_t end) {
  return all.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

bool ChangesLogits(const SamplingRow& how) {
  return how.has_penalties() || how.bias_begin != how.bias_end ||
         how.allowed_begin != how.allowed_end || how.banned_begin != how.banned_end;
}

}  // namespace

struct RowSampler::Row {
  std::int64_t vocab = 0;
  float* logits = nullptr;        // of the call
  float* raw = nullptr;           // [vocab] scratch: the logits before they are changed
  float* weights = nullptr;       // [vocab] scratch
  std::uint64_t* keys = nullptr;  // [vocab] scratch
};

void RowSampler::ReserveScratch(std::int64_t vocab) {
  scratch_.Get<std::uint64_t>(2 * vocab * pool_.num_threads());
}

RowSampler::Row RowSampler::RowOf(const Tensor& logits, std::int64_t row, int thread) const {
  Row r;
  r.vocab = logits.dim(1);
  r.logits = logits.data<float>() + row * logits.row_stride();
  r.keys = static_cast<std::uint64_t*>(scratch_.data()) + 2 * r.vocab * thread;
  r.raw = reinterpret_cast<float*>(r.keys + r.vocab);
  r.weights = r.raw + r.vocab;
  return r;
}

void RowSampler::Sample(const Tensor& logits, const SamplingBatch& batch, const SamplerState& state,
                        const SampledRows& out) {
  ReserveScratch(logits.dim(1));
  const auto rows = static_cast<std::int64_t>(batch.rows.size());
  pool_.ParallelFor(rows, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t i = begin; i < end; ++i) {
      SampleRow(batch, state, i, RowOf(logits, i, thread), out);
    }
  });
}

void RowSampler::SampleRow(const SamplingBatch& batch, const SamplerState& state,
                           std::int64_t index, const Row& row, const SampledRows& out) const {
  const auto i = static_cast<std::size_t>(index);
  const SamplingRow& how = batch.rows[i];
  out.tokens[i] = -1;
  out.faults[i] = 1;
  const float raw_max = kernels_.max(row.logits, row.vocab);
  if (!std::isfinite(raw_max)) return;

  const float* raw = row.logits;
  std::int32_t* counts = nullptr;
  if (how.has_penalties() && !state.token_counts.empty()) {
    counts = state.token_counts.data<std::int32_t>() + how.slot * state.token_counts.row_stride();
  }
  float max = raw_max;
  if (ChangesLogits(how)) {
    if (how.num_logprobs >= 0) {
      std::copy_n(row.logits, row.vocab, row.raw);
      raw = row.raw;
    }
    if (counts != nullptr) ApplyPenalties(how, counts, row.vocab, row.logits);
    for (const TokenBias& bias : Part(batch.biases, how.bias_begin, how.bias_end)) {
      if (InVocabulary(bias.token, row.vocab)) row.logits[bias.token] += bias.bias;
    }
    if (how.allowed_begin != how.allowed_end) {
      // A list longer than the vocabulary repeats itself: its head would not fit the scratch.
      const auto allowed = Part(batch.allowed, how.allowed_begin, how.allowed_end);
      KeepAllowed(allowed.first(std::min(allowed.size(), static_cast<std::size_t>(row.vocab))),
                  row.vocab, row.logits, row.weights);
    }
    for (const TokenId banned : Part(batch.banned, how.banned_begin, how.banned_end)) {
      if (InVocabulary(banned, row.vocab)) row.logits[banned] = kNone;
    }
    max = kernels_.max(row.logits, row.vocab);
    if (!std::isfinite(max)) return;
  }

  const TokenId token = IsGreedy(how) ? FirstOf(row.logits, row.vocab, max) : Draw(how, row, max);
  out.tokens[i] = token;
  out.faults[i] = 0;
  if (how.num_logprobs >= 0) {
    FillLogprobs(row, raw, raw_max, index, token, std::min(how.num_logprobs, out.max_top), out);
  }
  if (!state.last_token.empty()) state.last_token.data<TokenId>()[how.slot] = token;
  if (counts != nullptr) ++counts[token];
}

TokenId RowSampler::Draw(const SamplingRow& how, const Row& row, float max) const {
  // Weights relative to the best token; tokens that min_p, top_k or top_p drop get none.
  kernels_.exp_sum(row.logits, max, 1.0F / how.temperature, row.vocab, row.weights);
  Candidates candidates{row.weights, row.keys, row.vocab};
  if (how.min_p > 0.0F) candidates.DropBelow(how.min_p);
  if (how.top_k > 0 && how.top_k < row.vocab) candidates.KeepBest(how.top_k);
  if (how.top_p < 1.0F) candidates.KeepMass(how.top_p);
  return candidates.Pick(Uniform(how.seed, how.output_index));
}

void RowSampler::FillLogprobs(const Row& row, const float* raw, float max, std::int64_t index,
                              TokenId token, std::int32_t num_top, const SampledRows& out) const {
  const auto i = static_cast<std::size_t>(index);
  const double sum = kernels_.exp_sum(raw, max, 1.0F, row.vocab, nullptr);
  const double log_sum = static_cast<double>(max) + std::log(sum);
  const auto logprob = [&](TokenId id) {
    return static_cast<float>(static_cast<double>(raw[id]) - log_sum);
  };
  out.logprobs[i] = logprob(token);
  out.ranks[i] = 1 + CountGreater(raw, row.vocab, raw[token]);
  if (num_top <= 0) return;
  TokenLogprob* top = out.top.data() + i * static_cast<std::size_t>(out.max_top);
  const auto found = BestTokens(raw, row.vocab, num_top, row.keys);
  for (std::size_t j = 0; j < found.size(); ++j) {
    const TokenId id = TokenOf(found[j]);
    top[j] = {id, logprob(id)};
  }
}

void RowSampler::Score(const Tensor& logits, std::int32_t num_top, const SampledRows& out) {
  ReserveScratch(logits.dim(1));
  pool_.ParallelFor(logits.rows(), 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t index = begin; index < end; ++index) {
      const Row row = RowOf(logits, index, thread);
      const auto i = static_cast<std::size_t>(index);
      const float max = kernels_.max(row.logits, row.vocab);
      const bool good = std::isfinite(max) && InVocabulary(out.tokens[i], row.vocab);
      out.faults[i] = good ? 0 : 1;
      if (good) FillLogprobs(row, row.logits, max, index, out.tokens[i], num_top, out);
    }
  });
}

void RowSampler::ResetSlot(const SamplerState& state, SlotId slot, std::span<const TokenId> prompt,
                           std::span<const TokenId> output) {
  if (state.token_counts.empty()) return;
  const std::int64_t vocab = state.token_counts.dim(1);
  std::int32_t* counts =
      state.token_counts.data<std::int32_t>() + slot.value * state.token_counts.row_stride();
  std::fill_n(counts, vocab, 0);
  for (const TokenId token : prompt) {
    if (InVocabulary(token, vocab)) counts[token] = kInPrompt;
  }
  for (const TokenId token : output) {
    if (InVocabulary(token, vocab)) ++counts[token];
  }
}

}  // namespace quire::cpu
