// HTTP messages as data: what a request's head says, and how much of a message is read at most.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

struct HttpHeader {
  std::string name;  // as sent; compared without case
  std::string value;
};

// Request line and headers, checked (RFC 9112): exactly one valid Host, one framing, no folding.
struct HttpHead {
  std::string method;
  std::string path;   // the raw path of the target, not decoded, not normalised
  std::string query;  // behind '?', raw
  std::vector<HttpHeader> headers;

  // The value of the header; nothing where it is absent. Header() is of the first, Count() says how
  // many.
  std::optional<std::string_view> Header(std::string_view name) const;
  int Count(std::string_view name) const;
};

struct HttpWireLimits {
  std::size_t request_line_bytes = 8 << 10;
  std::size_t header_bytes = 8 << 10;    // one header line
  std::size_t headers_bytes = 32 << 10;  // all of them; also of trailers, and of chunk extensions
  int num_headers = 100;
  std::size_t body_bytes = 16 << 20;
  int num_chunks = 65536;
};

// Why a message is refused: a status and a sentence of ours, in which nothing of the client's
// stands.
struct HttpFault {
  int status = 400;
  std::string_view message;  // of static storage
};

bool EqualsIgnoringCase(std::string_view a, std::string_view b);  // ASCII

}  // namespace quire
