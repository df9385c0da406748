// UTF-8, one character at a time (Unicode 15, table 3-7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace quire {

struct Utf8Char {
  char32_t code = 0xFFFD;
  std::size_t length =
      1;  // bytes consumed: of an ill-formed sequence its maximal subpart, at least 1
  bool valid = false;
};

// The first character of a text that is not empty.
Utf8Char DecodeUtf8(std::string_view text);
void AppendUtf8(std::string& out, char32_t code);
bool IsValidUtf8(std::string_view text);

// Ill-formed parts become U+FFFD, one for each maximal subpart, as Python's and Rust's lossy
// decoders do.
std::string ToValidUtf8(std::string_view bytes);

// How many bytes at the end are the beginning of a character that more bytes could complete (0 to
// 3).
std::size_t IncompleteUtf8Tail(std::string_view bytes);

}  // namespace quire
