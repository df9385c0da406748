// Answers of a server and the events in them: whatever comes, the parsers end, keep their limits,
// and read it the same in one piece and in many.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "net/http_response_parser.h"
#include "net/sse_parser.h"
#include "net/url.h"

namespace {

using quire::HttpResponseParser;
using quire::HttpWireLimits;

struct Reading {
  std::size_t taken = 0;
  std::string fault;
  bool has_head = false;
  bool done = false;
  std::string head;
  std::string body;
  std::vector<std::string> events;
  bool events_fit = true;

  bool operator==(const Reading& other) const = default;
};

HttpWireLimits SmallLimits() {  // so that short inputs reach them
  HttpWireLimits limits;
  limits.header_bytes = 64;
  limits.headers_bytes = 160;
  limits.num_headers = 6;
  limits.body_bytes = 64;
  limits.num_chunks = 8;
  return limits;
}

Reading Read(std::string_view input, std::size_t step) {
  const HttpWireLimits limits = SmallLimits();
  HttpResponseParser parser(limits);
  quire::SseParser events(24);
  Reading reading;
  while (reading.taken < input.size() && !parser.done() && parser.fault().empty()) {
    const std::size_t before = reading.body.size();
    reading.taken += parser.Feed(input.substr(reading.taken, step), &reading.body);
    const std::string piece = reading.body.substr(before);  // a copy: read beyond it is a fault
    reading.events_fit =
        events.Feed(piece, [&](std::string_view data) { reading.events.emplace_back(data); });
  }
  parser.OnEndOfStream();
  reading.fault = parser.fault();
  reading.has_head = parser.has_head();
  reading.done = parser.done();
  QUIRE_CHECK(parser.done() != !parser.fault().empty());
  QUIRE_CHECK(reading.body.size() <= limits.body_bytes);
  if (!parser.has_head()) return reading;
  QUIRE_CHECK(parser.head().status >= 200 && parser.head().status <= 999);
  for (const quire::HttpHeader& header : parser.head().headers) {
    reading.head += header.name + ":" + header.value + "\n";
  }
  return reading;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = 1 + data[0] % 16U;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  (void)quire::ParseUrl(input);
  // Two thirds of the inputs are a body at once, which a mutation seldom reaches through a head.
  std::string whole(input);
  if (data[0] < 85) whole = "HTTP/1.1 200 OK\r\n\r\n" + whole;
  if (data[0] > 170) whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + whole;
  Reading at_once = Read(whole, whole.size());
  Reading in_pieces = Read(whole, step);
  // A body that does not fit is refused as a whole, or behind what had come of it.
  if (at_once.fault == "the answer is too large") {
    QUIRE_CHECK(in_pieces.fault == at_once.fault);
    return 0;
  }
  // An event that is too large is seen when its line ends or its piece does.
  if (!at_once.events_fit || !in_pieces.events_fit) at_once.events = in_pieces.events = {};
  QUIRE_CHECK(at_once.events_fit == in_pieces.events_fit);
  QUIRE_CHECK(at_once == in_pieces);
  return 0;
}
