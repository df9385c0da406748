#include "bench/html_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/utf8.h"

namespace quire {
namespace {

bool IsUnfitForMarkup(char32_t c) {
  if (c < 0x20) return c != '\n' && c != '\t';
  if (c >= 0x7F && c <= 0x9F) return true;
  if ((c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069)) return true;  // bidi controls
  return (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
}

bool AllDigits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string SignificantDigits(double value, int digits) {
  const double size = std::abs(value);
  if (!std::isfinite(value) || size == 0) return GroupedNumber(value, 0);
  // 99.96 reads as 100 at three digits, so the rounded value decides.
  const double rounded = size * (1 + 0.5 * std::pow(10, -digits));
  const int exponent = static_cast<int>(std::floor(std::log10(rounded)));
  return GroupedNumber(value, std::clamp(digits - 1 - exponent, 0, 6));
}

}  // namespace

std::string HtmlEscape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    const Utf8Char c = DecodeUtf8(text);
    if (!c.valid || IsUnfitForMarkup(c.code)) {
      AppendUtf8(out, 0xFFFD);
    } else if (c.code == '&') {
      out += "&amp;";
    } else if (c.code == '<') {
      out += "&lt;";
    } else if (c.code == '>') {
      out += "&gt;";
    } else if (c.code == '"') {
      out += "&quot;";
    } else if (c.code == '\'') {
      out += "&#39;";
    } else {
      out.append(text.substr(0, c.length));
    }
    text.remove_prefix(c.length);
  }
  return out;
}

std::string Shortened(std::string_view text, std::size_t max_chars) {
  std::size_t chars = 0, cut = 0;
  for (std::string_view rest = text; !rest.empty(); ++chars) {
    const std::size_t at = text.size() - rest.size();
    if (chars + 1 == max_chars) cut = at;
    if (chars == max_chars) return std::string(text.substr(0, cut)) + "…";
    rest.remove_prefix(DecodeUtf8(rest).length);
  }
  return std::string(text);
}

std::string GroupedNumber(double value, int decimals) {
  if (!std::isfinite(value)) return "–";
  if (std::abs(value) >= 1e15) return fmt::format("{:.3g}", value);
  std::string digits = fmt::format("{:.{}f}", std::abs(value), std::clamp(decimals, 0, 9));
  const bool is_zero = digits.find_first_not_of("0.") == std::string::npos;
  digits = GroupDigits(digits);
  return value < 0 && !is_zero ? "−" + digits : digits;
}

std::string ReadableNumber(double value) { return SignificantDigits(value, 3); }

std::string PlainNumber(double value) {
  std::string text = SignificantDigits(value, 4);
  if (text.find('.') == std::string::npos) return text;
  text.resize(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string GroupDigits(std::string_view text) {
  const std::size_t dot = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, dot);
  if (!AllDigits(whole) || (dot < text.size() && !AllDigits(text.substr(dot + 1))))
    return std::string(text);
  std::string out;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    if (i > 0 && (whole.size() - i) % 3 == 0) out += ',';
    out += whole[i];
  }
  return out.append(text.substr(dot));
}

}  // namespace quire
