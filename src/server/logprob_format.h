// Log-probabilities as the two endpoints show them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "sched/output.h"
#include "text/tokenizer.h"

namespace quire {

// Names tokens. Shared by the choices of a request.
class LogprobFormat {
 public:
  // Without a tokenizer, and where `tokens_as_ids`, a token is called token_id:N.
  LogprobFormat(std::shared_ptr<const Tokenizer> tokenizer, bool tokens_as_ids);

  std::string Name(TokenId token) const;

  // {"text_offset", "token_logprobs", "tokens", "top_logprobs"} of /v1/completions. `prompt`, with
  // a position for each of its tokens, stands before the tokens (echo); a position without entries
  // is null. `offset` is the characters so far, and is moved on.
  void AppendCompletion(std::string& out, std::span<const TokenId> prompt,
                        std::span<const PositionLogprobs> prompt_logprobs,
                        std::span<const TokenId> tokens, std::span<const PositionLogprobs> logprobs,
                        int num_top, std::int64_t& offset) const;
  // {"content": [{"token", "logprob", "bytes", "top_logprobs"}…]} of a chat.
  void AppendChat(std::string& out, std::span<const TokenId> tokens,
                  std::span<const PositionLogprobs> logprobs, int num_top) const;
  // vLLM's prompt_logprobs: [null, {"id": {"logprob", "rank", "decoded_token"}…}…].
  // One for each prompt token; the first has none.
  void AppendPrompt(std::string& out, std::span<const PositionLogprobs> positions,
                    int num_top) const;

 private:
  void AppendChatToken(std::string& out, TokenId token, float logprob) const;
  std::string Text(TokenId token) const;  // its bytes; may be a part of a character

  std::shared_ptr<const Tokenizer> tokenizer_;
  bool tokens_as_ids_;
};

// A JSON number that is never an integer; what is not finite is −9999, as in vLLM.
void AppendLogprob(std::string& out, float value);

}  // namespace quire
