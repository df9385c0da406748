#include "text/jinja_strings.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "base/utf8.h"

namespace quire::jinja {
namespace {

using CodeMap = utf8proc_int32_t (*)(utf8proc_int32_t);

void AppendMapped(std::string& out, char32_t code, CodeMap map) {
  constexpr char32_t kSharpS = 0xDF;  // the one common letter whose capital form is two
  if (code == kSharpS && map == utf8proc_toupper) {
    out += "SS";
  } else if (code == kSharpS && map == utf8proc_totitle) {
    out += "Ss";
  } else {
    AppendUtf8(out, static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(code))));
  }
}

// Calls visit(code, bytes) for each character.
template <class Visit>
void ForEachChar(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const Utf8Char next = DecodeUtf8(text);
    visit(next.code, text.substr(0, next.length));
    text.remove_prefix(next.length);
  }
}

bool IsCased(char32_t code) {
  const CharClass type = Classify(code);
  return type == CharClass::kLower || type == CharClass::kUpper;
}

std::size_t LastCharSize(std::string_view text) {
  std::size_t size = 1;
  while (size < text.size() &&
         (static_cast<unsigned char>(text[text.size() - size]) & 0xC0) == 0x80)
    ++size;
  return size;
}

bool IsLineEnd(char32_t code) {
  return (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
         code == 0x2028 || code == 0x2029;
}

std::vector<std::string_view> SplitWhitespace(std::string_view text, std::int64_t limit) {
  std::vector<std::string_view> parts;
  text = TrimLeft(text);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<std::int64_t>(parts.size()) == limit) {
      parts.push_back(text);
      break;
    }
    std::size_t end = 0;
    while (end < text.size()) {
      const Utf8Char next = DecodeUtf8(text.substr(end));
      if (IsSpace(next.code)) break;
      end += next.length;
    }
    parts.push_back(text.substr(0, end));
    text = TrimLeft(text.substr(end));
  }
  return parts;
}

std::vector<std::string_view> SplitWhitespaceRight(std::string_view text, std::int64_t limit) {
  std::vector<std::string_view> parts;
  text = TrimRight(text);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<std::int64_t>(parts.size()) == limit) {
      parts.push_back(text);
      break;
    }
    std::size_t begin = text.size();
    while (begin > 0) {
      const std::size_t size = LastCharSize(text.substr(0, begin));
      if (IsSpace(DecodeUtf8(text.substr(begin - size)).code)) break;
      begin -= size;
    }
    parts.push_back(text.substr(begin));
    text = TrimRight(text.substr(0, begin));
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

bool IsSpace(char32_t code) {
  if (code < 0x80) return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

std::string_view Strip(std::string_view text, const std::optional<std::string_view>& set, bool left,
                       bool right) {
  const auto goes = [&](std::string_view character) {
    return set ? set->find(character) != std::string_view::npos
               : IsSpace(DecodeUtf8(character).code);
  };
  while (left && !text.empty()) {
    const std::size_t size = DecodeUtf8(text).length;
    if (!goes(text.substr(0, size))) break;
    text.remove_prefix(size);
  }
  while (right && !text.empty()) {
    const std::size_t size = LastCharSize(text);
    if (!goes(text.substr(text.size() - size))) break;
    text.remove_suffix(size);
  }
  return text;
}

std::string_view TrimLeft(std::string_view text) { return Strip(text, std::nullopt, true, false); }
std::string_view TrimRight(std::string_view text) { return Strip(text, std::nullopt, false, true); }

std::size_t CountChars(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::size_t ByteOffset(std::string_view text, std::size_t index) {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
    if (index-- == 0) break;
  }
  return at;
}

std::vector<std::string_view> SplitChars(std::string_view text) {
  std::vector<std::string_view> chars;
  chars.reserve(CountChars(text));
  ForEachChar(text, [&](char32_t, std::string_view bytes) { chars.push_back(bytes); });
  return chars;
}

std::string Reverse(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = LastCharSize(text);
    out += text.substr(text.size() - size);
    text.remove_suffix(size);
  }
  return out;
}

std::string Upper(std::string_view text) {
  std::string out;
  ForEachChar(text, [&](char32_t c, std::string_view) { AppendMapped(out, c, utf8proc_toupper); });
  return out;
}

std::string Lower(std::string_view text) {
  std::string out;
  ForEachChar(text, [&](char32_t c, std::string_view) { AppendMapped(out, c, utf8proc_tolower); });
  return out;
}

std::string SwapCase(std::string_view text) {
  std::string out;
  ForEachChar(text, [&](char32_t c, std::string_view) {
    const bool upper = Classify(c) == CharClass::kUpper;
    AppendMapped(out, c, upper ? utf8proc_tolower : utf8proc_toupper);
  });
  return out;
}

std::string Capitalize(std::string_view text) {
  std::string out;
  if (text.empty()) return out;
  const Utf8Char first = DecodeUtf8(text);
  AppendMapped(out, first.code, utf8proc_totitle);
  return out + Lower(text.substr(first.length));
}

std::string Title(std::string_view text) {
  std::string out;
  bool in_word = false;
  ForEachChar(text, [&](char32_t c, std::string_view) {
    AppendMapped(out, c, in_word ? utf8proc_tolower : utf8proc_totitle);
    in_word = IsCased(c);
  });
  return out;
}

CharClass Classify(char32_t code) {
  if (IsSpace(code)) return CharClass::kSpace;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LL:
      return CharClass::kLower;
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
      return CharClass::kUpper;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kAlpha;
    case UTF8PROC_CATEGORY_ND:
      return CharClass::kDigit;
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kAlnum;
    default:
      return CharClass::kNone;
  }
}

bool IsPrintable(char32_t code) {
  if (code == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::size_t ReplacedSize(std::string_view text, std::string_view from, std::string_view to,
                         std::int64_t count) {
  std::size_t found = from.empty() ? CountChars(text) + 1 : 0;
  for (std::size_t at = 0; !from.empty() && (at = text.find(from, at)) != std::string_view::npos;
       at += from.size())
    ++found;
  if (count >= 0) found = std::min(found, static_cast<std::size_t>(count));
  return text.size() + found * to.size() - (from.empty() ? 0 : found * from.size());
}

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to,
                       std::int64_t count) {
  std::string out;
  while (count != 0) {
    const std::size_t at = from.empty() ? 0 : text.find(from);
    if (at == std::string_view::npos) break;
    out += text.substr(0, at);
    out += to;
    if (count > 0) --count;
    text.remove_prefix(at + from.size());
    if (!from.empty()) continue;
    if (text.empty()) break;
    const std::size_t size = DecodeUtf8(text).length;
    out += text.substr(0, size);
    text.remove_prefix(size);
  }
  return out += text;
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char next = DecodeUtf8(text.substr(at));
    std::size_t end = at + next.length;
    if (IsLineEnd(next.code)) {
      if (text[at] == '\r' && end < text.size() && text[end] == '\n') ++end;
      lines.push_back(text.substr(begin, (keep_ends ? end : at) - begin));
      begin = end;
    }
    at = end;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::vector<std::string_view> Split(std::string_view text,
                                    const std::optional<std::string_view>& separator,
                                    std::int64_t limit, bool from_right) {
  if (!separator)
    return from_right ? SplitWhitespaceRight(text, limit) : SplitWhitespace(text, limit);
  std::vector<std::string_view> parts;
  while (limit < 0 || static_cast<std::int64_t>(parts.size()) < limit) {
    const std::size_t at = from_right ? text.rfind(*separator) : text.find(*separator);
    if (at == std::string_view::npos) break;
    const std::size_t end = at + separator->size();
    parts.push_back(from_right ? text.substr(end) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(end);
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

std::string FormatFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer{};
  const double size = std::fabs(value);
  const bool scientific = size != 0.0 && (size < 1e-4 || size >= 1e16);
  const auto format = scientific ? std::chars_format::scientific : std::chars_format::fixed;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr;
  std::string out(buffer.data(), end);
  if (!scientific && out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string FormatFixed(double value, char type, int precision) {
  const bool upper = type >= 'A' && type <= 'Z';
  const char lower = upper ? static_cast<char>(type - 'A' + 'a') : type;
  const auto format = lower == 'e'   ? std::chars_format::scientific
                      : lower == 'g' ? std::chars_format::general
                                     : std::chars_format::fixed;
  std::array<char, 1024> buffer{};  // 309 digits, a point and the precision
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format, precision).ptr;
  const std::string out(buffer.data(), end);
  return upper ? Upper(out) : out;
}

std::optional<double> ParseFloat(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  double value = 0.0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ptr != end || parsed.ec == std::errc::invalid_argument) return std::nullopt;
  if (parsed.ec == std::errc()) return value;
  const bool tiny =
      text.find("e-") != std::string_view::npos || text.find("E-") != std::string_view::npos;
  const double size = tiny ? 0.0 : std::numeric_limits<double>::infinity();
  return text.starts_with('-') ? -size : size;
}

void AppendRepr(std::string& out, std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out.push_back(quote);
  ForEachChar(text, [&](char32_t code, std::string_view bytes) {
    std::array<char, 12> buffer{};
    if (code == static_cast<unsigned char>(quote) || code == '\\') {
      out.push_back('\\');
      out += bytes;
    } else if (code == '\n' || code == '\r' || code == '\t') {
      out += code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
    } else if (IsPrintable(code)) {
      out += bytes;
    } else {
      const char* format = code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x";
      std::snprintf(buffer.data(), buffer.size(), format, static_cast<unsigned>(code));
      out += buffer.data();
    }
  });
  out.push_back(quote);
}

void AppendJson(std::string& out, std::string_view text, bool ascii_only) {
  const auto append_unit = [&out](unsigned unit) {
    std::array<char, 16> buffer{};  // a code unit needs 7
    std::snprintf(buffer.data(), buffer.size(), "\\u%04x", unit);
    out += buffer.data();
  };
  out.push_back('"');
  ForEachChar(text, [&](char32_t code, std::string_view bytes) {
    constexpr std::string_view kFrom = "\"\\\n\r\t\b\f";
    constexpr std::string_view kTo = "\"\\nrtbf";
    const std::size_t simple =
        code < 0x80 ? kFrom.find(static_cast<char>(code)) : std::string_view::npos;
    if (simple != std::string_view::npos) {
      out.push_back('\\');
      out.push_back(kTo[simple]);
    } else if (code < 0x20 || (ascii_only && code >= 0x80 && code < 0x10000)) {
      append_unit(static_cast<unsigned>(code));
    } else if (ascii_only && code >= 0x10000) {
      append_unit(0xD800U + ((static_cast<unsigned>(code) - 0x10000U) >> 10U));
      append_unit(0xDC00U + ((static_cast<unsigned>(code) - 0x10000U) & 0x3FFU));
    } else {
      out += bytes;
    }
  });
  out.push_back('"');
}

}  // namespace quire::jinja
