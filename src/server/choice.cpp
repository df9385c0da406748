#include "server/choice.h"

#include <algorithm>
#include <utility>

namespace quire {

std::string_view FinishName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAbort:
      return "abort";
    case FinishReason::kNone:
    case FinishReason::kError:
      break;
  }
  return "error";
}

void ChoiceDelta::Append(ChoiceDelta delta) {
  text += delta.text;
  tokens.insert(tokens.end(), delta.tokens.begin(), delta.tokens.end());
  std::move(delta.logprobs.begin(), delta.logprobs.end(), std::back_inserter(logprobs));
}

Choice::Choice(ChoiceOptions options, std::shared_ptr<const Tokenizer> tokenizer,
               std::vector<TokenId> eos_token_ids)
    : options_(std::move(options)), eos_token_ids_(std::move(eos_token_ids)) {
  if (tokenizer == nullptr) return;
  detokenizer_.emplace(std::move(tokenizer), options_.skip_special_tokens);
  if (!options_.stop.empty()) stop_strings_.emplace(options_.stop, options_.include_stop_text);
}

bool Choice::EndsBy(const RequestOutput& output, std::size_t index) const {
  if (output.finish_reason != FinishReason::kStop || index + 1 != output.tokens.size())
    return false;
  const TokenId token = output.tokens[index];
  return token == output.stop_token ||
         std::find(eos_token_ids_.begin(), eos_token_ids_.end(), token) != eos_token_ids_.end();
}

std::string Choice::TakeToken(TokenId token) {
  std::string piece = detokenizer_->Push(token);
  if (!stop_strings_ || num_tokens_ <= options_.min_tokens) return piece;
  std::string shown = stop_strings_->Push(piece);
  stop_string_ = stop_strings_->matched();
  return shown;
}

ChoiceDelta Choice::Take(RequestOutput output) {
  ChoiceDelta delta;
  if (options_.discard_output) {
    finish_reason_ = output.finish_reason;
    return delta;
  }
  for (std::size_t i = 0; i < output.tokens.size() && !cut(); ++i) {
    ++num_tokens_;
    delta.tokens.push_back(output.tokens[i]);
    if (i < output.logprobs.size()) delta.logprobs.push_back(std::move(output.logprobs[i]));
    // The token that ended it is counted and named, but its text is shown only where that is asked
    // for.
    if (detokenizer_ && (options_.include_stop_text || !EndsBy(output, i)))
      delta.text += TakeToken(output.tokens[i]);
  }
  if (!cut() && output.finish_reason != FinishReason::kNone && detokenizer_) {
    const std::string rest = detokenizer_->Finish();
    if (stop_strings_) {
      delta.text += stop_strings_->Push(rest);
      stop_string_ = stop_strings_->matched();
      if (!cut()) delta.text += stop_strings_->Finish();
    } else {
      delta.text += rest;
    }
  }
  finish_reason_ = cut() ? FinishReason::kStop : output.finish_reason;
  if (!cut()) stop_token_ = output.stop_token;
  return delta;
}

}  // namespace quire
