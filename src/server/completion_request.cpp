#include <fmt/core.h>

#include <string_view>
#include <utility>

#include "server/generation_request.h"

namespace quire {
namespace {

constexpr std::size_t kMaxPrompts = 1024;
constexpr std::int32_t kDefaultMaxTokens = 16;
constexpr std::string_view kPromptForms =
    "'prompt' must be a text, a list of texts, a list of token ids or a list of such lists";

Error EmptyPrompt(const std::string& path) {
  return InvalidRequest(fmt::format("'{}' must not be empty", path), path, "empty_array");
}

Error TooLong(const std::string& path, std::size_t num_tokens, const ServedModel& model) {
  return InvalidRequest(
      fmt::format("this model's maximum context length is {} tokens, but the prompt has {}",
                  model.MaxTokens(), num_tokens),
      path, "context_length_exceeded");
}

Result<PromptInput> ReadIds(const Json& list, const std::string& path, bool may_truncate,
                            const ServedModel& model) {
  if (list.empty()) return EmptyPrompt(path);
  if (!may_truncate && list.size() > static_cast<std::size_t>(model.MaxTokens()))
    return TooLong(path, list.size(), model);
  auto ids = ReadTokenIds(list, path, model.info.vocab_size);
  if (!ids) return ids.error();
  PromptInput prompt;
  prompt.ids = std::move(*ids);
  return prompt;
}

Result<PromptInput> ReadText(const Json& value, const std::string& path, const ServedModel& model) {
  if (model.tokenizer == nullptr)
    return InvalidRequest(
        "a text prompt needs a tokenizer, and the server runs with --skip-tokenizer-init: send "
        "token ids",
        path, "tokenizer_missing");
  PromptInput prompt;
  prompt.text = value.get_ref<const std::string&>();
  prompt.is_text = true;
  return prompt;
}

Result<std::vector<PromptInput>> ReadPrompts(const Json& value, bool may_truncate,
                                             const ServedModel& model) {
  std::vector<PromptInput> prompts;
  auto take = [&](Result<PromptInput> prompt) -> Status {
    if (!prompt) return prompt.error();
    prompts.push_back(std::move(*prompt));
    return {};
  };
  const std::string path = "prompt";
  if (value.is_string()) {
    QUIRE_RETURN_IF_ERROR(take(ReadText(value, path, model)));
    return prompts;
  }
  if (!value.is_array()) return InvalidRequest(std::string(kPromptForms), path, "invalid_type");
  if (value.empty()) return EmptyPrompt(path);
  if (value.front().is_number()) {
    QUIRE_RETURN_IF_ERROR(take(ReadIds(value, path, may_truncate, model)));
    return prompts;
  }
  if (value.size() > kMaxPrompts)
    return InvalidRequest(fmt::format("'prompt' must have at most {} prompts", kMaxPrompts), path,
                          "array_above_max_length");
  const bool texts = value.front().is_string();
  for (std::size_t i = 0; i < value.size(); ++i) {
    const Json& item = value[i];
    const std::string item_path = fmt::format("prompt[{}]", i);
    if (texts ? !item.is_string() : !item.is_array())
      return InvalidRequest(std::string(kPromptForms), item_path, "invalid_type");
    QUIRE_RETURN_IF_ERROR(take(texts ? ReadText(item, item_path, model)
                                     : ReadIds(item, item_path, may_truncate, model)));
  }
  return prompts;
}

// logprobs is a number here; echo asks for the prompt's, too.
void ReadLogprobs(FieldReader& reader, const ServerOptions& options, const ServedModel& model,
                  bool echo, SamplingParams& sampling) {
  const std::int64_t most = options.max_logprobs < 0 ? model.info.vocab_size : options.max_logprobs;
  const auto count = reader.Int("logprobs", 0, most);
  if (!count) return;
  sampling.num_logprobs = static_cast<std::int32_t>(*count);
  if (echo)
    sampling.num_prompt_logprobs = std::max(sampling.num_prompt_logprobs, sampling.num_logprobs);
}

}  // namespace

Result<CompletionRequest> ParseCompletion(const Json& body, const ServerOptions& options,
                                          const ServedModel& model) {
  FieldReader reader(body, "");
  CheckModelName(reader, options, true);
  CompletionRequest request;
  request.fields = ReadGenerationFields(reader, options, model);
  request.fields.add_special_tokens = reader.Bool("add_special_tokens", true);
  request.echo = reader.Bool("echo", false);
  ReadLogprobs(reader, options, model, request.echo, request.fields.sampling);
  RefuseUnsupported(reader);
  const Json* prompt = reader.Find("prompt");
  if (prompt == nullptr)
    reader.Fail("you must provide 'prompt'", "prompt", "missing_required_parameter");
  request.fields.default_max_tokens = kDefaultMaxTokens;
  // Nothing but the prompt is scored then.
  if (request.fields.max_tokens == 0 && !request.echo)
    reader.Fail("'max_tokens' must be at least 1, but with 'echo'", "max_tokens",
                "integer_below_min_value");
  QUIRE_RETURN_IF_ERROR(reader.status());
  auto prompts = ReadPrompts(*prompt, request.fields.truncate_prompt_tokens.has_value(), model);
  if (!prompts) return prompts.error();
  request.prompts = std::move(*prompts);
  return request;
}

}  // namespace quire
