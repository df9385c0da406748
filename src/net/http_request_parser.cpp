#include "net/http_request_parser.h"

#include <algorithm>

namespace quire {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsVisible(char c) { return c > ' ' && c < '\x7f'; }

bool IsAlphanumeric(char c) {
  return IsDigit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool IsRegisteredName(std::string_view host) {
  for (std::size_t at = 0; at < host.size(); ++at) {
    if (host[at] == '%') {
      if (at + 2 >= host.size() || !IsHexDigit(host[at + 1]) || !IsHexDigit(host[at + 2])) {
        return false;
      }
      at += 2;
    } else if (!IsAlphanumeric(host[at]) &&
               std::string_view("-._~!$&'()*+,;=").find(host[at]) == std::string_view::npos) {
      return false;
    }
  }
  return !host.empty();
}

bool IsIpLiteral(std::string_view host) {  // [::1]
  if (host.size() < 4 || host.front() != '[' || host.back() != ']') return false;
  host = host.substr(1, host.size() - 2);
  return std::all_of(host.begin(), host.end(),
                     [](char c) { return IsHexDigit(c) || c == ':' || c == '.'; }) &&
         host.find(':') != std::string_view::npos;
}

bool IsPort(std::string_view text) {  // may be empty, by the RFC's grammar
  int port = 0;
  for (const char c : text) {
    if (!IsDigit(c)) return false;
    port = port * 10 + (c - '0');
    if (port > 65535) return false;
  }
  return true;
}

}  // namespace

bool IsHttpAuthority(std::string_view text) {
  const auto bracket = text.rfind(']');
  const auto colon = text.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const std::string_view host = text.substr(0, colon);
  const bool port_ok = colon == std::string_view::npos || IsPort(text.substr(colon + 1));
  return port_ok && (IsIpLiteral(host) || IsRegisteredName(host));
}

std::size_t HttpRequestParser::Feed(std::string_view bytes) {
  std::size_t at = 0;
  while (at < bytes.size() && !done_ && !fault_) {
    if (!in_fields_) {
      at += FeedStartLine(bytes.substr(at));
      continue;
    }
    at += fields_.Feed(bytes.substr(at));
    fault_ = fields_.fault();
    if (fields_.done()) {
      fault_ = Finish();
      done_ = !fault_;
    }
  }
  return at;
}

std::size_t HttpRequestParser::FeedStartLine(std::string_view bytes) {
  const std::size_t taken = line_.Feed(bytes, limits_.request_line_bytes);
  switch (line_.state()) {
    case HttpLineReader::State::kPartial:
      break;
    case HttpLineReader::State::kBadByte:
      fault_ = HttpFault{400, "this is not an HTTP/1.1 request"};
      break;
    case HttpLineReader::State::kTooLong:
      fault_ = HttpFault{414, "the request line is too long"};
      break;
    case HttpLineReader::State::kComplete:
      // RFC 9112, 2.2: old clients send an empty line behind a body.
      if (line_.line().empty() && !skipped_empty_line_) {
        skipped_empty_line_ = true;
      } else {
        fault_ = ParseStartLine(line_.line());
        in_fields_ = true;
      }
      line_.Reset();
      break;
  }
  return taken;
}

std::optional<HttpFault> HttpRequestParser::ParseStartLine(std::string_view line) {
  const HttpFault malformed{400, "the request line is not 'METHOD target HTTP/1.1'"};
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return malformed;
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!IsHttpToken(method)) return malformed;
  if (version.size() != 8 || version.substr(0, 5) != "HTTP/" || !IsDigit(version[5]) ||
      version[6] != '.' || !IsDigit(version[7])) {
    return malformed;
  }
  if (version[5] != '1' || version[7] > '1') {
    return HttpFault{505, "only HTTP/1.1 and HTTP/1.0 are spoken here"};
  }
  if (method == "CONNECT") return HttpFault{501, "CONNECT is not supported"};
  request_.minor_version = version[7] - '0';
  request_.head.method = std::string(method);
  return ParseTarget(target);
}

std::optional<HttpFault> HttpRequestParser::ParseTarget(std::string_view target) {
  const HttpFault malformed{400, "the request target is malformed"};
  if (target.empty() || !std::all_of(target.begin(), target.end(), IsVisible) ||
      target.find('#') != std::string_view::npos) {
    return malformed;
  }
  if (target == "*") {
    if (request_.head.method != "OPTIONS") return malformed;
    request_.head.path = std::string(target);
    return std::nullopt;
  }
  if (target.front() != '/') {
    const auto mark = target.find("://");
    if (mark == std::string_view::npos) return malformed;
    const std::string_view scheme = target.substr(0, mark);
    if (!EqualsIgnoringCase(scheme, "http") && !EqualsIgnoringCase(scheme, "https")) {
      return malformed;
    }
    target.remove_prefix(mark + 3);
    const auto end = std::min(target.find_first_of("/?"), target.size());
    if (!IsHttpAuthority(target.substr(0, end))) return malformed;
    target.remove_prefix(end);
  }
  const auto question = target.find('?');
  const std::string_view path = target.substr(0, question);
  request_.head.path = std::string(path.empty() ? std::string_view("/") : path);
  if (question != std::string_view::npos)
    request_.head.query = std::string(target.substr(question + 1));
  return std::nullopt;
}

std::optional<HttpFault> HttpRequestParser::Finish() {
  HttpHead& head = request_.head;
  head.headers = fields_.Take();
  const int num_hosts = head.Count("Host");
  if (num_hosts > 1 || (num_hosts == 0 && request_.minor_version > 0)) {
    return HttpFault{400, "a request has exactly one Host header"};
  }
  if (num_hosts == 1 && !IsHttpAuthority(*head.Header("Host"))) {
    return HttpFault{400, "the Host header is not 'host' or 'host:port'"};
  }
  if (auto fault = ReadFraming()) return fault;
  ReadConnectionAndExpect();
  return std::nullopt;
}

std::optional<HttpFault> HttpRequestParser::ReadFraming() {
  const HttpHead& head = request_.head;
  const auto coding = head.Header("Transfer-Encoding");
  const auto length = head.Header("Content-Length");
  if (coding && length) {
    return HttpFault{400, "Content-Length and Transfer-Encoding exclude each other"};
  }
  if (coding) {
    if (request_.minor_version == 0 || head.Count("Transfer-Encoding") > 1) {
      return HttpFault{400, "the Transfer-Encoding header is malformed"};
    }
    if (!EqualsIgnoringCase(*coding, "chunked")) {
      if (IsHttpToken(*coding)) return HttpFault{501, "the only transfer coding here is 'chunked'"};
      return HttpFault{400, "the Transfer-Encoding header is malformed"};
    }
    request_.chunked = true;
  }
  for (const HttpHeader& header : head.headers) {
    if (!EqualsIgnoringCase(header.name, "Content-Length")) continue;
    const auto number = ParseHttpLength(header.value);
    if (!number || header.value != *length) {
      return HttpFault{400, "the Content-Length header is not one whole number"};
    }
    request_.content_length = *number;
  }
  return std::nullopt;
}

void HttpRequestParser::ReadConnectionAndExpect() {
  request_.keep_alive = request_.minor_version > 0;
  for (const HttpHeader& header : request_.head.headers) {
    if (EqualsIgnoringCase(header.name, "Connection") && HttpListHas(header.value, "close")) {
      request_.keep_alive = false;
    }
    // RFC 9110, 10.1.1: of an HTTP/1.0 client, 100-continue is ignored.
    if (request_.minor_version == 0 || !EqualsIgnoringCase(header.name, "Expect")) continue;
    using Expectation = HttpRequestHead::Expectation;
    if (!EqualsIgnoringCase(header.value, "100-continue")) {
      request_.expectation = Expectation::kUnknown;
    } else if (request_.expectation == Expectation::kNone) {
      request_.expectation = Expectation::kContinue;
    }
  }
}

}  // namespace quire
