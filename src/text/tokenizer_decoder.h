// TokenDecoder: what a token of tokenizer.json's spelling adds to a text.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_json.h"

namespace quire {

// Owns the steps of tokenizer.json's decoder, of which each but the last concerns one token.
// Immutable.
class TokenDecoder {
 public:
  class Step;  // rewrites a token

  // The character that is taken off the beginning of a text, and how often at most.
  struct TextStart {
    std::string character;
    std::size_t count = 0;
  };

  // Of the field decoder.
  static Result<TokenDecoder> Parse(const JsonView& config);

  TokenDecoder();
  ~TokenDecoder();
  TokenDecoder(TokenDecoder&&) noexcept;
  TokenDecoder& operator=(TokenDecoder&&) noexcept;

  // The token's bytes, which need not be whole characters. `is_first` where it begins a text.
  std::string BytesOf(std::string_view token, bool is_first) const;
  const TextStart& text_start() const { return text_start_; }

 private:
  Status Add(const JsonView& config, int nesting);
  Status AddStrip(const JsonView& config);
  Status AddMetaspace(const JsonView& config);
  Status AddReplace(const JsonView& config);

  std::vector<std::unique_ptr<const Step>> steps_;
  TextStart text_start_;
  bool fused_ = false;  // what follows in the sequence concerns the whole text
};

}  // namespace quire
