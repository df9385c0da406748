// What the bodies of /v1/completions and /v1/chat/completions ask for, checked field by field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"
#include "sched/request.h"
#include "server/request_fields.h"
#include "server/server_options.h"

namespace quire {

// What both endpoints share.
struct GenerationFields {
  SamplingParams
      sampling;  // all but max_tokens, seed and bad_words, which need the prompt and the tokenizer
  std::optional<std::int32_t> max_tokens;          // none: the default, as far as the context goes
  std::optional<std::int32_t> default_max_tokens;  // none: the rest of the context
  std::optional<std::uint64_t> seed;
  int n = 1;
  std::vector<std::string> stop;
  std::vector<std::string> bad_words;
  bool include_stop_text = false;
  bool skip_special_tokens = true;
  bool add_special_tokens = true;
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  int num_prompt_logprobs = -1;  // of the field; echo may ask the engine for more
  bool return_token_ids = false;
  bool tokens_as_ids = false;
  std::string cache_salt;
  std::int32_t priority = 0;
  std::string request_id;                              // the caller's own, or empty
  std::optional<std::int64_t> truncate_prompt_tokens;  // −1: what fits
  bool truncate_right = false;                         // cut the end, not the beginning
};

// A prompt as text, or as ids that are in the vocabulary.
struct PromptInput {
  std::string text;
  std::vector<TokenId> ids;
  bool is_text = false;
};

struct CompletionRequest {
  GenerationFields fields;
  std::vector<PromptInput> prompts;  // at least one
  bool echo = false;
};

// A conversation for a chat template: of /v1/chat/completions and of /tokenize.
struct ChatPrompt {
  Json messages;                             // as the template takes them
  Json tools;                                // array or null
  Json kwargs;                               // object
  std::optional<std::string> chat_template;  // of the request
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

struct ChatRequest {
  GenerationFields fields;
  ChatPrompt prompt;
  bool echo = false;  // begin the answer with the last message where that is the assistant's
};

// Each names the first bad field (param is its JSON path), or what is not supported.
Result<CompletionRequest> ParseCompletion(const Json& body, const ServerOptions& options,
                                          const ServedModel& model);
Result<ChatRequest> ParseChat(const Json& body, const ServerOptions& options,
                              const ServedModel& model);

// The parts, shared with /tokenize. Errors stay in the reader.
void CheckModelName(FieldReader& reader, const ServerOptions& options, bool required);
GenerationFields ReadGenerationFields(FieldReader& reader, const ServerOptions& options,
                                      const ServedModel& model);
void RefuseUnsupported(FieldReader& reader);  // fields of features that are not built
ChatPrompt ReadChatPrompt(FieldReader& reader, const ServerOptions& options,
                          const ServedModel& model);
Json ReadMessages(FieldReader& reader, bool keep_parts);  // keep_parts: the template takes lists
Json ReadTools(FieldReader& reader);
void CheckToolChoice(FieldReader& reader, const Json& tools, const ServerOptions& options);

}  // namespace quire
