#include "server/http_connection_text.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <ctime>
#include <iterator>

#include "base/check.h"

namespace quire {
namespace {

std::string_view Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 426:
      return "Upgrade Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

void AppendDate(std::string* out) {
  static constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed",
                                                            "Thu", "Fri", "Sat"};
  static constexpr std::array<std::string_view, 12> kMonths = {
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  fmt::format_to(std::back_inserter(*out), "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
                 kDays[static_cast<std::size_t>(utc.tm_wday)], utc.tm_mday,
                 kMonths[static_cast<std::size_t>(utc.tm_mon)], utc.tm_year + 1900, utc.tm_hour,
                 utc.tm_min, utc.tm_sec);
}

// A value may have come from elsewhere: it must not be able to begin a header of its own.
void AppendHeader(std::string_view name, std::string_view value, std::string* out) {
  *out += name;
  *out += ": ";
  for (const char c : value) *out += c >= ' ' && c < '\x7f' ? c : ' ';
  *out += "\r\n";
}

std::string CommonHead(const HttpAnswerHead& head) {
  std::string out;
  out.reserve(256);
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\nDate: ", head.status,
                 Reason(head.status));
  AppendDate(&out);
  out += "\r\nServer: quire\r\n";
  if (HttpStatusHasBody(head.status)) AppendHeader("Content-Type", head.content_type, &out);
  AppendHeader("X-Request-Id", head.request_id, &out);
  if (head.headers != nullptr) {
    for (const HttpHeader& header : *head.headers) AppendHeader(header.name, header.value, &out);
  }
  if (head.close) out += "Connection: close\r\n";
  return out;
}

}  // namespace

bool HttpStatusHasBody(int status) { return status >= 200 && status != 204 && status != 304; }

std::string WholeAnswerHead(const HttpAnswerHead& head, std::size_t body_bytes) {
  std::string out = CommonHead(head);
  if (HttpStatusHasBody(head.status)) {
    fmt::format_to(std::back_inserter(out), "Content-Length: {}\r\n", body_bytes);
  }
  out += "\r\n";
  return out;
}

std::string StreamAnswerHead(const HttpAnswerHead& head, bool chunked) {
  std::string out = CommonHead(head);
  out += chunked ? "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
                 : "Cache-Control: no-cache\r\n\r\n";
  return out;
}

void AppendHttpChunk(std::string_view data, std::string* out) {
  fmt::format_to(std::back_inserter(*out), "{:x}\r\n", data.size());
  *out += data;
  *out += "\r\n";
}

std::string NewRequestId() {
  std::array<unsigned char, 16> bytes{};
  // So few bytes come whole or not at all, and not at all only before the kernel has started.
  QUIRE_CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  std::string id = "req-";
  for (const unsigned char byte : bytes) fmt::format_to(std::back_inserter(id), "{:02x}", byte);
  return id;
}

bool IsRequestId(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
           c == '_' || c == '-';
  });
}

}  // namespace quire
