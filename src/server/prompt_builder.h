// From a checked request to the token ids of its prompts, within the model's limits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "server/generation_request.h"
#include "server/server_options.h"

namespace quire {

struct PreparedPrompt {
  std::vector<TokenId> ids;  // at least one, all in the vocabulary
  std::string text;          // for echo; empty where it was not asked for
};

// The text that the model's template, or the request's, makes of a conversation.
Result<std::string> RenderChat(const ChatPrompt& prompt, const ServedModel& model);

// Ids of a text that are known to the model; `param` names the field in errors.
Result<std::vector<TokenId>> EncodeText(const std::string& text, bool add_special_tokens,
                                        const ServedModel& model, const std::string& param);

// Refuses what is too long, a text far over the limit before it is tokenized.
Result<PreparedPrompt> PreparePrompt(PromptInput input, const GenerationFields& fields,
                                     const ServedModel& model, bool echo, const std::string& param);

// How many tokens may be made behind a prompt of that length.
Result<std::int32_t> MaxTokensBehind(std::size_t num_prompt_tokens, const GenerationFields& fields,
                                     const ServedModel& model, const std::string& param);

// The token sequences that spell the words, at a text's beginning and behind a space.
Result<std::vector<std::vector<TokenId>>> BadWordTokens(const std::vector<std::string>& words,
                                                        const ServedModel& model);

}  // namespace quire
