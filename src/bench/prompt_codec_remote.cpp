#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"
#include "bench/prompt_codec.h"
#include "net/http_client.h"

namespace quire {
namespace {

constexpr std::chrono::seconds kCodecTimeout{60};
constexpr TokenId kMaxVocabulary = 1 << 22;

// Owns a connection to the server whose tokenizer it asks.
class ServerPromptCodec final : public PromptCodec {
 public:
  ServerPromptCodec(const Url& base, const std::vector<HttpHeader>& headers,
                    const std::string& model)
      : client_(base, headers, kCodecTimeout), server_(base.Authority()), model_(model) {}

  Status FindVocabulary();
  Result<std::vector<TokenId>> Encode(std::string_view text) override;
  Result<std::string> Decode(std::span<const TokenId> ids) override;
  std::int64_t vocab_size() const override { return vocab_size_; }
  bool IsSpecial(TokenId) const override { return false; }

 private:
  std::string BodyStart() const;
  Error Refused(std::string_view path, const HttpReply& reply) const;
  Error NotUnderstood(std::string_view path, std::string_view field) const;
  Result<HttpReply> AskText(std::span<const TokenId> ids);
  Result<bool> HasText(TokenId id);

  HttpClient client_;
  std::string server_;  // for errors
  std::string model_;
  std::int64_t vocab_size_ = 0;
};

std::string ServerPromptCodec::BodyStart() const {
  if (model_.empty()) return "{";
  std::string body = R"({"model":)";
  AppendJsonString(body, model_);
  return body + ",";
}

Error ServerPromptCodec::Refused(std::string_view path, const HttpReply& reply) const {
  return ConfigFault(
      fmt::format("the server at {} answers POST {} with status {}: give --tokenizer FOLDER to "
                  "count tokens without it",
                  server_, path, reply.status));
}

Error ServerPromptCodec::NotUnderstood(std::string_view path, std::string_view field) const {
  return ConfigFault(
      fmt::format("the server at {} answers POST {} without a valid field {}: give --tokenizer "
                  "FOLDER to count tokens without it",
                  server_, path, field));
}

Result<std::vector<TokenId>> ServerPromptCodec::Encode(std::string_view text) {
  constexpr std::string_view kPath = "/tokenize";
  std::string body = BodyStart() + R"("prompt":)";
  AppendJsonString(body, text);
  body += R"(,"add_special_tokens":false})";
  const auto reply = client_.PostJson(kPath, body);
  if (!reply) return reply.error();
  if (reply->status != 200) return Refused(kPath, *reply);
  const auto json = ParseJson(reply->body);
  if (!json || !json->is_object()) return NotUnderstood(kPath, "tokens");
  const auto tokens = json->find("tokens");
  if (tokens == json->end() || !tokens->is_array()) return NotUnderstood(kPath, "tokens");
  std::vector<TokenId> ids;
  ids.reserve(tokens->size());
  for (const Json& token : *tokens) {
    if (!token.is_number_integer()) return NotUnderstood(kPath, "tokens");
    const auto id = token.get<std::int64_t>();
    if (id < 0 || id > std::numeric_limits<TokenId>::max()) return NotUnderstood(kPath, "tokens");
    ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

Result<HttpReply> ServerPromptCodec::AskText(std::span<const TokenId> ids) {
  return client_.PostJson("/detokenize",
                          fmt::format(R"({}"tokens":[{}]}})", BodyStart(), fmt::join(ids, ",")));
}

Result<std::string> ServerPromptCodec::Decode(std::span<const TokenId> ids) {
  const auto reply = AskText(ids);
  if (!reply) return reply.error();
  if (reply->status != 200) return Refused("/detokenize", *reply);
  const auto json = ParseJson(reply->body);
  if (!json || !json->is_object()) return NotUnderstood("/detokenize", "prompt");
  const auto prompt = json->find("prompt");
  if (prompt == json->end() || !prompt->is_string()) return NotUnderstood("/detokenize", "prompt");
  return prompt->get<std::string>();
}

// Servers answer an id that they do not have with an error or with nothing.
Result<bool> ServerPromptCodec::HasText(TokenId id) {
  const auto reply = AskText(std::span(&id, 1));
  if (!reply) return reply.error();
  if (reply->status != 200) return false;
  const auto json = ParseJson(reply->body);
  if (!json || !json->is_object()) return false;
  const auto prompt = json->find("prompt");
  return prompt != json->end() && prompt->is_string() &&
         !prompt->get_ref<const std::string&>().empty();
}

// `known` has text, `beyond` has none or is not looked at; what is between is halved.
Status ServerPromptCodec::FindVocabulary() {
  const auto sample = Encode("Hello, world");
  if (!sample) return sample.error();
  const auto decoded = Decode(*sample);
  if (!decoded) return decoded.error();
  if (sample->empty() || decoded->empty()) return NotUnderstood("/detokenize", "prompt");
  TokenId known = std::min(*std::max_element(sample->begin(), sample->end()), kMaxVocabulary);
  TokenId beyond = std::max(known, 128);
  for (bool has = true; has && beyond < kMaxVocabulary;) {
    beyond = std::min(2 * beyond, kMaxVocabulary);
    const auto answer = HasText(beyond);
    if (!answer) return answer.error();
    has = *answer;
    if (has) known = beyond;
  }
  while (beyond - known > 1) {
    const TokenId middle = known + (beyond - known) / 2;
    const auto answer = HasText(middle);
    if (!answer) return answer.error();
    (*answer ? known : beyond) = middle;
  }
  vocab_size_ = std::int64_t{known} + 1;
  return {};
}

}  // namespace

Result<std::unique_ptr<PromptCodec>> RemotePromptCodec(const Url& base,
                                                       const std::vector<HttpHeader>& headers,
                                                       const std::string& model) {
  auto codec = std::make_unique<ServerPromptCodec>(base, headers, model);
  QUIRE_RETURN_IF_ERROR(codec->FindVocabulary());
  return std::unique_ptr<PromptCodec>(std::move(codec));
}

}  // namespace quire
