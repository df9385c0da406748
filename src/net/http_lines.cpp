#include "net/http_lines.h"

#include <algorithm>
#include <limits>

namespace quire {
namespace {

bool IsTokenChar(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

bool IsLineByte(char c) { return (c >= ' ' && c < '\x7f') || c == '\t'; }

std::string_view Trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace

bool IsHttpToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenChar);
}

bool IsHexDigit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}

std::optional<std::uint64_t> ParseHttpLength(std::string_view text) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t length = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (length > (kMax - digit) / 10) return std::nullopt;
    length = length * 10 + digit;
  }
  if (text.empty()) return std::nullopt;
  return length;
}

bool HttpListHas(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    const std::string_view item = Trimmed(list.substr(0, comma));
    if (EqualsIgnoringCase(item, word)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

std::size_t HttpLineReader::Feed(std::string_view bytes, std::size_t limit) {
  for (std::size_t at = 0; at < bytes.size() && state_ == State::kPartial; ++at) {
    const char c = bytes[at];
    if (behind_cr_) {
      state_ = c == '\n' ? State::kComplete : State::kBadByte;
    } else if (c == '\r') {
      behind_cr_ = true;
    } else if (!IsLineByte(c)) {
      state_ = State::kBadByte;
    } else if (line_.size() == limit) {
      state_ = State::kTooLong;
    } else {
      line_.push_back(c);
    }
    if (state_ != State::kPartial) return at + 1;
  }
  return bytes.size();
}

void HttpLineReader::Reset() {
  line_.clear();
  behind_cr_ = false;
  state_ = State::kPartial;
}

std::size_t HttpFieldReader::Feed(std::string_view bytes) {
  std::size_t at = 0;
  while (at < bytes.size() && !done_ && !fault_) {
    const std::size_t left = limits_.headers_bytes - std::min(limits_.headers_bytes, num_bytes_);
    at += line_.Feed(bytes.substr(at), std::min(limits_.header_bytes, left));
    switch (line_.state()) {
      case HttpLineReader::State::kPartial:
        break;
      case HttpLineReader::State::kBadByte:
        fault_ = HttpFault{400, "a header holds a byte that is not allowed there"};
        break;
      case HttpLineReader::State::kTooLong:
        fault_ = HttpFault{431, "the headers are too large"};
        break;
      case HttpLineReader::State::kComplete:
        OnLine();
        line_.Reset();
        break;
    }
  }
  return at;
}

void HttpFieldReader::OnLine() {
  const std::string_view line = line_.line();
  if (line.empty()) {
    done_ = true;
    return;
  }
  num_bytes_ += line.size() + 2;
  // A folded line begins with a blank and so has no token in front of its colon.
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || !IsHttpToken(line.substr(0, colon))) {
    fault_ = HttpFault{400, "a header line is not of the form 'name: value'"};
  } else if (headers_.size() >= static_cast<std::size_t>(std::max(0, limits_.num_headers))) {
    fault_ = HttpFault{431, "there are too many headers"};
  } else {
    headers_.push_back(
        {std::string(line.substr(0, colon)), std::string(Trimmed(line.substr(colon + 1)))});
  }
}

}  // namespace quire
