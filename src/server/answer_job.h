// AnswerJob: one HTTP request for text, from its prompts to the last byte of its answer. Owns the
// exchange, the engine requests (prompts × n) and their place in the queue.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/admission.h"
#include "server/answer_writer.h"
#include "server/choice.h"
#include "server/generation_request.h"
#include "server/http.h"
#include "server/prompt_builder.h"
#include "server/server_core.h"

namespace quire {

// A request that is ready for the engine: checked, tokenized, within the limits.
struct AnswerPlan {
  bool chat = false;
  bool echo = false;
  GenerationFields fields;
  std::vector<PreparedPrompt> prompts;
  std::vector<std::int32_t> max_tokens;  // one for each prompt
  std::vector<std::vector<TokenId>> bad_words;
};

// News of the engine and of the client come from other threads into an inbox; one worker at a time
// takes them out, so all else here needs no lock. It lives while the gateway or a worker knows it.
class AnswerJob : public std::enable_shared_from_this<AnswerJob> {
 public:
  AnswerJob(std::shared_ptr<ServerCore> core, std::shared_ptr<const ServedModel> model,
            std::shared_ptr<HttpExchange> exchange, AnswerPlan plan, Admission::Ticket ticket,
            TimePoint arrival);

  // Submits everything. On a worker's thread.
  void Run();

 private:
  struct Slot {
    RequestId id;
    Choice choice;
    AnswerChoice answer{};
    ChoiceDelta whole{};  // of an answer that is not streamed
    std::int32_t max_tokens = 0;
    std::int32_t num_cached_tokens = 0;
    bool has_first_token = false;
    TimePoint first_token_at{};
    TimePoint last_token_at{};
    double queue_seconds = 0;
    double prefill_seconds = 0;
    double decode_seconds = 0;
  };
  struct News {
    std::size_t slot = 0;
    TimePoint at;
    bool client_gone = false;
    RequestOutput output;
  };

  void MakeSlots(const AnswerPlan& plan);
  Status SubmitAll();
  Request MakeRequest(std::size_t slot, std::uint64_t seed) const;
  void Tell(News news);
  void Drain();
  void Take(News& news);
  void TakeOutput(Slot& slot, RequestOutput output, TimePoint at);
  void StorePromptLogprobs(Slot& slot, RequestOutput& output);
  void Observe(Slot& slot, std::size_t num_tokens, TimePoint at);
  void FinishSlot(Slot& slot, TimePoint at);
  void Emit(Slot& slot, const ChoiceDelta& delta);
  void Finish();
  void Fail(const Error& error);
  void Abandon();
  void CancelRest(bool failed);
  Usage UsageNow() const;

  const std::shared_ptr<ServerCore> core_;
  const std::shared_ptr<const ServedModel> model_;
  const std::shared_ptr<HttpExchange> exchange_;
  AnswerPlan plan_;
  Admission::Ticket ticket_;
  const TimePoint arrival_;
  AnswerWriter writer_;
  std::vector<Slot> slots_;
  std::size_t num_done_ = 0;
  bool streaming_ = false;  // the head was sent
  bool ended_ = false;

  std::mutex mutex_;  // of the inbox
  std::vector<News> inbox_;
  bool drained_ = false;  // a worker is at it, or will be
};

}  // namespace quire
