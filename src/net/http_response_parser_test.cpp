#include "net/http_response_parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace quire {
namespace {

// What came of parsing, as text, so that ways of feeding can be compared. `end`: the peer closed.
std::string Outcome(HttpResponseParser& parser, std::size_t taken, const std::string& body,
                    bool end) {
  if (end) parser.OnEndOfStream();
  if (!parser.fault().empty()) return "fault: " + parser.fault();
  if (!parser.done()) return parser.has_head() ? "partial body" : "partial head";
  std::string text = std::to_string(parser.head().status) + " " + parser.head().reason +
                     (parser.head().keep_alive ? " keep" : " close") + " @" + std::to_string(taken);
  for (const HttpHeader& header : parser.head().headers) {
    text += "|" + header.name + "=" + header.value;
  }
  return text + "|" + body;
}

std::string Parse(std::string_view bytes, std::size_t step, bool end = false,
                  const HttpWireLimits& limits = ClientWireLimits()) {
  HttpResponseParser parser(limits);
  std::string body;
  std::size_t taken = 0;
  while (taken < bytes.size() && !parser.done() && parser.fault().empty()) {
    taken += parser.Feed(bytes.substr(taken, step), &body);
  }
  return Outcome(parser, taken, body, end);
}

std::string Whole(const std::string& text, bool end = false) {
  return Parse(text, text.size() + 1, end);
}

const std::vector<std::string>& GoodAnswers() {
  static const std::vector<std::string> answers = {
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
      "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 \r\nContent-length: 1\r\nContent-Length: 1\r\n\r\nx",
      "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx",
      "HTTP/1.1 204 No Content\r\nConnection: x, close\r\n\r\n",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
      "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nX: \t y \r\n\r\n"
      "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
  };
  return answers;
}

TEST(HttpResponseParser, ReadsTheFramings) {
  const auto expect = [](int index, const std::string& start, const std::string& rest) {
    const std::string& answer = GoodAnswers()[static_cast<std::size_t>(index)];
    EXPECT_EQ(Whole(answer + "more"), start + " @" + std::to_string(answer.size()) + rest);
  };
  expect(0, "200 OK keep", "|Content-Length=5|hello");
  expect(1, "200  keep", "|Content-Length=0|");
  expect(3, "200 OK keep", "|Connection=Keep-Alive|Content-Length=1|x");
  expect(4, "204 No Content close", "|Connection=x, close|");
  expect(5, "404 Not Found keep", "|Content-Length=2|no");
  expect(6, "200 OK keep", "|Transfer-Encoding=Chunked|X=y|hello world");
}

TEST(HttpResponseParser, ReadsTheSameInPieces) {
  for (const std::string& answer : GoodAnswers()) {
    const std::string whole = Whole(answer);
    EXPECT_EQ(whole.find("fault"), std::string::npos) << whole;
    for (std::size_t step = 1; step <= answer.size(); ++step) {
      EXPECT_EQ(Parse(answer, step), whole) << step;
    }
    for (std::size_t cut = 0; cut < answer.size(); ++cut) {
      EXPECT_EQ(Whole(answer.substr(0, cut)).find("partial"), 0U) << answer.substr(0, cut);
      EXPECT_EQ(Whole(answer.substr(0, cut), true).find("fault: the connection was closed"), 0U);
    }
  }
}

TEST(HttpResponseParser, ReadsABodyUpToTheEnd) {
  const std::string answer = "HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello";
  EXPECT_EQ(Whole(answer), "partial body");
  EXPECT_EQ(Whole(answer, true), "200 OK close @" + std::to_string(answer.size()) + "|X=y|hello");
  EXPECT_EQ(Whole("", true), "fault: the connection was closed without an answer");
}

TEST(HttpResponseParser, RefusesWhatIsMalformed) {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::string chunks = ok + "Transfer-Encoding: chunked\r\n\r\n";
  for (const std::string& answer : {
           std::string("SSH-2.0-x\r\n"),
           std::string("HTTP/2 200 OK\r\n\r\n"),
           std::string("HTTP/1.1 20 OK\r\n\r\n"),
           std::string("HTTP/1.1 2000\r\n\r\n"),
           std::string("HTTP/1.1 099 x\r\n\r\n"),
           std::string("HTTP/1.1 101 Switching\r\n\r\n"),
           std::string("HTTP/1.1 200 OK\n\n"),
           std::string("\r\n"),
           std::string("HTTP/1.1 200 \x01\r\n"),
           ok + " folded: x\r\n\r\n",
           ok + "no colon\r\n\r\n",
           ok + "Content-Length: -1\r\n\r\n",
           ok + "Content-Length: \r\n\r\n",
           ok + "Content-Length: 1, 1\r\n\r\n",
           ok + "Content-Length: 99999999999999999999\r\n\r\n",
           ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
           ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
           ok + "Transfer-Encoding: gzip, chunked\r\n\r\n",
           ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
           std::string("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
           chunks + "x\r\n",
           chunks + "2\r\nabc\r\n",
           chunks + "11111111111111111\r\n",
           ok + "Content-Length: 2000000000\r\n\r\nab",
       }) {
    const bool large = answer.find("2000000000") != std::string::npos;
    for (const std::size_t step : {std::size_t{1}, answer.size()}) {
      EXPECT_EQ(Parse(answer, step).find("fault"), large ? std::string::npos : 0U) << answer;
    }
  }
}

TEST(HttpResponseParser, BoundsWhatTheCallerHolds) {
  HttpWireLimits limits = ClientWireLimits();
  limits.body_bytes = 4;
  const std::string head = "HTTP/1.1 200 OK\r\n";
  EXPECT_EQ(Parse(head + "Content-Length: 5\r\n\r\nhello", 1000, false, limits),
            "fault: the answer is too large");
  EXPECT_EQ(Parse(head + "\r\nhello", 1, false, limits), "fault: the answer is too large");
}

TEST(HttpResponseParser, ReadsAStreamWithoutEnd) {
  HttpWireLimits limits = ClientWireLimits();
  limits.body_bytes = 100;
  HttpResponseParser parser(limits);
  std::string body;
  parser.Feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &body);
  for (int i = 0; i < 100000; ++i) {  // more chunks than a server would take of a request
    parser.Feed("3\r\nabc\r\n", &body);
    ASSERT_EQ(body, "abc");
    body.clear();
  }
  parser.Feed("0\r\n\r\n", &body);
  EXPECT_TRUE(parser.done()) << parser.fault();
}

TEST(HttpResponseParser, ReadsOneAnswerAfterAnother) {
  HttpResponseParser parser;
  std::string stream = GoodAnswers()[6] + GoodAnswers()[0];
  std::string body;
  stream.erase(0, parser.Feed(stream, &body));
  ASSERT_TRUE(parser.done());
  EXPECT_EQ(body, "hello world");
  body.clear();
  parser.Reset();
  EXPECT_FALSE(parser.started());
  EXPECT_EQ(parser.Feed(stream, &body), stream.size());
  EXPECT_TRUE(parser.done());
  EXPECT_EQ(body, "hello");
  EXPECT_EQ(parser.head().Header("content-length"), "5");
  EXPECT_EQ(parser.Feed("x", &body), 0U);
}

}  // namespace
}  // namespace quire
