#include "net/http_response_parser.h"

#include <algorithm>
#include <limits>

namespace quire {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::optional<std::string_view> HttpResponseHead::Header(std::string_view name) const {
  for (const HttpHeader& header : headers) {
    if (EqualsIgnoringCase(header.name, name)) return header.value;
  }
  return std::nullopt;
}

HttpWireLimits ClientWireLimits() {
  HttpWireLimits limits;
  limits.headers_bytes = 128 << 10;
  limits.header_bytes = 32 << 10;
  limits.num_headers = 1000;
  limits.body_bytes = std::size_t{1} << 30;
  limits.num_chunks = std::numeric_limits<int>::max();
  return limits;
}

HttpResponseParser::HttpResponseParser(const HttpWireLimits& limits)
    : limits_(limits), fields_(limits), chunks_(limits) {}

void HttpResponseParser::Reset() { *this = HttpResponseParser(limits_); }

std::size_t HttpResponseParser::Feed(std::string_view bytes, std::string* body) {
  started_ = started_ || !bytes.empty();
  std::size_t at = 0;
  while (at < bytes.size() && !done() && fault_.empty()) {
    const std::string_view rest = bytes.substr(at);
    switch (phase_) {
      case Phase::kStatusLine:
        at += FeedStatusLine(rest);
        break;
      case Phase::kFields:
        at += FeedFields(rest);
        break;
      case Phase::kChunks:
        at += FeedChunks(rest, body);
        break;
      case Phase::kLength:
      case Phase::kUntilClose:
        at += FeedPlain(rest, body);
        break;
      case Phase::kDone:
        break;
    }
  }
  return at;
}

void HttpResponseParser::OnEndOfStream() {
  if (done() || !fault_.empty()) return;
  if (phase_ == Phase::kUntilClose) {
    phase_ = Phase::kDone;
  } else {
    fault_ = started_ ? "the connection was closed in the middle of the answer"
                      : "the connection was closed without an answer";
  }
}

std::size_t HttpResponseParser::FeedStatusLine(std::string_view bytes) {
  const std::size_t taken = line_.Feed(bytes, limits_.header_bytes);
  switch (line_.state()) {
    case HttpLineReader::State::kPartial:
      break;
    case HttpLineReader::State::kBadByte:
      fault_ = "the answer is not HTTP/1.1";
      break;
    case HttpLineReader::State::kTooLong:
      fault_ = "the status line is too long";
      break;
    case HttpLineReader::State::kComplete:
      ParseStatusLine(line_.line());
      line_.Reset();
      phase_ = Phase::kFields;
      break;
  }
  return taken;
}

void HttpResponseParser::ParseStatusLine(std::string_view line) {
  // "HTTP/1.1 200 OK"; the reason may be absent, with its blank or without.
  if (line.size() < 12 || line.substr(0, 7) != "HTTP/1." || line[7] < '0' || line[7] > '1' ||
      line[8] != ' ' || !std::all_of(line.begin() + 9, line.begin() + 12, IsDigit) ||
      (line.size() > 12 && line[12] != ' ')) {
    fault_ = "the answer is not HTTP/1.1";
    return;
  }
  minor_version_ = line[7] - '0';
  head_.status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
  if (head_.status < 100 || head_.status == 101) fault_ = "the answer has a status of no use";
  if (line.size() > 13) head_.reason = std::string(line.substr(13));
}

std::size_t HttpResponseParser::FeedFields(std::string_view bytes) {
  const std::size_t taken = fields_.Feed(bytes);
  if (fields_.fault()) fault_ = std::string(fields_.fault()->message);
  if (fields_.done()) OnFields();
  return taken;
}

void HttpResponseParser::OnFields() {
  if (head_.status < 200) {  // 100 Continue, 103 Early Hints: the answer is still to come
    head_ = HttpResponseHead();
    fields_ = HttpFieldReader(limits_);
    phase_ = Phase::kStatusLine;
    return;
  }
  head_.headers = fields_.Take();
  if (!ReadFraming()) return;
  ReadKeepAlive();
  has_head_ = true;
}

bool HttpResponseParser::ReadFraming() {
  bool chunked = false;
  std::optional<std::uint64_t> length;
  for (const HttpHeader& header : head_.headers) {
    if (EqualsIgnoringCase(header.name, "Transfer-Encoding")) {
      if (chunked || minor_version_ == 0 || !EqualsIgnoringCase(header.value, "chunked")) {
        fault_ = "the answer has a Transfer-Encoding other than 'chunked'";
        return false;
      }
      chunked = true;
    } else if (EqualsIgnoringCase(header.name, "Content-Length")) {
      const auto number = ParseHttpLength(header.value);
      if (!number || (length && *length != *number)) {
        fault_ = "the Content-Length of the answer is not one whole number";
        return false;
      }
      length = number;
    }
  }
  if (chunked && length) {
    fault_ = "the answer has both Content-Length and Transfer-Encoding";
    return false;
  }
  left_ = length.value_or(0);
  if (head_.status == 204 || head_.status == 304 || (length && left_ == 0)) {
    phase_ = Phase::kDone;
  } else {
    phase_ = chunked ? Phase::kChunks : length ? Phase::kLength : Phase::kUntilClose;
  }
  return true;
}

void HttpResponseParser::ReadKeepAlive() {
  head_.keep_alive = minor_version_ > 0;
  for (const HttpHeader& header : head_.headers) {
    if (!EqualsIgnoringCase(header.name, "Connection")) continue;
    if (HttpListHas(header.value, "keep-alive")) head_.keep_alive = true;
    if (HttpListHas(header.value, "close")) {
      head_.keep_alive = false;
      break;
    }
  }
  if (phase_ == Phase::kUntilClose) head_.keep_alive = false;
}

std::size_t HttpResponseParser::FeedChunks(std::string_view bytes, std::string* body) {
  const std::size_t taken = chunks_.Feed(bytes, body);
  if (chunks_.fault()) fault_ = std::string(chunks_.fault()->message);
  if (chunks_.done()) phase_ = Phase::kDone;
  return taken;
}

std::size_t HttpResponseParser::FeedPlain(std::string_view bytes, std::string* body) {
  const std::size_t wanted =
      phase_ == Phase::kLength
          ? static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()))
          : bytes.size();
  if (wanted > limits_.body_bytes - std::min(limits_.body_bytes, body->size())) {
    fault_ = "the answer is too large";
    return 0;
  }
  body->append(bytes.substr(0, wanted));
  if (phase_ == Phase::kLength) {
    left_ -= wanted;
    if (left_ == 0) phase_ = Phase::kDone;
  }
  return wanted;
}

}  // namespace quire
