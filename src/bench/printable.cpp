#include "bench/printable.h"

#include <utf8proc.h>

#include <algorithm>

#include "base/utf8.h"

namespace quire {
namespace {

bool IsUnprintable(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x200E && code <= 0x200F) ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

std::size_t CharWidth(char32_t code) {
  return static_cast<std::size_t>(
      std::max(0, utf8proc_charwidth(static_cast<utf8proc_int32_t>(code))));
}

}  // namespace

std::string PrintableText(std::string_view text, std::size_t max_chars) {
  std::string result;
  std::size_t before_last = 0;
  for (std::size_t chars = 0; !text.empty(); ++chars) {
    if (chars == max_chars) {
      result.resize(before_last);
      return result + "…";
    }
    before_last = result.size();
    const Utf8Char next = DecodeUtf8(text);
    if (next.valid && (next.code == '\n' || next.code == '\r' || next.code == '\t')) {
      result += ' ';
    } else {
      AppendUtf8(result, next.valid && !IsUnprintable(next.code) ? next.code : U'\uFFFD');
    }
    text.remove_prefix(next.length);
  }
  return result;
}

std::size_t DisplayWidth(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Utf8Char next = DecodeUtf8(text);
    width += CharWidth(next.code);
    text.remove_prefix(next.length);
  }
  return width;
}

std::vector<std::string> WrapText(std::string_view text, std::size_t width) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    std::size_t fits = 0, columns = 0, brk = 0;
    while (fits < text.size()) {
      const Utf8Char next = DecodeUtf8(text.substr(fits));
      columns += CharWidth(next.code);
      // A space at the end of a line takes no column.
      if (columns > width && fits > 0 && next.code != ' ') break;
      fits += next.length;
      if (next.code < 0x80 &&
          std::string_view(" -/_.").find(static_cast<char>(next.code)) != std::string_view::npos)
        brk = fits;
    }
    const std::size_t length = fits < text.size() && brk > 0 ? brk : fits;
    const std::string_view line = text.substr(0, length);
    lines.emplace_back(line.substr(0, line.find_last_not_of(' ') + 1));
    text.remove_prefix(length);
  }
  return lines;
}

}  // namespace quire
