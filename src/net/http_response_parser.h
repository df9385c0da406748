// HttpResponseParser: one HTTP/1.1 response after another from a byte stream, as a client reads
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_chunked_decoder.h"
#include "net/http_lines.h"
#include "net/http_message.h"

namespace quire {

struct HttpResponseHead {
  int status = 0;
  std::string reason;
  std::vector<HttpHeader> headers;
  bool keep_alive = true;

  std::optional<std::string_view> Header(std::string_view name) const;
};

// What a client reads at most: any number of chunks, as a stream of events has no end of its own.
// body_bytes bounds what *body holds at a time.
HttpWireLimits ClientWireLimits();

// Owns its place in the response. Bodies by Content-Length, in chunks, or up to the end of the
// connection; 1xx responses are skipped. Lenient where servers differ (bare reason, any header
// order), strict about framing. Of answers to HEAD it knows nothing.
class HttpResponseParser {
 public:
  explicit HttpResponseParser(const HttpWireLimits& limits = ClientWireLimits());

  // Takes bytes up to the end of the response, or up to its first fault, and says how many it took.
  // New body bytes are appended to *body, which the caller may take away or clear in between.
  std::size_t Feed(std::string_view bytes, std::string* body);
  void OnEndOfStream();  // the peer closed: the end of such a body, a fault of any other
  void Reset();          // for the next response on the connection

  bool started() const { return started_; }  // a byte has come
  bool has_head() const { return has_head_; }
  bool done() const { return phase_ == Phase::kDone; }
  const HttpResponseHead& head() const { return head_; }
  const std::string& fault() const { return fault_; }  // empty: none

 private:
  enum class Phase : unsigned char { kStatusLine, kFields, kLength, kChunks, kUntilClose, kDone };

  std::size_t FeedStatusLine(std::string_view bytes);
  std::size_t FeedFields(std::string_view bytes);
  std::size_t FeedChunks(std::string_view bytes, std::string* body);
  std::size_t FeedPlain(std::string_view bytes, std::string* body);
  void ParseStatusLine(std::string_view line);
  void OnFields();
  bool ReadFraming();  // false: a fault
  void ReadKeepAlive();

  HttpWireLimits limits_;
  HttpLineReader line_;
  HttpFieldReader fields_;
  HttpChunkedDecoder chunks_;
  Phase phase_ = Phase::kStatusLine;
  std::uint64_t left_ = 0;  // of a body with Content-Length
  int minor_version_ = 1;
  HttpResponseHead head_;
  bool started_ = false;
  bool has_head_ = false;
  std::string fault_;
};

}  // namespace quire
