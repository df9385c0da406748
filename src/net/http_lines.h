// Lines and header fields of HTTP/1.1 read piece by piece: CRLF only, no control or 8-bit bytes,
// bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/http_message.h"

namespace quire {

bool IsHttpToken(std::string_view text);  // RFC 9110's token: not empty
bool IsHexDigit(char c);
// Content-Length: digits only; nothing where there are none or the number does not fit.
std::optional<std::uint64_t> ParseHttpLength(std::string_view text);
bool HttpListHas(std::string_view list, std::string_view word);  // a comma-separated one

// Owns the line that is being gathered.
class HttpLineReader {
 public:
  enum class State : unsigned char { kPartial, kComplete, kBadByte, kTooLong };

  // Takes bytes until the line ends or is refused, and says how many. The limit is without CRLF.
  std::size_t Feed(std::string_view bytes, std::size_t limit);
  void Reset();  // for the next line

  State state() const { return state_; }
  const std::string& line() const { return line_; }  // without CRLF

 private:
  std::string line_;
  bool behind_cr_ = false;
  State state_ = State::kPartial;
};

// Header lines up to and with the empty one that ends them. Owns the fields read so far.
class HttpFieldReader {
 public:
  explicit HttpFieldReader(const HttpWireLimits& limits) : limits_(limits) {}

  std::size_t Feed(std::string_view bytes);  // how many it took; fewer only when done or at a fault

  bool done() const { return done_; }
  const std::optional<HttpFault>& fault() const { return fault_; }
  std::vector<HttpHeader> Take() { return std::move(headers_); }

 private:
  void OnLine();

  HttpWireLimits limits_;
  HttpLineReader line_;
  std::vector<HttpHeader> headers_;
  std::size_t num_bytes_ = 0;
  bool done_ = false;
  std::optional<HttpFault> fault_;
};

}  // namespace quire
