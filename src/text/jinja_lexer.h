// Splits the source of a template into tokens, with the whitespace control that Hugging Face turns
// on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quire::jinja {

enum class TokenType : std::uint8_t {
  kText,        // outside of tags, whitespace already trimmed
  kBlockBegin,  // {%
  kBlockEnd,
  kPrintBegin,  // {{
  kPrintEnd,
  kName,
  kString,   // its value, escapes decoded
  kInteger,  // decimal, without underscores
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  int line = 1;
  std::string text;
};

// Throws TemplateError. The last token is kEnd.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace quire::jinja
