// PromptCodec: text to token ids and back for datasets with exact lengths.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "net/http_message.h"
#include "net/url.h"

namespace quire {

class PromptCodec {
 public:
  virtual ~PromptCodec() = default;
  virtual Result<std::vector<TokenId>> Encode(std::string_view text) = 0;  // no special tokens
  virtual Result<std::string> Decode(std::span<const TokenId> ids) = 0;
  virtual std::int64_t vocab_size() const = 0;  // ids below it may be drawn at random
  virtual bool IsSpecial(TokenId id) const = 0;
};

// With the tokenizer.json of a folder.
Result<std::unique_ptr<PromptCodec>> LocalPromptCodec(const std::string& folder);

// With the server's /tokenize and /detokenize (vLLM, Quire). An error where it has none. No route
// says how large the vocabulary is (vLLM's /tokenizer_info is off by default and has no size), so
// that ids are tried: from one that the server itself uses upwards by doubling, then by bisection
// (about 30 requests, once) to the last id that /detokenize answers with text. In a vocabulary with
// gaps that is a lower bound, so that ids below it are safe to send. Which ids are special is not
// on the wire: IsSpecial is always false.
Result<std::unique_ptr<PromptCodec>> RemotePromptCodec(const Url& base,
                                                       const std::vector<HttpHeader>& headers,
                                                       const std::string& model);

}  // namespace quire
