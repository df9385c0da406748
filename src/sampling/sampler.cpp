#include "sampling/sampler.h"

#include <algorithm>
#include <new>
#include <utility>

namespace quire {
namespace {

std::size_t Index(SlotId slot) { return static_cast<std::size_t>(slot.value); }

template <class T>
std::int32_t Size(const std::vector<T>& values) {
  return static_cast<std::int32_t>(values.size());
}

}  // namespace

Result<Sampler> Sampler::Make(Backend& backend, std::int32_t num_slots, std::int64_t vocab_size) {
  const auto slots = static_cast<std::size_t>(num_slots);
  auto memory =
      backend.Allocate(slots * (static_cast<std::size_t>(vocab_size) + 1) * sizeof(std::int32_t));
  if (!memory) return memory.error();
  return Sampler(backend, std::move(memory).value(), num_slots, vocab_size);
}

Sampler::Sampler(Backend& backend, Buffer memory, std::int32_t num_slots, std::int64_t vocab_size)
    : backend_(&backend), memory_(std::move(memory)), slots_(static_cast<std::size_t>(num_slots)) {
  auto* words = static_cast<std::int32_t*>(memory_.data());
  state_.last_token = Tensor(words, DType::kI32, {num_slots}, memory_.device());
  state_.token_counts =
      Tensor(words + num_slots, DType::kI32, {num_slots, vocab_size}, memory_.device());
}

void Sampler::StartSlot(SlotId slot, SlotSampling sampling, std::span<const TokenId> prompt,
                        std::span<const TokenId> output) {
  Slot& state = slots_[Index(slot)];
  state.sampling = std::move(sampling);
  state.history.clear();
  std::erase_if(unread_, [slot](const auto& entry) { return entry.first == slot; });
  if (!state.sampling.bad_words.empty()) {
    state.history.assign(prompt.begin(), prompt.end());
    state.history.insert(state.history.end(), output.begin(), output.end());
  }
  if (state.sampling.row.has_penalties()) backend_->ResetSlot(state_, slot, prompt, output);
}

// A bad word's last token is masked while the tokens before it are the newest ones.
void Sampler::BanCompletions(const Slot& slot) {
  for (const std::vector<TokenId>& word : slot.sampling.bad_words) {
    const std::size_t before = word.size() - 1;
    if (before <= slot.history.size() &&
        std::equal(word.begin(), word.end() - 1,
                   slot.history.end() - static_cast<std::ptrdiff_t>(before))) {
      banned_.push_back(word.back());
    }
  }
}

void Sampler::AddRow(const SampleRequest& request) {
  const Slot& slot = slots_[Index(request.slot)];
  SamplingRow row = slot.sampling.row;
  row.slot = request.slot.value;
  row.output_index = request.output_index;
  row.bias_begin = Size(biases_);
  biases_.insert(biases_.end(), slot.sampling.biases.begin(), slot.sampling.biases.end());
  row.bias_end = Size(biases_);
  row.allowed_begin = Size(allowed_);
  allowed_.insert(allowed_.end(), slot.sampling.allowed.begin(), slot.sampling.allowed.end());
  row.allowed_end = Size(allowed_);
  row.banned_begin = Size(banned_);
  if (request.ban_stop_tokens) {
    banned_.insert(banned_.end(), slot.sampling.stop_tokens.begin(),
                   slot.sampling.stop_tokens.end());
  }
  BanCompletions(slot);
  row.banned_end = Size(banned_);
  rows_.push_back(row);
}

void SampledSet::Size(Backend& backend, std::size_t rows, std::int32_t max_top) {
  const std::size_t num_top = rows * static_cast<std::size_t>(max_top);
  const std::size_t bytes =
      rows * (sizeof(TokenId) + sizeof(float) + sizeof(std::int32_t) + sizeof(std::uint8_t)) +
      num_top * sizeof(TokenLogprob);
  if (memory_.bytes() < bytes) {
    memory_ = {};
    auto memory = backend.AllocateHost(bytes + bytes / 2);
    if (!memory) throw std::bad_alloc();
    memory_ = std::move(memory).value();
  }
  auto* top = static_cast<TokenLogprob*>(memory_.data());
  auto* tokens = reinterpret_cast<TokenId*>(top + num_top);
  auto* logprobs = reinterpret_cast<float*>(tokens + rows);
  auto* ranks = reinterpret_cast<std::int32_t*>(logprobs + rows);
  auto* faults = reinterpret_cast<std::uint8_t*>(ranks + rows);
  rows_ = {{tokens, rows}, {faults, rows}, {logprobs, rows},
           {ranks, rows},  {top, num_top}, max_top};
}

// Bad words look at the newest token, which is the only thing of a step in flight that the host
// must wait for before it can sample the next.
void Sampler::ReadHistory() {
  if (unread_.empty()) return;
  backend_->WaitFor(latest_->mark());
  for (const auto& [slot, row] : unread_)
    slots_[Index(slot)].history.push_back(latest_->rows().tokens[row]);
  unread_.clear();
}

void Sampler::Sample(const Tensor& logits, std::span<const SampleRequest> requests,
                     SampledSet& out) {
  const BackendRange range(*backend_, "sample", static_cast<std::int64_t>(requests.size()));
  ReadHistory();
  rows_.clear();
  biases_.clear();
  allowed_.clear();
  banned_.clear();
  std::int32_t max_top = 0;
  for (const SampleRequest& request : requests) {
    AddRow(request);
    max_top = std::max(max_top, rows_.back().num_logprobs);
  }
  out.Size(*backend_, requests.size(), max_top);
  backend_->Sample(logits, {rows_, biases_, allowed_, banned_}, state_, out.rows());
  out.mark_ = backend_->Mark();
  latest_ = &out;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (!slots_[Index(requests[i].slot)].sampling.bad_words.empty())
      unread_.emplace_back(requests[i].slot, i);
  }
}

void Sampler::Score(const Tensor& logits, std::span<const TokenId> tokens, std::int32_t num_top,
                    SampledSet& out) {
  out.Size(*backend_, tokens.size(), num_top);
  std::copy(tokens.begin(), tokens.end(), out.rows().tokens.begin());
  backend_->ScoreTokens(logits, num_top, out.rows());
  out.mark_ = backend_->Mark();
  backend_->WaitFor(out.mark_);
}

}  // namespace quire
