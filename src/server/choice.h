// Choice: one answer as it grows. Owns its text state; the same code makes streams and whole
// answers, so their texts are equal.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "sched/output.h"
#include "text/detokenizer.h"
#include "text/stop_strings.h"
#include "text/tokenizer.h"

namespace quire {

struct ChoiceOptions {
  std::vector<std::string> stop;
  bool include_stop_text = false;
  bool skip_special_tokens = true;
  std::int32_t min_tokens = 0;  // stop strings are not looked for before
  bool discard_output = false;  // the prompt alone is wanted (echo with max_tokens 0)
};

// What one piece of news added.
struct ChoiceDelta {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<PositionLogprobs> logprobs;  // one for each token where they were asked for

  void Append(ChoiceDelta delta);
};

class Choice {
 public:
  // Without a tokenizer the text stays empty.
  Choice(ChoiceOptions options, std::shared_ptr<const Tokenizer> tokenizer,
         std::vector<TokenId> eos_token_ids);

  // Not called once it is done.
  ChoiceDelta Take(RequestOutput output);

  bool done() const { return finish_reason_ != FinishReason::kNone; }
  // It ended by a stop string: the engine must be told.
  bool cut() const { return stop_string_.has_value(); }
  FinishReason finish_reason() const { return finish_reason_; }
  const std::optional<std::string>& stop_string() const { return stop_string_; }
  TokenId stop_token() const { return stop_token_; }  // −1: none of stop_token_ids
  std::int32_t num_tokens() const { return num_tokens_; }

 private:
  // The text that a token shows; sets stop_string_ where it completes one.
  std::string TakeToken(TokenId token);
  bool EndsBy(const RequestOutput& output, std::size_t index) const;

  ChoiceOptions options_;
  std::vector<TokenId> eos_token_ids_;
  std::optional<Detokenizer> detokenizer_;
  std::optional<StopStrings> stop_strings_;
  std::optional<std::string> stop_string_;
  FinishReason finish_reason_ = FinishReason::kNone;
  TokenId stop_token_ = -1;
  std::int32_t num_tokens_ = 0;
};

// As OpenAI's API says it.
std::string_view FinishName(FinishReason reason);

}  // namespace quire
