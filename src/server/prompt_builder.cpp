#include "server/prompt_builder.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace quire {
namespace {

// Normalisation can shorten a text (é of two characters becomes one), so the bound before
// tokenizing is generous.
constexpr std::size_t kNormalisationShrink = 4;

std::string_view Trimmed(std::string_view text, bool left, bool right) {
  constexpr std::string_view kBlank = " \t\n\r\f\v";
  if (left) text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  if (right) text = text.substr(0, text.find_last_not_of(kBlank) + 1);
  return text;
}

std::string FinalText(const Json& messages) {
  const Json& content = messages.back()["content"];
  if (content.is_string()) return content.get<std::string>();
  return content.empty() ? "" : content.back()["text"].get<std::string>();
}

// Ends the rendered text behind the final message's words, as transformers' continue_final_message
// does.
Status CutBehindFinalMessage(const Json& messages, std::string& rendered) {
  const std::string final_text = FinalText(messages);
  const std::string_view core = Trimmed(final_text, true, true);
  const std::size_t at = core.empty() ? std::string::npos : rendered.rfind(core);
  if (at == std::string::npos)
    return InvalidRequest(
        "'continue_final_message' needs a final message with text that the template keeps",
        "continue_final_message", "invalid_value");
  const std::string_view padded = Trimmed(final_text, true, false);
  const bool keeps_end = rendered.compare(at, padded.size(), padded) == 0;
  rendered.resize(at + (keeps_end ? padded.size() : core.size()));
  return {};
}

// Lists of text parts become one text, for a template that takes no lists.
void JoinParts(Json& messages) {
  for (Json& message : messages) {
    Json& content = message["content"];
    if (!content.is_array()) continue;
    std::string joined;
    for (std::size_t i = 0; i < content.size(); ++i) {
      if (i > 0) joined += '\n';
      joined += content[i]["text"].get_ref<const std::string&>();
    }
    content = std::move(joined);
  }
}

Error TooLong(std::string message, const std::string& param) {
  return InvalidRequest(std::move(message), param, "context_length_exceeded");
}

}  // namespace

Result<std::string> RenderChat(const ChatPrompt& prompt, const ServedModel& model) {
  if (model.tokenizer == nullptr)
    return InvalidRequest(
        "a chat needs a tokenizer, and the server runs with --skip-tokenizer-init", "messages",
        "tokenizer_missing");
  std::shared_ptr<const ChatTemplate> chat_template = model.chat_template;
  if (prompt.chat_template) {
    auto parsed = ChatTemplate::Parse(*prompt.chat_template);
    if (!parsed)
      return InvalidRequest(parsed.error().message, "chat_template", "chat_template_invalid");
    chat_template = std::move(*parsed);
  }
  if (chat_template == nullptr)
    return InvalidRequest(
        "the model has no chat template: start the server with --chat-template, or use "
        "/v1/completions",
        "messages", "chat_template_missing");
  ChatInput input;
  input.messages = prompt.messages;
  if (prompt.chat_template && !chat_template->takes_content_parts()) JoinParts(input.messages);
  input.tools = prompt.tools;
  input.add_generation_prompt = prompt.add_generation_prompt;
  input.kwargs = prompt.kwargs;
  input.special_tokens = model.tokenizer->special_tokens();
  auto rendered = chat_template->Render(input);
  if (!rendered) return rendered;
  if (prompt.continue_final_message)
    QUIRE_RETURN_IF_ERROR(CutBehindFinalMessage(input.messages, *rendered));
  return rendered;
}

Result<std::vector<TokenId>> EncodeText(const std::string& text, bool add_special_tokens,
                                        const ServedModel& model, const std::string& param) {
  if (model.tokenizer == nullptr)
    return InvalidRequest("there is no tokenizer: the server runs with --skip-tokenizer-init",
                          param, "tokenizer_missing");
  std::vector<TokenId> ids = model.tokenizer->Encode(text, add_special_tokens);
  for (const TokenId id : ids)
    if (id < 0 || id >= model.info.vocab_size)
      return InvalidRequest("the text has a token that the model does not know", param,
                            "token_out_of_vocabulary");
  return ids;
}

Result<PreparedPrompt> PreparePrompt(PromptInput input, const GenerationFields& fields,
                                     const ServedModel& model, bool echo,
                                     const std::string& param) {
  const auto limit = static_cast<std::size_t>(model.MaxTokens());
  PreparedPrompt prompt;
  if (input.is_text) {
    const bool may_cut = fields.truncate_prompt_tokens.has_value();
    if (!may_cut && model.max_token_bytes > 0 &&
        input.text.size() / kNormalisationShrink / model.max_token_bytes > limit)
      return TooLong(fmt::format("this model's maximum context length is {} tokens, and a prompt "
                                 "of {} bytes has more",
                                 limit, input.text.size()),
                     param);
    auto ids = EncodeText(input.text, fields.add_special_tokens, model, param);
    if (!ids) return ids.error();
    prompt.ids = std::move(*ids);
    if (prompt.ids.empty())
      return InvalidRequest("the prompt must not be empty", param, "empty_string");
  } else {
    prompt.ids = std::move(input.ids);
  }
  if (fields.truncate_prompt_tokens) {
    const std::size_t most = *fields.truncate_prompt_tokens < 0
                                 ? limit
                                 : static_cast<std::size_t>(*fields.truncate_prompt_tokens);
    if (prompt.ids.size() > most) {
      const auto excess = static_cast<std::ptrdiff_t>(prompt.ids.size() - most);
      if (fields.truncate_right)
        prompt.ids.resize(most);
      else
        prompt.ids.erase(prompt.ids.begin(), prompt.ids.begin() + excess);
      input.is_text = false;  // the text is not the prompt any more
    }
  }
  if (echo && input.is_text)
    prompt.text = std::move(input.text);
  else if (echo && model.tokenizer != nullptr)
    prompt.text = model.tokenizer->Decode(prompt.ids, fields.skip_special_tokens);
  return prompt;
}

Result<std::int32_t> MaxTokensBehind(std::size_t num_prompt_tokens, const GenerationFields& fields,
                                     const ServedModel& model, const std::string& param) {
  const std::int64_t limit = model.MaxTokens();
  const auto length = static_cast<std::int64_t>(num_prompt_tokens);
  const std::int64_t room = limit - length;
  if (room < 1)
    return TooLong(fmt::format("this model's maximum context length is {} tokens, but the prompt "
                               "has {} and leaves no room for an answer",
                               limit, length),
                   param);
  if (fields.max_tokens && *fields.max_tokens > room)
    return TooLong(
        fmt::format("this model's maximum context length is {} tokens, but {} were asked "
                    "for: {} in the prompt and {} for the answer",
                    limit, length + *fields.max_tokens, length, *fields.max_tokens),
        "max_tokens");
  const std::int64_t wanted =
      fields.max_tokens ? *fields.max_tokens
                        : fields.default_max_tokens.value_or(static_cast<std::int32_t>(room));
  const auto max_tokens = static_cast<std::int32_t>(std::clamp<std::int64_t>(wanted, 1, room));
  if (fields.sampling.min_tokens > max_tokens)
    return InvalidRequest(
        fmt::format("'min_tokens' must be at most the number of tokens to make, {}", max_tokens),
        "min_tokens", "integer_above_max_value");
  return max_tokens;
}

Result<std::vector<std::vector<TokenId>>> BadWordTokens(const std::vector<std::string>& words,
                                                        const ServedModel& model) {
  std::vector<std::vector<TokenId>> out;
  for (const std::string& word : words) {
    const std::string bare(Trimmed(word, true, false));
    for (const std::string& form : {bare, " " + bare}) {
      auto ids = EncodeText(form, false, model, "bad_words");
      if (!ids) return ids.error();
      const bool known = std::find(out.begin(), out.end(), *ids) != out.end();
      if (!ids->empty() && !known) out.push_back(std::move(*ids));
    }
  }
  return out;
}

}  // namespace quire
