// Python's string operations on UTF-8, where indices count characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire::jinja {

bool IsSpace(char32_t code);  // as str.isspace has it
std::string_view TrimLeft(std::string_view text);
std::string_view TrimRight(std::string_view text);
// Without the characters of `set` at the ends that are asked for; white space where there is no
// set.
std::string_view Strip(std::string_view text, const std::optional<std::string_view>& set, bool left,
                       bool right);

std::size_t CountChars(std::string_view text);
// The byte at which character `index` begins; the size where the text is shorter.
std::size_t ByteOffset(std::string_view text, std::size_t index);
std::vector<std::string_view> SplitChars(std::string_view text);
std::string Reverse(std::string_view text);

std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
std::string SwapCase(std::string_view text);
std::string Capitalize(std::string_view text);
std::string Title(std::string_view text);  // str.title()
enum class CharClass : std::uint8_t { kAlpha, kDigit, kAlnum, kLower, kUpper, kSpace, kNone };
CharClass Classify(char32_t code);  // kLower and kUpper for cased letters, kAlpha for others
bool IsPrintable(char32_t code);    // as repr() has it

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to,
                       std::int64_t count);
// How large ReplaceAll's result would be.
std::size_t ReplacedSize(std::string_view text, std::string_view from, std::string_view to,
                         std::int64_t count);
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);
// At most `limit` splits (any number where negative), at white space where there is no separator.
std::vector<std::string_view> Split(std::string_view text,
                                    const std::optional<std::string_view>& separator,
                                    std::int64_t limit, bool from_right);

std::string EscapeHtml(std::string_view text);  // as markupsafe
std::string FormatFloat(double value);          // as repr()
// As printf's %e, %f and %g, but the same in every locale. `type` may be a capital letter.
std::string FormatFixed(double value, char type, int precision);
// A whole text as float() reads it, without white space.
std::optional<double> ParseFloat(std::string_view text);
// As repr(): quotes, escapes.
void AppendRepr(std::string& out, std::string_view text);
// As json.dumps().
void AppendJson(std::string& out, std::string_view text, bool ascii_only);

}  // namespace quire::jinja
