// Request heads and chunked bodies: whatever comes, the parsers end, keep their limits, and read it
// the same in one piece and in many.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "net/http_chunked_decoder.h"
#include "net/http_request_parser.h"

namespace {

using quire::HttpChunkedDecoder;
using quire::HttpRequestHead;
using quire::HttpRequestParser;
using quire::HttpWireLimits;

struct Reading {
  std::size_t taken = 0;
  int status = 0;  // of the fault
  bool head_done = false;
  bool body_done = false;
  std::string head;
  std::string body;

  bool operator==(const Reading& other) const = default;
};

HttpWireLimits SmallLimits() {  // so that short inputs reach them
  HttpWireLimits limits;
  limits.request_line_bytes = 64;
  limits.header_bytes = 64;
  limits.headers_bytes = 160;
  limits.num_headers = 6;
  limits.body_bytes = 48;
  limits.num_chunks = 5;
  return limits;
}

void CheckHead(const HttpRequestHead& request, const HttpWireLimits& limits) {
  const auto& headers = request.head.headers;
  QUIRE_CHECK(headers.size() <= static_cast<std::size_t>(limits.num_headers));
  QUIRE_CHECK(!request.head.path.empty() && !request.head.method.empty());
  QUIRE_CHECK(!(request.chunked && request.content_length > 0));
  QUIRE_CHECK(request.minor_version == 0 || request.head.Count("host") == 1);
  for (const quire::HttpHeader& header : headers) {
    QUIRE_CHECK(quire::IsHttpToken(header.name));
    QUIRE_CHECK(std::all_of(header.value.begin(), header.value.end(),
                            [](char c) { return (c >= ' ' && c < '\x7f') || c == '\t'; }));
  }
}

// Pieces of `step` bytes; the head, and behind it a body in chunks where the head says so.
Reading Read(std::string_view input, std::size_t step) {
  const HttpWireLimits limits = SmallLimits();
  HttpRequestParser parser(limits);
  Reading reading;
  while (reading.taken < input.size() && !parser.done() && !parser.fault()) {
    reading.taken += parser.Feed(input.substr(reading.taken, step));
  }
  if (parser.fault()) reading.status = parser.fault()->status;
  reading.head_done = parser.done();
  if (!parser.done()) return reading;
  const HttpRequestHead request = parser.Take();
  CheckHead(request, limits);
  for (const quire::HttpHeader& header : request.head.headers) {
    reading.head += header.name + ":" + header.value + "\n";
  }
  if (!request.chunked) return reading;
  HttpChunkedDecoder decoder(limits);
  while (reading.taken < input.size() && !decoder.done() && !decoder.fault()) {
    reading.taken += decoder.Feed(input.substr(reading.taken, step), &reading.body);
  }
  if (decoder.fault()) reading.status = decoder.fault()->status;
  reading.body_done = decoder.done();
  QUIRE_CHECK(reading.body.size() <= limits.body_bytes);
  return reading;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = 1 + data[0] % 16U;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  // Half of the inputs are a body at once, which a mutation seldom reaches through a good head.
  const std::string whole =
      data[0] < 128
          ? std::string(input)
          : "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(input);
  QUIRE_CHECK(Read(whole, whole.size()) == Read(whole, step));
  return 0;
}
