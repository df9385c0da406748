#include "server/tokenize_routes.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>
#include <vector>

#include "server/generation_request.h"
#include "server/prompt_builder.h"

namespace quire {
namespace {

constexpr std::size_t kMaxTextBytes = 16 << 20;  // the body's limit
constexpr std::size_t kMaxTokens = 4 << 20;

Error NoTokenizer() {
  return InvalidRequest("there is no tokenizer: the server runs with --skip-tokenizer-init", "",
                        "tokenizer_missing");
}

// The text to encode: the prompt, or what the template makes of the messages.
Result<std::string> ReadText(FieldReader& reader, const ServerOptions& options,
                             const ServedModel& model, bool is_chat) {
  if (is_chat) {
    const ChatPrompt prompt = ReadChatPrompt(reader, options, model);
    QUIRE_RETURN_IF_ERROR(reader.status());
    return RenderChat(prompt, model);
  }
  auto text = reader.String("prompt", kMaxTextBytes);
  if (!text)
    reader.Fail("you must provide 'prompt' or 'messages'", "prompt", "missing_required_parameter");
  QUIRE_RETURN_IF_ERROR(reader.status());
  return std::move(*text);
}

}  // namespace

Result<std::string> Tokenize(const Json& body, const ServerOptions& options,
                             const ServedModel& model) {
  FieldReader reader(body, "");
  CheckModelName(reader, options, false);
  const bool is_chat = reader.Has("messages");
  const bool add_special_tokens = reader.Bool("add_special_tokens", !is_chat);
  const bool with_strings = reader.Bool("return_token_strs", false);
  QUIRE_RETURN_IF_ERROR(reader.status());
  if (model.tokenizer == nullptr) return NoTokenizer();
  auto text = ReadText(reader, options, model, is_chat);
  if (!text) return text.error();
  const std::vector<TokenId> ids = model.tokenizer->Encode(*text, add_special_tokens);
  std::string out = fmt::format(R"({{"count":{},"max_model_len":{},"tokens":[)", ids.size(),
                                model.info.max_model_len);
  fmt::format_to(std::back_inserter(out), "{}", fmt::join(ids, ","));
  out += R"(],"token_strs":)";
  if (!with_strings) return out + "null}";
  out += '[';
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    AppendJsonString(out, model.tokenizer->TokenString(ids[i]));
  }
  return out + "]}";
}

Result<std::string> Detokenize(const Json& body, const ServerOptions& options,
                               const ServedModel& model) {
  FieldReader reader(body, "");
  CheckModelName(reader, options, false);
  QUIRE_RETURN_IF_ERROR(reader.status());
  if (model.tokenizer == nullptr) return NoTokenizer();
  if (!reader.Has("tokens"))
    reader.Fail("you must provide 'tokens'", "tokens", "missing_required_parameter");
  const std::vector<TokenId> ids =
      reader.TokenIds("tokens", kMaxTokens, model.tokenizer->vocab_size());
  QUIRE_RETURN_IF_ERROR(reader.status());
  std::string out = R"({"prompt":)";
  AppendJsonString(out, model.tokenizer->Decode(ids, false));
  return out + "}";
}

}  // namespace quire
