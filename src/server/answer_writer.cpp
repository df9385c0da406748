#include "server/answer_writer.h"

#include <fmt/format.h>

#include <iterator>
#include <span>
#include <utility>

#include "base/json.h"

namespace quire {
namespace {

void AppendIds(std::string& out, std::span<const TokenId> ids) {
  out += '[';
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    fmt::format_to(std::back_inserter(out), "{}", ids[i]);
  }
  out += ']';
}

std::string Head(const AnswerOptions& options, std::string_view object) {
  std::string out = R"({"id":)";
  AppendJsonString(out, options.id);
  fmt::format_to(std::back_inserter(out), R"(,"object":"{}","created":{},"model":)", object,
                 options.created);
  AppendJsonString(out, options.model);
  out += R"(,"choices":[)";
  return out;
}

}  // namespace

AnswerWriter::AnswerWriter(AnswerOptions options, std::shared_ptr<const Tokenizer> tokenizer)
    : options_(std::move(options)), format_(std::move(tokenizer), options_.tokens_as_ids) {
  whole_head_ = Head(options_, options_.chat ? "chat.completion" : "text_completion");
  chunk_head_ = Head(options_, options_.chat ? "chat.completion.chunk" : "text_completion");
}

void AnswerWriter::AppendFinish(std::string& out, const Choice& choice) const {
  if (!choice.done()) {
    out += R"(,"finish_reason":null,"stop_reason":null)";
    return;
  }
  fmt::format_to(std::back_inserter(out), R"(,"finish_reason":"{}","stop_reason":)",
                 FinishName(choice.finish_reason()));
  if (choice.stop_string())
    AppendJsonString(out, *choice.stop_string());
  else if (choice.stop_token() >= 0)
    fmt::format_to(std::back_inserter(out), "{}", choice.stop_token());
  else
    out += "null";
}

void AnswerWriter::AppendUsage(std::string& out, const Usage& usage) const {
  fmt::format_to(std::back_inserter(out),
                 R"({{"prompt_tokens":{},"total_tokens":{},"completion_tokens":{},)"
                 R"("prompt_tokens_details":)",
                 usage.num_prompt_tokens, usage.num_prompt_tokens + usage.num_tokens,
                 usage.num_tokens);
  if (options_.show_cached_tokens)
    fmt::format_to(std::back_inserter(out), R"({{"cached_tokens":{}}})", usage.num_cached_tokens);
  else
    out += "null";
  out += '}';
}

void AnswerWriter::AppendCompletionChoice(std::string& out, AnswerChoice& answer,
                                          const Choice& choice, const ChoiceDelta& delta,
                                          bool whole) const {
  const bool first = !answer.opened;
  answer.opened = true;
  fmt::format_to(std::back_inserter(out), R"({{"index":{},"text":)", answer.index);
  AppendJsonString(out, first ? answer.prompt_text + delta.text : delta.text);
  out += R"(,"logprobs":)";
  const bool scored = options_.num_logprobs >= 0;
  const bool scores_prompt = scored && first && options_.echo;
  if (scored && (scores_prompt || !delta.tokens.empty())) {
    std::span<const TokenId> prompt;
    if (scores_prompt) prompt = answer.prompt;
    format_.AppendCompletion(out, prompt, answer.prompt_logprobs, delta.tokens, delta.logprobs,
                             options_.num_logprobs, answer.text_offset);
  } else {
    out += "null";
  }
  AppendFinish(out, choice);
  if (whole && options_.num_prompt_logprobs >= 0) {
    out += R"(,"prompt_logprobs":)";
    format_.AppendPrompt(out, answer.prompt_logprobs, options_.num_prompt_logprobs);
  } else if (whole) {
    out += R"(,"prompt_logprobs":null)";
  }
  if (options_.return_token_ids) {
    out += R"(,"token_ids":)";
    AppendIds(out, delta.tokens);
    if (first) {
      out += R"(,"prompt_token_ids":)";
      AppendIds(out, answer.prompt);
    }
  }
  out += '}';
}

void AnswerWriter::AppendChatLogprobs(std::string& out, const ChoiceDelta& delta) const {
  out += R"(,"logprobs":)";
  if (options_.num_logprobs >= 0 && !delta.tokens.empty())
    format_.AppendChat(out, delta.tokens, delta.logprobs, options_.num_logprobs);
  else
    out += "null";
}

void AnswerWriter::AppendChatChoice(std::string& out, AnswerChoice& answer, const Choice& choice,
                                    const ChoiceDelta& delta, bool whole) const {
  fmt::format_to(std::back_inserter(out), R"({{"index":{},"{}":{{)", answer.index,
                 whole ? "message" : "delta");
  if (whole) {
    out += R"("role":)";
    AppendJsonString(out, options_.role);
    out += ',';
  }
  out += R"("content":)";
  AppendJsonString(out, answer.opened ? delta.text : answer.prompt_text + delta.text);
  answer.opened = true;
  if (whole) out += R"(,"refusal":null,"tool_calls":[])";
  out += '}';
  AppendChatLogprobs(out, delta);
  AppendFinish(out, choice);
  if (options_.return_token_ids) {
    out += R"(,"token_ids":)";
    AppendIds(out, delta.tokens);
  }
  out += '}';
}

std::string AnswerWriter::WrapChunk(const std::string& choices, const std::string& more,
                                    const Usage* usage) const {
  std::string out = "data: " + chunk_head_ + choices + "]" + more;
  if (usage != nullptr) {
    out += R"(,"usage":)";
    AppendUsage(out, *usage);
  } else if (options_.usage_in_chunks) {
    out += R"(,"usage":null)";
  }
  out += "}\n\n";
  return out;
}

std::string AnswerWriter::Chunk(AnswerChoice& answer, const Choice& choice,
                                const ChoiceDelta& delta, const Usage* usage) const {
  std::string choices;
  if (!options_.chat) {
    AppendCompletionChoice(choices, answer, choice, delta, false);
    return WrapChunk(choices, "", usage);
  }
  std::string out;
  if (!answer.opened) {
    std::string role = fmt::format(R"({{"index":{},"delta":{{"role":)", answer.index);
    AppendJsonString(role, options_.role);
    role += R"(,"content":""},"logprobs":null,"finish_reason":null})";
    std::string more;
    if (options_.return_token_ids) {
      more = R"(,"prompt_token_ids":)";
      AppendIds(more, answer.prompt);
    }
    out = WrapChunk(role, more, usage);
  }
  AppendChatChoice(choices, answer, choice, delta, false);
  return out + WrapChunk(choices, "", usage);
}

std::string AnswerWriter::UsageChunk(const Usage& usage) const { return WrapChunk("", "", &usage); }

void AnswerWriter::Begin(std::string& out) const { out += whole_head_; }

void AnswerWriter::AddChoice(std::string& out, AnswerChoice& answer, const Choice& choice,
                             const ChoiceDelta& all) const {
  if (answer.index > 0) out += ',';
  if (options_.chat)
    AppendChatChoice(out, answer, choice, all, true);
  else
    AppendCompletionChoice(out, answer, choice, all, true);
}

void AnswerWriter::End(std::string& out, const AnswerChoice& first, const Usage& usage) const {
  out += R"(],"service_tier":null,"system_fingerprint":null,"usage":)";
  AppendUsage(out, usage);
  if (options_.chat) {
    out += R"(,"prompt_logprobs":)";
    if (options_.num_prompt_logprobs >= 0)
      format_.AppendPrompt(out, first.prompt_logprobs, options_.num_prompt_logprobs);
    else
      out += "null";
    if (options_.return_token_ids) {
      out += R"(,"prompt_token_ids":)";
      AppendIds(out, first.prompt);
    }
  }
  out += '}';
}

}  // namespace quire
