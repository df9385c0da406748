#include "server/logprob_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "base/json.h"
#include "base/utf8.h"

namespace quire {
namespace {

constexpr float kFloor = -9999.0F;

std::int64_t NumCharacters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

void Comma(std::string& out, bool& first) {
  if (!first) out += ',';
  first = false;
}

// Entry 0 and the best `num_top`, each token once: only entry 0 can stand among the best again.
std::vector<LogprobEntry> Distinct(const PositionLogprobs& position, int num_top) {
  std::vector<LogprobEntry> entries;
  const std::size_t most =
      std::min(position.entries.size(), static_cast<std::size_t>(std::max(num_top, 0)) + 1);
  for (std::size_t i = 0; i < most; ++i)
    if (i == 0 || position.entries[i].token != position.entries[0].token)
      entries.push_back(position.entries[i]);
  return entries;
}

}  // namespace

void AppendLogprob(std::string& out, float value) {
  if (!std::isfinite(value)) value = kFloor;
  const std::size_t before = out.size();
  fmt::format_to(std::back_inserter(out), "{}", value);
  if (out.find_first_of(".e", before) == std::string::npos) out += ".0";
}

LogprobFormat::LogprobFormat(std::shared_ptr<const Tokenizer> tokenizer, bool tokens_as_ids)
    : tokenizer_(std::move(tokenizer)), tokens_as_ids_(tokens_as_ids) {}

std::string LogprobFormat::Text(TokenId token) const {
  return tokenizer_ == nullptr ? std::string() : tokenizer_->TokenBytes(token);
}

std::string LogprobFormat::Name(TokenId token) const {
  if (tokens_as_ids_ || tokenizer_ == nullptr) return fmt::format("token_id:{}", token);
  return ToValidUtf8(Text(token));
}

void LogprobFormat::AppendCompletion(std::string& out, std::span<const TokenId> prompt,
                                     std::span<const PositionLogprobs> prompt_logprobs,
                                     std::span<const TokenId> tokens,
                                     std::span<const PositionLogprobs> logprobs, int num_top,
                                     std::int64_t& offset) const {
  std::string offsets;
  std::string values;
  std::string names;
  std::string tops;
  bool first = true;
  auto add = [&](TokenId token, const PositionLogprobs* position) {
    if (!first)
      for (std::string* list : {&offsets, &values, &names, &tops}) *list += ',';
    first = false;
    fmt::format_to(std::back_inserter(offsets), "{}", offset);
    offset += NumCharacters(Text(token));
    AppendJsonString(names, Name(token));
    if (position == nullptr || position->entries.empty()) {
      values += "null";
      tops += "null";
      return;
    }
    AppendLogprob(values, position->entries.front().logprob);
    tops += '{';
    bool first_top = true;
    std::unordered_set<std::string> seen;  // two tokens may be spelled alike; JSON keys must differ
    for (const LogprobEntry& entry : Distinct(*position, num_top)) {
      const std::string name = Name(entry.token);
      if (!seen.insert(name).second) continue;
      Comma(tops, first_top);
      AppendJsonString(tops, name);
      tops += ':';
      AppendLogprob(tops, entry.logprob);
    }
    tops += '}';
  };
  for (std::size_t i = 0; i < prompt.size(); ++i)
    add(prompt[i], i < prompt_logprobs.size() ? &prompt_logprobs[i] : nullptr);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    add(tokens[i], i < logprobs.size() ? &logprobs[i] : nullptr);
  fmt::format_to(
      std::back_inserter(out),
      R"({{"text_offset":[{}],"token_logprobs":[{}],"tokens":[{}],"top_logprobs":[{}]}})", offsets,
      values, names, tops);
}

void LogprobFormat::AppendChatToken(std::string& out, TokenId token, float logprob) const {
  out += R"({"token":)";
  AppendJsonString(out, Name(token));
  out += R"(,"logprob":)";
  AppendLogprob(out, logprob);
  out += R"(,"bytes":)";
  if (tokenizer_ == nullptr) {
    out += "null";
    return;
  }
  out += '[';
  bool first = true;
  for (const char c : Text(token)) {
    Comma(out, first);
    out += std::to_string(static_cast<unsigned char>(c));
  }
  out += ']';
}

void LogprobFormat::AppendChat(std::string& out, std::span<const TokenId> tokens,
                               std::span<const PositionLogprobs> logprobs, int num_top) const {
  out += R"({"content":[)";
  bool first = true;
  for (std::size_t i = 0; i < tokens.size() && i < logprobs.size(); ++i) {
    const auto& entries = logprobs[i].entries;
    Comma(out, first);
    AppendChatToken(out, tokens[i], entries.empty() ? kFloor : entries.front().logprob);
    out += R"(,"top_logprobs":[)";
    bool first_top = true;
    for (std::size_t k = 1; k < entries.size() && k <= static_cast<std::size_t>(num_top); ++k) {
      Comma(out, first_top);
      AppendChatToken(out, entries[k].token, entries[k].logprob);
      out += '}';
    }
    out += "]}";
  }
  out += "]}";
}

void LogprobFormat::AppendPrompt(std::string& out, std::span<const PositionLogprobs> positions,
                                 int num_top) const {
  out += "[null";
  for (std::size_t i = 1; i < positions.size(); ++i) {
    out += ",{";
    bool first = true;
    for (const LogprobEntry& entry : Distinct(positions[i], num_top)) {
      Comma(out, first);
      fmt::format_to(std::back_inserter(out), R"("{}":{{"logprob":)", entry.token);
      AppendLogprob(out, entry.logprob);
      fmt::format_to(std::back_inserter(out), R"(,"rank":{},"decoded_token":)", entry.rank);
      AppendJsonString(out, Name(entry.token));
      out += '}';
    }
    out += '}';
  }
  out += ']';
}

}  // namespace quire
