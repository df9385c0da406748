#include <fmt/core.h>

#include <array>
#include <limits>
#include <string_view>
#include <utility>

#include "server/generation_request.h"

namespace quire {
namespace {

constexpr std::size_t kMaxTemplateBytes = 1 << 20;
constexpr std::size_t kMaxDocuments = 1024;
constexpr std::size_t kMaxKwargs = 128;

// Names that the server gives a template itself: a request can not put others in their place
//
constexpr std::array<std::string_view, 9> kReservedNames = {"messages",
                                                            "tools",
                                                            "documents",
                                                            "chat_template",
                                                            "add_generation_prompt",
                                                            "continue_final_message",
                                                            "tokenize",
                                                            "raise_exception",
                                                            "strftime_now"};

void ReadKwargs(FieldReader& reader, const ServerOptions& options, Json& kwargs) {
  kwargs = options.default_chat_template_kwargs.is_object() ? options.default_chat_template_kwargs
                                                            : Json::object();
  if (const Json* given = reader.Object("chat_template_kwargs"); given != nullptr) {
    if (given->size() > kMaxKwargs)
      return reader.Fail(
          fmt::format("'chat_template_kwargs' must have at most {} names", kMaxKwargs),
          "chat_template_kwargs", "object_above_max_properties");
    for (const auto& [name, value] : given->get_ref<const Json::object_t&>()) {
      for (const std::string_view reserved : kReservedNames)
        if (name == reserved)
          return reader.Fail(fmt::format("'chat_template_kwargs' can not set '{}'", reserved),
                             "chat_template_kwargs", "invalid_value");
      kwargs[name] = value;
    }
  }
  if (const auto effort = reader.String("reasoning_effort", 32))
    kwargs["reasoning_effort"] = *effort;
  if (const Json* documents = reader.Array("documents", kMaxDocuments); documents != nullptr) {
    for (const Json& document : *documents)
      if (!document.is_object())
        return reader.Fail("'documents' must be objects", "documents", "invalid_type");
    kwargs["documents"] = *documents;
  }
}

void ReadMaxTokens(FieldReader& reader, GenerationFields& fields) {
  const auto most =
      reader.Int("max_completion_tokens", 1, std::numeric_limits<std::int32_t>::max());
  if (most && fields.max_tokens && *fields.max_tokens != *most)
    reader.Fail("'max_completion_tokens' and 'max_tokens' differ: give one of them",
                "max_completion_tokens", "invalid_value");
  if (most) fields.max_tokens = static_cast<std::int32_t>(*most);
  if (fields.max_tokens == 0)
    reader.Fail("'max_tokens' must be at least 1", "max_tokens", "integer_below_min_value");
}

void ReadLogprobs(FieldReader& reader, const ServerOptions& options, const ServedModel& model,
                  SamplingParams& sampling) {
  const std::int64_t most = options.max_logprobs < 0 ? model.info.vocab_size : options.max_logprobs;
  const bool wanted = reader.Bool("logprobs", false);
  const auto count = reader.Int("top_logprobs", 0, most);
  if (count && *count > 0 && !wanted)
    reader.Fail("'top_logprobs' needs 'logprobs': true", "top_logprobs", "invalid_value");
  if (wanted) sampling.num_logprobs = static_cast<std::int32_t>(count.value_or(0));
}

}  // namespace

ChatPrompt ReadChatPrompt(FieldReader& reader, const ServerOptions& options,
                          const ServedModel& model) {
  ChatPrompt prompt;
  prompt.chat_template = reader.String("chat_template", kMaxTemplateBytes);
  if (prompt.chat_template && !options.trust_request_chat_template)
    reader.Fail(
        "'chat_template' in a request is not enabled: start the server with "
        "--trust-request-chat-template",
        "chat_template", "not_supported");
  ReadKwargs(reader, options, prompt.kwargs);
  const bool parts = !prompt.chat_template && model.chat_template != nullptr &&
                     model.chat_template->takes_content_parts();
  // Of a template in the request we know only once it is parsed; its conversation keeps the parts
  // till then.
  prompt.messages = ReadMessages(reader, parts || prompt.chat_template.has_value());
  prompt.tools = ReadTools(reader);
  const bool both = reader.Has("add_generation_prompt");
  prompt.continue_final_message = reader.Bool("continue_final_message", false);
  prompt.add_generation_prompt =
      reader.Bool("add_generation_prompt", !prompt.continue_final_message);
  if (both && prompt.add_generation_prompt && prompt.continue_final_message)
    reader.Fail("'continue_final_message' and 'add_generation_prompt' can not both be true",
                "continue_final_message", "invalid_value");
  return prompt;
}

Result<ChatRequest> ParseChat(const Json& body, const ServerOptions& options,
                              const ServedModel& model) {
  FieldReader reader(body, "");
  CheckModelName(reader, options, true);
  ChatRequest request;
  request.fields = ReadGenerationFields(reader, options, model);
  request.fields.default_max_tokens = model.defaults.max_tokens;
  ReadMaxTokens(reader, request.fields);
  ReadLogprobs(reader, options, model, request.fields.sampling);
  request.fields.add_special_tokens = reader.Bool("add_special_tokens", false);
  request.echo = reader.Bool("echo", false);
  (void)reader.Bool("include_reasoning", true);  // nothing is held back without a reasoning parser
  (void)reader.Bool("parallel_tool_calls", true);  // there are no calls to run in parallel yet
  request.prompt = ReadChatPrompt(reader, options, model);
  CheckToolChoice(reader, request.prompt.tools, options);
  RefuseUnsupported(reader);
  QUIRE_RETURN_IF_ERROR(reader.status());
  return request;
}

}  // namespace quire
