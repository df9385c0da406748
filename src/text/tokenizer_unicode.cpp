#include "text/tokenizer_unicode.h"

#include <utf8proc.h>

#include "base/utf8.h"

namespace quire {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

// The last character of a text that is not empty.
std::string_view LastCharacter(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && IsContinuation(text[begin])) --begin;
  return text.substr(begin);
}

}  // namespace

bool IsWhiteSpace(char32_t code) {
  return (code >= 0x9 && code <= 0xD) || code == 0x20 || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool IsCombiningMark(char32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return true;
    default:
      return false;
  }
}

bool IsWordCharacter(char32_t code) {
  // Joiners, and symbols that count as letters: circled, squared and parenthesised Latin ones.
  if (code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
      (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
      (code >= 0x1F170 && code <= 0x1F189))
    return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return IsCombiningMark(code);
  }
}

std::size_t LeadingWhiteSpace(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Utf8Char next = DecodeUtf8(text.substr(at));
    if (!IsWhiteSpace(next.code)) break;
    at += next.length;
  }
  return at;
}

std::size_t TrailingWhiteSpace(std::string_view text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view last = LastCharacter(rest);
    if (!IsWhiteSpace(DecodeUtf8(last).code)) break;
    rest.remove_suffix(last.size());
  }
  return text.size() - rest.size();
}

bool StartsWithWordCharacter(std::string_view text) {
  return !text.empty() && IsWordCharacter(DecodeUtf8(text).code);
}

bool EndsWithWordCharacter(std::string_view text) {
  return !text.empty() && IsWordCharacter(DecodeUtf8(LastCharacter(text)).code);
}

}  // namespace quire
