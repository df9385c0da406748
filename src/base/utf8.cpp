#include "base/utf8.h"

#include <algorithm>

namespace quire {
namespace {

struct Lead {
  std::size_t length;       // bytes of the whole character, 0 where no character begins so
  unsigned char low, high;  // what the second byte may be
};

Lead Classify(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// How many bytes at the start are the well-formed beginning of a character, and whether it is
// whole.
struct Prefix {
  std::size_t length;
  bool whole;
};

Prefix WellFormedPrefix(std::string_view text) {
  const Lead lead = Classify(static_cast<unsigned char>(text[0]));
  if (lead.length == 0) return {0, false};
  for (std::size_t i = 1; i < lead.length; ++i) {
    if (i >= text.size()) return {i, false};
    const auto byte = static_cast<unsigned char>(text[i]);
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {i, false};
  }
  return {lead.length, true};
}

}  // namespace

Utf8Char DecodeUtf8(std::string_view text) {
  const Prefix prefix = WellFormedPrefix(text);
  if (!prefix.whole) return {0xFFFD, std::max<std::size_t>(1, prefix.length), false};
  const auto first = static_cast<unsigned char>(text[0]);
  if (prefix.length == 1) return {first, 1, true};
  char32_t code = first & (0x7FU >> prefix.length);
  for (std::size_t i = 1; i < prefix.length; ++i)
    code = (code << 6) | (static_cast<unsigned char>(text[i]) & 0x3FU);
  return {code, prefix.length, true};
}

void AppendUtf8(std::string& out, char32_t code) {
  auto put = [&](char32_t bits) { out.push_back(static_cast<char>(bits)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const Prefix prefix = WellFormedPrefix(text);
    if (!prefix.whole) return false;
    text.remove_prefix(prefix.length);
  }
  return true;
}

std::string ToValidUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Char next = DecodeUtf8(bytes);
    if (next.valid) {
      out.append(bytes.substr(0, next.length));
    } else {
      out.append("\xef\xbf\xbd");
    }
    bytes.remove_prefix(next.length);
  }
  return out;
}

std::size_t IncompleteUtf8Tail(std::string_view bytes) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, bytes.size()); ++back) {
    const std::string_view tail = bytes.substr(bytes.size() - back);
    if ((static_cast<unsigned char>(tail[0]) & 0xC0U) == 0x80U) continue;  // a continuation byte
    const Prefix prefix = WellFormedPrefix(tail);
    return !prefix.whole && prefix.length == back ? back : 0;
  }
  return 0;
}

}  // namespace quire
