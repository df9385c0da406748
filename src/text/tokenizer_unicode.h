// Classes of characters as the tokenizers library sees them.
#pragma once

#include <cstddef>
#include <string_view>

namespace quire {

bool IsWhiteSpace(char32_t code);
bool IsWordCharacter(char32_t code);
bool IsCombiningMark(char32_t code);

// The library's normalisation tables are those of Unicode 9: true for characters that were given a
// combining class or a decomposition later.
bool IsNewerThanNormalization(char32_t code);

// Of valid UTF-8 text: the bytes of white space at its start and at its end.
std::size_t LeadingWhiteSpace(std::string_view text);
std::size_t TrailingWhiteSpace(std::string_view text);

bool StartsWithWordCharacter(std::string_view text);
bool EndsWithWordCharacter(std::string_view text);

}  // namespace quire
