// AnswerWriter: the JSON of answers, whole and in chunks, as OpenAI's API and vLLM write them. Owns
// the parts that all chunks of a request share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sched/output.h"
#include "server/choice.h"
#include "server/logprob_format.h"

namespace quire {

struct AnswerOptions {
  bool chat = false;
  std::string id;
  std::int64_t created = 0;
  std::string model;
  std::string role = "assistant";
  bool echo = false;  // the prompt stands before the text
  bool return_token_ids = false;
  bool tokens_as_ids = false;
  int num_logprobs = -1;         // −1: none
  int num_prompt_logprobs = -1;  // of the field prompt_logprobs; echo's are num_logprobs
  bool usage_in_chunks = false;  // chunks have the field
  bool show_cached_tokens = false;
};

struct Usage {
  std::int64_t num_prompt_tokens = 0;
  std::int64_t num_tokens = 0;
  std::int64_t num_cached_tokens = 0;
};

// One choice as the writer sees it.
struct AnswerChoice {
  int index = 0;
  std::vector<TokenId> prompt;
  std::string prompt_text;                        // what echo shows
  std::vector<PositionLogprobs> prompt_logprobs;  // one for each prompt token; the first is empty
  std::int64_t text_offset = 0;                   // characters whose log-probabilities were written
  bool opened = false;                            // its first chunk was written
};

class AnswerWriter {
 public:
  AnswerWriter(AnswerOptions options, std::shared_ptr<const Tokenizer> tokenizer);

  // The events of a stream with what `delta` added to the choice; `usage` where chunks tell it.
  std::string Chunk(AnswerChoice& answer, const Choice& choice, const ChoiceDelta& delta,
                    const Usage* usage) const;
  std::string UsageChunk(const Usage& usage) const;
  static std::string Event(const std::string& json) { return "data: " + json + "\n\n"; }
  static std::string DoneEvent() { return "data: [DONE]\n\n"; }

  // A whole answer is begun once, gets its choices in order, and is ended once.
  void Begin(std::string& out) const;
  void AddChoice(std::string& out, AnswerChoice& answer, const Choice& choice,
                 const ChoiceDelta& all) const;
  void End(std::string& out, const AnswerChoice& first, const Usage& usage) const;

 private:
  void AppendCompletionChoice(std::string& out, AnswerChoice& answer, const Choice& choice,
                              const ChoiceDelta& delta, bool whole) const;
  void AppendChatChoice(std::string& out, AnswerChoice& answer, const Choice& choice,
                        const ChoiceDelta& delta, bool whole) const;
  void AppendFinish(std::string& out, const Choice& choice) const;
  void AppendChatLogprobs(std::string& out, const ChoiceDelta& delta) const;
  void AppendUsage(std::string& out, const Usage& usage) const;
  std::string WrapChunk(const std::string& choices, const std::string& more,
                        const Usage* usage) const;

  AnswerOptions options_;
  LogprobFormat format_;
  std::string whole_head_;  // up to the choices
  std::string chunk_head_;
};

}  // namespace quire
