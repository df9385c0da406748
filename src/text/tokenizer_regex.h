// TokenizerRegex: a regular expression of a tokenizer.json, with the meaning that it has there.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_json.h"

namespace quire {

struct TextSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
};

// Owns a compiled pattern. Immutable, so any number of threads may search with it.
class TokenizerRegex {
 public:
  // Of Oniguruma's syntax, as the tokenizers library uses it. The error's message is the
  // compiler's.
  static Result<TokenizerRegex> Compile(std::string_view pattern);
  // Matches exactly this text.
  static Result<TokenizerRegex> Literal(std::string_view text);
  // Of a field {"String": …} or {"Regex": …}.
  static Result<TokenizerRegex> Parse(const JsonView& pattern);

  // The text with every match replaced by `content`.
  std::string ReplaceAll(std::string_view text, std::string_view content) const;

  // Calls `visit` with every match of valid UTF-8 text from left to right; matches do not overlap,
  // an empty one directly behind another match does not count. Where the search exceeds its limits
  // there are no more matches.
  void ForEachMatch(std::string_view text, const std::function<void(TextSpan)>& visit) const;

 private:
  class Code;
  explicit TokenizerRegex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  static Result<TokenizerRegex> CompileWith(std::string_view pattern, unsigned options);

  std::shared_ptr<const Code> code_;
};

}  // namespace quire
