#include "server/answer_job.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <random>
#include <utility>

#include "base/log.h"
#include "server/api_error.h"

namespace quire {
namespace {

AnswerOptions WriterOptions(const AnswerPlan& plan, const ServerOptions& options,
                            const HttpExchange& exchange) {
  const GenerationFields& fields = plan.fields;
  AnswerOptions out;
  out.chat = plan.chat;
  out.id = (plan.chat ? "chatcmpl-" : "cmpl-") +
           (fields.request_id.empty() ? exchange.request_id() : fields.request_id);
  out.created = std::chrono::duration_cast<std::chrono::seconds>(
                    std::chrono::system_clock::now().time_since_epoch())
                    .count();
  out.model = options.served_model_names.front();
  out.role = options.response_role;
  out.echo = plan.echo;
  out.return_token_ids = fields.return_token_ids;
  out.tokens_as_ids = fields.tokens_as_ids;
  out.num_logprobs = fields.sampling.num_logprobs;
  out.num_prompt_logprobs = fields.num_prompt_logprobs;
  out.usage_in_chunks = fields.include_usage;
  out.show_cached_tokens = options.enable_prompt_tokens_details;
  return out;
}

// The seed of the choice with that index: the caller's own for the first, unrelated ones for the
// others.
std::uint64_t ChildSeed(std::uint64_t seed, std::uint64_t index) {
  if (index == 0) return seed;
  std::uint64_t x = seed + index * 0x9E3779B97F4A7C15ULL;  // splitmix64
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

std::uint64_t RandomSeed() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32U) | device();
}

}  // namespace

AnswerJob::AnswerJob(std::shared_ptr<ServerCore> core, std::shared_ptr<const ServedModel> model,
                     std::shared_ptr<HttpExchange> exchange, AnswerPlan plan,
                     Admission::Ticket ticket, TimePoint arrival)
    : core_(std::move(core)),
      model_(std::move(model)),
      exchange_(std::move(exchange)),
      plan_(std::move(plan)),
      ticket_(std::move(ticket)),
      arrival_(arrival),
      writer_(WriterOptions(plan_, core_->options, *exchange_), model_->tokenizer) {
  MakeSlots(plan_);
}

void AnswerJob::MakeSlots(const AnswerPlan& plan) {
  const GenerationFields& fields = plan.fields;
  ChoiceOptions options;
  options.stop = fields.stop;
  options.include_stop_text = fields.include_stop_text;
  options.skip_special_tokens = fields.skip_special_tokens;
  options.min_tokens = fields.sampling.min_tokens;
  options.discard_output = fields.max_tokens == 0;
  slots_.reserve(plan.prompts.size() * static_cast<std::size_t>(fields.n));
  for (std::size_t p = 0; p < plan.prompts.size(); ++p) {
    for (int i = 0; i < fields.n; ++i) {
      Slot slot{.id = core_->NewRequestId(),
                .choice = Choice(options, model_->tokenizer, model_->info.eos_token_ids),
                .max_tokens = plan.max_tokens[p]};
      slot.answer.index = static_cast<int>(slots_.size());
      slot.answer.prompt = plan.prompts[p].ids;
      slot.answer.prompt_text = plan.prompts[p].text;
      if (fields.sampling.num_prompt_logprobs >= 0)
        slot.answer.prompt_logprobs.resize(slot.answer.prompt.size());
      slots_.push_back(std::move(slot));
    }
  }
}

Request AnswerJob::MakeRequest(std::size_t slot, std::uint64_t seed) const {
  const GenerationFields& fields = plan_.fields;
  const auto n = static_cast<std::size_t>(fields.n);
  Request request;
  request.id = slots_[slot].id;
  request.prompt = slots_[slot].answer.prompt;
  request.sampling = fields.sampling;
  request.sampling.seed = ChildSeed(seed, slot % n);
  request.sampling.max_tokens = slots_[slot].max_tokens;
  request.sampling.bad_words = plan_.bad_words;
  request.cache_salt = fields.cache_salt;
  request.priority = fields.priority;
  return request;
}

void AnswerJob::Run() {
  ticket_.Accept();
  {
    // As if a worker were at the inbox already: no news is taken out before all are submitted.
    const std::lock_guard lock(mutex_);
    drained_ = true;
  }
  exchange_->OnClosed([weak = weak_from_this()] {
    if (auto self = weak.lock()) self->Tell({0, Now(), true, {}});
  });
  Status status;
  try {
    status = SubmitAll();
  } catch (const std::exception& error) {
    LogError("a request could not be submitted: {}", error.what());
    status =
        Error{ErrorKind::kInternal, "the request could not be submitted", "", "internal_error"};
  }
  if (!status) Fail(status.error());
  if (!ended_ && exchange_->closed()) Abandon();
  Drain();
}

Status AnswerJob::SubmitAll() {
  std::uint64_t seed = plan_.fields.seed ? *plan_.fields.seed : RandomSeed();
  const auto n = static_cast<std::size_t>(plan_.fields.n);
  for (std::size_t i = 0; i < slots_.size() && !exchange_->closed(); ++i) {
    if (i > 0 && i % n == 0 && !plan_.fields.seed) seed = RandomSeed();
    core_->AddActive(slots_[i].id);
    QUIRE_RETURN_IF_ERROR(core_->gateway.Submit(
        MakeRequest(i, seed), [self = shared_from_this(), i](RequestOutput output) {
          self->Tell({i, Now(), false, std::move(output)});
        }));
  }
  return {};
}

void AnswerJob::Tell(News news) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.push_back(std::move(news));
    if (drained_) return;
    drained_ = true;
  }
  core_->pool.Post([self = shared_from_this()] { self->Drain(); });
}

void AnswerJob::Drain() {
  for (;;) {
    std::vector<News> batch;
    {
      const std::lock_guard lock(mutex_);
      if (inbox_.empty()) {
        drained_ = false;
        return;
      }
      batch.swap(inbox_);
    }
    for (News& news : batch) {
      try {
        Take(news);
      } catch (const std::exception& error) {
        LogError("an answer could not be written: {}", error.what());
        Fail({ErrorKind::kInternal, "the answer could not be written", "", "internal_error"});
      }
    }
  }
}

void AnswerJob::Take(News& news) {
  if (ended_) return;
  if (news.client_gone) return Abandon();
  Slot& slot = slots_[news.slot];
  if (!slot.choice.done()) TakeOutput(slot, std::move(news.output), news.at);
}

void AnswerJob::TakeOutput(Slot& slot, RequestOutput output, TimePoint at) {
  if (output.finish_reason == FinishReason::kError) {
    core_->RemoveActive(slot.id);
    const bool away = core_->gateway.state() != EngineState::kReady;
    if (away || output.error.empty())
      output.error = "the engine failed while it worked on this request";
    // An engine that lives says of a request what a user can do about it, from a fixed table.
    return Fail({away ? ErrorKind::kUnavailable : ErrorKind::kInternal, std::move(output.error), "",
                 "engine_failure"});
  }
  StorePromptLogprobs(slot, output);
  slot.num_cached_tokens = std::max(slot.num_cached_tokens, output.num_cached_tokens);
  slot.queue_seconds = std::max(slot.queue_seconds, output.queue_seconds);
  slot.prefill_seconds = std::max(slot.prefill_seconds, output.prefill_seconds);
  slot.decode_seconds = std::max(slot.decode_seconds, output.decode_seconds);
  const std::size_t num_arrived = output.tokens.size();
  ChoiceDelta delta = slot.choice.Take(std::move(output));
  if (num_arrived > 0) Observe(slot, delta.tokens.size(), at);
  if (slot.choice.cut()) core_->gateway.Cancel(slot.id);
  if (slot.choice.done()) FinishSlot(slot, at);
  if (plan_.fields.stream)
    Emit(slot, delta);
  else
    slot.whole.Append(std::move(delta));
  if (num_done_ == slots_.size()) Finish();
}

void AnswerJob::StorePromptLogprobs(Slot& slot, RequestOutput& output) {
  auto& positions = slot.answer.prompt_logprobs;
  for (std::size_t i = 0; i < output.prompt_logprobs.size(); ++i) {
    const std::size_t at = static_cast<std::size_t>(output.prompt_logprobs_begin) + i;
    if (at < positions.size()) positions[at] = std::move(output.prompt_logprobs[i]);
  }
}

void AnswerJob::Observe(Slot& slot, std::size_t num_tokens, TimePoint at) {
  Metrics& metrics = core_->metrics;
  std::size_t num_gaps = num_tokens;
  double gap = 0;
  if (!slot.has_first_token) {
    slot.has_first_token = true;
    slot.first_token_at = at;
    metrics.OnFirstToken(Seconds(at - arrival_),
                         static_cast<std::int64_t>(slot.answer.prompt.size()),
                         slot.num_cached_tokens);
    if (num_gaps > 0) --num_gaps;
  } else if (num_gaps > 0) {
    gap = Seconds(at - slot.last_token_at) / static_cast<double>(num_gaps);
  }
  for (std::size_t i = 0; i < num_gaps; ++i) metrics.OnTokenGap(gap);
  metrics.OnTokens(static_cast<std::int64_t>(num_tokens));
  slot.last_token_at = at;
}

void AnswerJob::FinishSlot(Slot& slot, TimePoint at) {
  core_->RemoveActive(slot.id);
  ticket_.FreeOne();
  ++num_done_;
  FinishedRequest finished;
  finished.reason = slot.choice.finish_reason();
  finished.e2e_seconds = Seconds(at - arrival_);
  finished.queue_seconds = slot.queue_seconds;
  finished.prefill_seconds = slot.prefill_seconds;
  finished.decode_seconds = slot.choice.cut() && slot.has_first_token
                                ? Seconds(at - slot.first_token_at)
                                : slot.decode_seconds;
  finished.num_prompt_tokens = static_cast<std::int64_t>(slot.answer.prompt.size());
  finished.num_cached_tokens = slot.num_cached_tokens;
  finished.num_tokens = slot.choice.num_tokens();
  finished.max_tokens = slot.max_tokens;
  core_->metrics.OnFinished(finished);
}

void AnswerJob::Emit(Slot& slot, const ChoiceDelta& delta) {
  if (delta.tokens.empty() && delta.text.empty() && !slot.choice.done()) return;
  if (!streaming_) exchange_->StartStream("text/event-stream; charset=utf-8");
  streaming_ = true;
  Usage usage;
  if (plan_.fields.continuous_usage) usage = UsageNow();
  exchange_->Write(writer_.Chunk(slot.answer, slot.choice, delta,
                                 plan_.fields.continuous_usage ? &usage : nullptr));
}

Usage AnswerJob::UsageNow() const {
  Usage usage;
  const auto n = static_cast<std::size_t>(plan_.fields.n);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    usage.num_tokens += slots_[i].choice.num_tokens();
    if (i % n != 0) continue;  // a prompt counts once, however many choices it has
    usage.num_prompt_tokens += static_cast<std::int64_t>(slots_[i].answer.prompt.size());
    usage.num_cached_tokens += slots_[i].num_cached_tokens;
  }
  return usage;
}

void AnswerJob::Finish() {
  ended_ = true;
  const auto n = static_cast<std::size_t>(plan_.fields.n);
  for (std::size_t i = 0; i < slots_.size(); i += n) {
    std::int32_t most = 0;
    for (std::size_t k = i; k < i + n; ++k) most = std::max(most, slots_[k].choice.num_tokens());
    core_->metrics.OnRequest(plan_.fields.n, most);
  }
  // Everything is counted before the client can see the end of the answer.
  ticket_.End(Outcome::kCompleted);
  const Usage usage = UsageNow();
  if (plan_.fields.stream) {
    if (plan_.fields.include_usage) exchange_->Write(writer_.UsageChunk(usage));
    exchange_->Write(AnswerWriter::DoneEvent());
    exchange_->EndStream();
    return;
  }
  HttpResponse response;
  writer_.Begin(response.body);
  for (Slot& slot : slots_) writer_.AddChoice(response.body, slot.answer, slot.choice, slot.whole);
  writer_.End(response.body, slots_.front().answer, usage);
  exchange_->Respond(std::move(response));
}

void AnswerJob::CancelRest(bool failed) {
  for (Slot& slot : slots_) {
    if (slot.choice.done()) continue;
    core_->gateway.Cancel(slot.id);
    core_->RemoveActive(slot.id);
    if (failed)
      core_->metrics.OnErrored();
    else
      core_->metrics.OnAborted();
  }
}

void AnswerJob::Fail(const Error& error) {
  if (ended_) return;
  ended_ = true;
  CancelRest(true);
  ticket_.End(Outcome::kFailed);
  if (!streaming_) return exchange_->Respond(ErrorResponse(error));
  exchange_->Write(AnswerWriter::Event(ErrorBody(error)));
  exchange_->Write(AnswerWriter::DoneEvent());
  exchange_->EndStream();
}

void AnswerJob::Abandon() {
  ended_ = true;
  CancelRest(false);
  ticket_.End(Outcome::kCancelled);
}

}  // namespace quire
