// Text and numbers on their way into an HTML page.
#pragma once

#include <string>
#include <string_view>

namespace quire {

// For element content and quoted attribute values of HTML and XML alike: markup characters become
// entities; what neither allows (control characters, non-characters, ill-formed UTF-8) and what
// reorders the text around it (bidi controls) becomes U+FFFD.
std::string HtmlEscape(std::string_view text);

// The first `max_chars` characters, with an ellipsis in place of the last where some were cut.
std::string Shortened(std::string_view text, std::size_t max_chars);

// 12345.67 -> "12,345.7" at one decimal; "–" where it is not finite.
std::string GroupedNumber(double value, int decimals);
// With about three significant digits: 1234.5 -> "1,235", 12.345 -> "12.3", 0.01234 -> "0.0123".
std::string ReadableNumber(double value);
// What somebody asked for rather than what was measured: up to four digits, no zeros at the end.
std::string PlainNumber(double value);
// Puts separators into a plain decimal number ("1234.5"); other text comes back as it is.
std::string GroupDigits(std::string_view text);

}  // namespace quire
