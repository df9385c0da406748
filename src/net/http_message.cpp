#include "net/http_message.h"

#include <algorithm>

namespace quire {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}

std::optional<std::string_view> HttpHead::Header(std::string_view name) const {
  for (const HttpHeader& header : headers) {
    if (EqualsIgnoringCase(header.name, name)) return header.value;
  }
  return std::nullopt;
}

int HttpHead::Count(std::string_view name) const {
  return static_cast<int>(std::count_if(
      headers.begin(), headers.end(),
      [name](const HttpHeader& header) { return EqualsIgnoringCase(header.name, name); }));
}

}  // namespace quire
