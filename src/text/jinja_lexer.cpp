#include "text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/utf8.h"
#include "text/jinja_budget.h"
#include "text/jinja_strings.h"

namespace quire::jinja {
namespace {

constexpr std::array<std::string_view, 7> kLongOperators = {"//", "**", "==", "!=", ">=", "<=", ""};
constexpr std::string_view kShortOperators = "+-/*%~[](){}><=.:|,;";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c); }

// All line ends become \n, and one at the very end is dropped.
std::string NormalizeLines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
      continue;
    }
    out.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

// Reads one template; owns the tokens found so far.
class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeLines(source)) {}

  std::vector<Token> Run() {
    while (position_ < source_.size()) ReadTextAndTag();
    Emit(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view Rest(std::size_t from) const { return std::string_view(source_).substr(from); }
  bool At(std::size_t position, std::string_view what) const {
    return Rest(std::min(position, source_.size())).starts_with(what);
  }
  [[noreturn]] void Fail(std::string message) const {
    throw TemplateError(std::move(message), line_);
  }

  void Emit(TokenType type, std::string text) { tokens_.push_back({type, line_, std::move(text)}); }

  // Moves on, counting lines; remembers whether the last byte passed was a line end.
  void Advance(std::size_t to) {
    const auto from = source_.begin() + static_cast<std::ptrdiff_t>(position_);
    const auto end = source_.begin() + static_cast<std::ptrdiff_t>(to);
    line_ += static_cast<int>(std::count(from, end, '\n'));
    if (to > position_) line_starting_ = source_[to - 1] == '\n';
    position_ = to;
  }
  void SkipWhitespace() { Advance(source_.size() - TrimLeft(Rest(position_)).size()); }

  // The text before a tag, without what `-` or the tag's place at a line's start takes away.
  std::string TrimBeforeTag(std::size_t tag, char sign, bool is_print) const {
    std::string_view text = Rest(position_).substr(0, tag - position_);
    if (sign == '-') return std::string(TrimRight(text));
    if (sign == '+' || is_print) return std::string(text);
    const std::size_t line_begin = text.rfind('\n') + 1;
    if (line_begin == 0 && !line_starting_) return std::string(text);
    if (TrimLeft(text.substr(line_begin)).empty()) text = text.substr(0, line_begin);
    return std::string(text);
  }

  char SignAt(std::size_t position) const {
    const char c = position < source_.size() ? source_[position] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  std::size_t FindTag() const {
    std::size_t at = position_;
    while ((at = source_.find('{', at)) != std::string::npos) {
      const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (next == '%' || next == '{' || next == '#') return at;
      ++at;
    }
    return std::string::npos;
  }

  void ReadTextAndTag() {
    const std::size_t tag = FindTag();
    if (tag == std::string::npos) {
      Emit(TokenType::kText, source_.substr(position_));
      Advance(source_.size());
      return;
    }
    const char sign = SignAt(tag + 2);
    const char type = source_[tag + 1];
    std::string text = TrimBeforeTag(tag, sign, type == '{');
    if (!text.empty()) Emit(TokenType::kText, std::move(text));
    Advance(tag);
    const std::size_t inside = tag + (sign == '\0' ? 2 : 3);
    if (type == '#') {
      ReadComment(inside);
    } else if (type == '%' && IsRaw(inside)) {
      ReadRaw();
    } else {
      Emit(type == '{' ? TokenType::kPrintBegin : TokenType::kBlockBegin, "");
      Advance(inside);
      ReadTag(type == '{');
    }
  }

  // Behind a tag's end: `-` takes all whitespace, a block's or comment's end one line end.
  void FinishTag(std::size_t end, char sign, bool trim_newline) {
    Advance(end);
    if (sign == '-') {
      SkipWhitespace();
    } else if (sign != '+' && trim_newline && At(position_, "\n")) {
      Advance(position_ + 1);
    }
  }

  void ReadComment(std::size_t inside) {
    const std::size_t end = source_.find("#}", inside);
    if (end == std::string::npos) Fail("Missing end of comment tag");
    const char sign = end > inside ? SignAt(end - 1) : '\0';
    FinishTag(end + 2, sign, true);
  }

  // If the tag whose inside begins here is just `word`: where it ends, with the sign of its end.
  std::pair<std::size_t, char> MatchWordTag(std::size_t inside, std::string_view word) const {
    std::size_t at = source_.size() - TrimLeft(Rest(inside)).size();
    if (!At(at, word)) return {std::string::npos, '\0'};
    at = source_.size() - TrimLeft(Rest(at + word.size())).size();
    const char sign = SignAt(at);
    if (sign != '\0') ++at;
    if (!At(at, "%}")) return {std::string::npos, '\0'};
    return {at + 2, sign};
  }
  bool IsRaw(std::size_t inside) const {
    const auto [end, sign] = MatchWordTag(inside, "raw");
    return end != std::string::npos && sign != '+';
  }

  void ReadRaw() {
    const std::size_t inside = position_ + (SignAt(position_ + 2) == '\0' ? 2 : 3);
    const auto [begin_end, begin_sign] = MatchWordTag(inside, "raw");
    FinishTag(begin_end, begin_sign, false);
    for (std::size_t at = source_.find("{%", position_); at != std::string::npos;
         at = source_.find("{%", at + 2)) {
      const char sign = SignAt(at + 2);
      const auto [end, end_sign] = MatchWordTag(at + (sign == '\0' ? 2 : 3), "endraw");
      if (end == std::string::npos) continue;
      std::string text = TrimBeforeTag(at, sign, false);
      if (!text.empty()) Emit(TokenType::kText, std::move(text));
      FinishTag(end, end_sign, true);
      return;
    }
    Fail("Missing end of raw directive");
  }

  void ReadTag(bool is_print) {
    const std::string_view close = is_print ? "}}" : "%}";
    std::string open;  // brackets that wait for their partner
    while (true) {
      SkipWhitespace();
      if (position_ >= source_.size()) Fail("unexpected end of template");
      if (open.empty() && TryEndTag(close, is_print)) return;
      const char c = source_[position_];
      if (IsDigit(c)) {
        ReadNumber();
      } else if (IsNameStart(c)) {
        std::size_t end = position_;
        while (end < source_.size() && IsNamePart(source_[end])) ++end;
        Emit(TokenType::kName, source_.substr(position_, end - position_));
        Advance(end);
      } else if (c == '"' || c == '\'') {
        ReadString(c);
      } else {
        ReadOperator(open);
      }
    }
  }

  bool TryEndTag(std::string_view close, bool is_print) {
    const char sign = SignAt(position_);
    if (sign == '+' && is_print) return false;
    const std::size_t at = position_ + (sign == '\0' ? 0 : 1);
    if (!At(at, close)) return false;
    Emit(is_print ? TokenType::kPrintEnd : TokenType::kBlockEnd, "");
    FinishTag(at + 2, sign, !is_print);
    return true;
  }

  void ReadOperator(std::string& open) {
    for (const std::string_view op : kLongOperators) {
      if (op.empty() || !At(position_, op)) continue;
      Emit(TokenType::kOperator, std::string(op));
      Advance(position_ + 2);
      return;
    }
    const char c = source_[position_];
    if (kShortOperators.find(c) == std::string_view::npos) Fail("unexpected character");
    if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) Fail(std::string("unexpected '") + c + "'");
      if (open.back() != c)
        Fail(std::string("unexpected '") + c + "', expected '" + open.back() + "'");
      open.pop_back();
    }
    Emit(TokenType::kOperator, std::string(1, c));
    Advance(position_ + 1);
  }

  // The end of digits with single underscores between them.
  template <class IsPart>
  std::size_t DigitsEnd(std::size_t at, IsPart is_part) const {
    while (at < source_.size()) {
      if (source_[at] == '_' && at + 1 < source_.size() && is_part(source_[at + 1])) ++at;
      if (!is_part(source_[at])) break;
      ++at;
    }
    return at;
  }

  static std::string WithoutUnderscores(std::string text) {
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    return text;
  }

  void ReadNumber() {
    const char prefix = position_ + 1 < source_.size() ? source_[position_ + 1] : '\0';
    if (source_[position_] == '0' && ReadPrefixed(prefix)) return;
    std::size_t end = DigitsEnd(position_, IsDigit);
    bool is_float = false;
    const bool behind_dot = position_ > 0 && source_[position_ - 1] == '.';
    if (!behind_dot && end + 1 < source_.size() && source_[end] == '.' &&
        IsDigit(source_[end + 1])) {
      is_float = true;
      end = DigitsEnd(end + 1, IsDigit);
    }
    if (!behind_dot && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      std::size_t digits = end + 1;
      if (SignAt(digits) != '\0') ++digits;
      if (digits < source_.size() && IsDigit(source_[digits])) {
        is_float = true;
        end = DigitsEnd(digits, IsDigit);
      }
    }
    Emit(is_float ? TokenType::kFloat : TokenType::kInteger,
         WithoutUnderscores(source_.substr(position_, end - position_)));
    Advance(end);
  }

  // 0x, 0o and 0b become decimal.
  bool ReadPrefixed(char prefix) {
    const int base = prefix == 'x' || prefix == 'X' ? 16 : prefix == 'o' || prefix == 'O' ? 8 : 2;
    if (base == 2 && prefix != 'b' && prefix != 'B') return false;
    const auto is_part = [base](char c) {
      if (base == 16 && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))) return true;
      return c >= '0' && c < '0' + std::min(base, 10);
    };
    const std::size_t end = DigitsEnd(position_ + 2, is_part);
    if (end == position_ + 2) return false;
    const std::string digits =
        WithoutUnderscores(source_.substr(position_ + 2, end - position_ - 2));
    std::int64_t value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (parsed.ec != std::errc()) Fail("integer too large");
    Emit(TokenType::kInteger, std::to_string(value));
    Advance(end);
    return true;
  }

  void ReadString(char quote) {
    std::size_t at = position_ + 1;
    while (at < source_.size() && source_[at] != quote) at += source_[at] == '\\' ? 2 : 1;
    if (at >= source_.size()) Fail("unterminated string");
    Emit(TokenType::kString, Unescape(Rest(position_ + 1).substr(0, at - position_ - 1)));
    Advance(at + 1);
  }

  std::string Unescape(std::string_view text) const {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 >= text.size()) {
        out.push_back(text[i]);
        continue;
      }
      const char c = text[++i];
      constexpr std::string_view kFrom = "ntrabfv\\'\"";
      constexpr std::string_view kTo = "\n\t\r\a\b\f\v\\'\"";
      if (const std::size_t simple = kFrom.find(c); simple != std::string_view::npos) {
        out.push_back(kTo[simple]);
      } else if (c == 'x' || c == 'u' || c == 'U') {
        i += AppendCode(out, text.substr(i + 1), c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
      } else if (c >= '0' && c <= '7') {
        std::size_t digits = 1;
        while (digits < 3 && i + digits < text.size() && text[i + digits] >= '0' &&
               text[i + digits] <= '7')
          ++digits;
        i += AppendCode(out, text.substr(i), digits, 8) - 1;
      } else if (c != '\n') {
        out.push_back('\\');
        out.push_back(c);
      }
    }
    return out;
  }

  std::size_t AppendCode(std::string& out, std::string_view text, std::size_t digits,
                         int base) const {
    std::uint32_t code = 0;
    const char* end = text.data() + std::min(digits, text.size());
    const auto parsed = std::from_chars(text.data(), end, code, base);
    if (text.size() < digits || parsed.ptr != text.data() + digits)
      Fail("broken escape in a string");
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
      Fail("an escape in a string is no Unicode character");
    AppendUtf8(out, code);
    return digits;
  }

  std::string source_;
  std::size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace quire::jinja
