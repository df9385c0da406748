// Text that servers and files said, on its way to a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// Control characters, bidi controls and ill-formed UTF-8 become U+FFFD, line ends become spaces;
// of longer text the first `max_chars` characters, the last of them an ellipsis.
std::string PrintableText(std::string_view text, std::size_t max_chars = 200);

// Columns that valid UTF-8 takes on a terminal.
std::size_t DisplayWidth(std::string_view text);

// Lines of at most `width` columns, broken after one of " -/_." where there is one.
std::vector<std::string> WrapText(std::string_view text, std::size_t width);

}  // namespace quire
