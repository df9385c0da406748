#include "text/tokenizer_byte_level.h"

#include "base/utf8.h"

namespace quire {
namespace {

// Bytes that are printable Latin-1 characters stand for themselves, the 68 others for U+0100 and
// up.
constexpr bool StandsForItself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

struct Alphabet {
  char32_t char_of_byte[256] = {};
  unsigned char byte_of_other[68] = {};  // of U+0100 + index
};

constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  unsigned others = 0;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (StandsForItself(byte)) {
      alphabet.char_of_byte[byte] = byte;
    } else {
      alphabet.byte_of_other[others] = static_cast<unsigned char>(byte);
      alphabet.char_of_byte[byte] = 0x100 + others++;
    }
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

void AppendByteLevel(std::string& out, std::string_view bytes) {
  for (const char c : bytes) AppendUtf8(out, kAlphabet.char_of_byte[static_cast<unsigned char>(c)]);
}

std::optional<std::string> BytesOfByteLevel(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    const Utf8Char next = DecodeUtf8(token);
    token.remove_prefix(next.length);
    if (!next.valid) return std::nullopt;
    if (next.code < 0x100 && StandsForItself(next.code)) {
      bytes.push_back(static_cast<char>(next.code));
    } else if (next.code >= 0x100 && next.code < 0x100 + std::size(kAlphabet.byte_of_other)) {
      bytes.push_back(static_cast<char>(kAlphabet.byte_of_other[next.code - 0x100]));
    } else {
      return std::nullopt;
    }
  }
  return bytes;
}

}  // namespace quire
