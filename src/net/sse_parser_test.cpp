#include "net/sse_parser.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace quire {
namespace {

using Events = std::vector<std::string>;

// Pieces of `step` bytes; then nothing of a piece may be needed any more.
Events Parse(std::string_view stream, std::size_t step) {
  SseParser parser;
  Events events;
  for (std::size_t at = 0; at < stream.size(); at += step) {
    std::string piece(stream.substr(at, step));
    EXPECT_TRUE(parser.Feed(piece, [&](std::string_view data) { events.emplace_back(data); }));
    piece.assign(piece.size(), '#');
  }
  return events;
}

void Expect(std::string_view stream, const Events& expected) {
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    EXPECT_EQ(Parse(stream, step), expected) << stream << " in pieces of " << step;
  }
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    SseParser parser;
    Events events;
    for (const std::string& piece :
         {std::string(stream.substr(0, cut)), std::string(stream.substr(cut))}) {
      EXPECT_TRUE(parser.Feed(piece, [&](std::string_view data) { events.emplace_back(data); }));
    }
    EXPECT_EQ(events, expected) << stream << " cut at " << cut;
  }
}

TEST(SseParser, EndsLinesInThreeWays) {
  Expect("data: a\n\ndata: b\n\n", {"a", "b"});
  Expect("data: a\r\n\r\ndata: b\r\n\r\n", {"a", "b"});
  Expect("data: a\r\rdata: b\r\r", {"a", "b"});
  Expect("data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", {"a", "b", "c"});
  Expect("\n\r\n\rdata: a\n\n", {"a"});
}

TEST(SseParser, JoinsDataLines) {
  Expect("data: a\ndata:b\ndata\ndata:  c\n\n", {"a\nb\n\n c"});
  Expect("data:\n\n", {""});
  Expect("data\n\n", {""});
  Expect("data: a\r\nid: 1\r\ndata: b\r\n\r\n", {"a\nb"});
}

TEST(SseParser, ReadsOverTheRest) {
  Expect(": a comment\n\nevent: error\ndata: x\nretry: 5\nid\n\n", {"x"});
  Expect("database: no\ndat: a\n Data: b\nDATA: c\n\n", {});
  Expect("event: ping\n\n: data: x\n\n", {});
  Expect(
      "\xef\xbb\xbf"
      "data: a\n\n",
      {"a"});
}

TEST(SseParser, DropsAnUnfinishedEvent) {
  Expect("data: a\n\ndata: b\n", {"a"});
  Expect("data: b", {});
}

TEST(SseParser, BoundsAnEvent) {
  const auto fits = [](std::string_view stream, std::size_t step) {
    SseParser parser(16);
    for (std::size_t at = 0; at < stream.size(); at += step) {
      if (parser.Feed(stream.substr(at, step), [](std::string_view) {})) continue;
      EXPECT_FALSE(parser.Feed("\n\n", [](std::string_view) { FAIL(); }));
      return false;
    }
    return true;
  };
  for (const std::size_t step : {std::size_t{1}, std::size_t{3}, std::size_t{1000}}) {
    EXPECT_TRUE(fits("data: 0123456789\n\ndata: 0123456789\n\n", step));
    EXPECT_FALSE(fits("data: 0123456789x\n\n", step));
    EXPECT_FALSE(fits(":123456789012345678", step));
    EXPECT_FALSE(fits("data: 01234\ndata: 01234\ndata: 01234\n", step));
  }
}

// Against a reading of the whole stream line by line.
Events Naive(std::string text) {
  Events events;
  std::string data;
  bool has_data = false;
  while (true) {
    const auto end = text.find_first_of("\r\n");
    if (end == std::string::npos) return events;
    const std::string line = text.substr(0, end);
    text.erase(0, end + (text.compare(end, 2, "\r\n") == 0 ? 2 : 1));
    if (line.empty()) {
      if (has_data) events.push_back(data.substr(0, data.size() - 1));
      data.clear();
      has_data = false;
    } else if (line == "data" || line.compare(0, 5, "data:") == 0) {
      const std::string value = line.size() > 5 ? line.substr(5) : "";
      data += (value.compare(0, 1, " ") == 0 ? value.substr(1) : value) + "\n";
      has_data = true;
    }
  }
}

TEST(SseParser, AgreesWithANaiveReading) {
  std::mt19937 random(7);
  const std::vector<std::string> parts = {"data", ":", " ", "a", "\n", "\r", "\r\n", "data: xy"};
  for (int round = 0; round < 5000; ++round) {
    std::string stream;
    for (int i = 0; i < 30; ++i) stream += parts[random() % parts.size()];
    EXPECT_EQ(Parse(stream, 1 + random() % 12), Naive(stream)) << stream;
  }
}

}  // namespace
}  // namespace quire
