// HttpRequestParser: the head of an HTTP/1.1 request, strictly by RFC 9112. What a proxy in front
// might read otherwise than we do is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "net/http_lines.h"
#include "net/http_message.h"

namespace quire {

// A head, and what it says about the bytes behind it.
struct HttpRequestHead {
  enum class Expectation : unsigned char { kNone, kContinue, kUnknown };

  HttpHead head;
  int minor_version = 1;  // HTTP/1.0 or HTTP/1.1
  bool chunked = false;
  std::uint64_t content_length = 0;  // 0 where chunked or absent
  bool keep_alive = true;            // never with HTTP/1.0
  Expectation expectation = Expectation::kNone;

  bool has_body() const { return chunked || content_length > 0; }
};

// Owns the head read so far.
class HttpRequestParser {
 public:
  explicit HttpRequestParser(const HttpWireLimits& limits) : limits_(limits), fields_(limits) {}

  // Takes bytes up to the end of the head, or up to its first fault, and says how many.
  std::size_t Feed(std::string_view bytes);

  bool started() const { return in_fields_ || !line_.line().empty(); }
  bool done() const { return done_; }
  const std::optional<HttpFault>& fault() const { return fault_; }
  HttpRequestHead Take() { return std::move(request_); }  // once done

 private:
  std::size_t FeedStartLine(std::string_view bytes);
  std::optional<HttpFault> ParseStartLine(std::string_view line);
  std::optional<HttpFault> ParseTarget(std::string_view target);
  std::optional<HttpFault> Finish();
  std::optional<HttpFault> ReadFraming();
  void ReadConnectionAndExpect();

  HttpWireLimits limits_;
  HttpLineReader line_;
  HttpFieldReader fields_;
  HttpRequestHead request_;
  bool skipped_empty_line_ = false;
  bool in_fields_ = false;
  bool done_ = false;
  std::optional<HttpFault> fault_;
};

// Whether the text is uri-host [":" port], as Host and the authority of a target must be.
bool IsHttpAuthority(std::string_view text);

}  // namespace quire
