// HttpChunkedDecoder: a body in chunks (RFC 9112, 7.1), made whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/http_lines.h"
#include "net/http_message.h"

namespace quire {

// Owns its place in the coding; the decoded bytes are the caller's.
class HttpChunkedDecoder {
 public:
  explicit HttpChunkedDecoder(const HttpWireLimits& limits) : limits_(limits), trailers_(limits) {}

  // Takes bytes up to the end of the body, or up to its first fault, and says how many. Appends
  // what they decode to; the body never gets larger than its limit. Trailers are checked and
  // dropped.
  std::size_t Feed(std::string_view bytes, std::string* body);

  bool done() const { return phase_ == Phase::kDone; }
  const std::optional<HttpFault>& fault() const { return fault_; }

 private:
  enum class Phase : unsigned char { kSize, kData, kDataEnd, kTrailers, kDone };

  std::size_t FeedSize(std::string_view bytes, std::size_t body_size);
  std::size_t FeedData(std::string_view bytes, std::string* body);
  std::size_t FeedDataEnd(std::string_view bytes);
  std::optional<HttpFault> OnSizeLine(std::string_view line, std::size_t body_size);

  HttpWireLimits limits_;
  HttpLineReader line_;
  HttpFieldReader trailers_;
  Phase phase_ = Phase::kSize;
  std::uint64_t left_ = 0;           // of this chunk's data
  bool behind_cr_ = false;           // of the CRLF behind the data
  std::size_t extension_bytes_ = 0;  // of all chunks
  int num_chunks_ = 0;
  std::optional<HttpFault> fault_;
};

}  // namespace quire
