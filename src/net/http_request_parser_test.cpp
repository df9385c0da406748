#include "net/http_request_parser.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace quire {
namespace {

// What came of parsing, as text, so that two ways of feeding can be compared.
std::string Outcome(HttpRequestParser& parser, std::size_t taken) {
  if (parser.fault()) {
    return std::to_string(parser.fault()->status) + " " + std::string(parser.fault()->message) +
           " @" + std::to_string(taken);
  }
  if (!parser.done()) return parser.started() ? "partial" : "idle";
  const HttpRequestHead request = parser.Take();
  std::string text = "ok @" + std::to_string(taken) + " " + request.head.method + " " +
                     request.head.path + " ? " + request.head.query + " 1." +
                     std::to_string(request.minor_version) + (request.chunked ? " chunked" : "") +
                     " " + std::to_string(request.content_length) +
                     (request.keep_alive ? " keep" : " close") + " " +
                     std::to_string(static_cast<int>(request.expectation));
  for (const HttpHeader& header : request.head.headers) {
    text += "|" + header.name + "=" + header.value;
  }
  return text;
}

std::string Parse(std::string_view bytes, std::size_t step, const HttpWireLimits& limits = {}) {
  HttpRequestParser parser(limits);
  std::size_t taken = 0;
  while (taken < bytes.size() && !parser.done() && !parser.fault()) {
    taken += parser.Feed(bytes.substr(taken, step));
  }
  return Outcome(parser, taken);
}

int Status(std::string_view bytes, const HttpWireLimits& limits = {}) {
  HttpRequestParser parser(limits);
  parser.Feed(bytes);
  if (parser.fault()) return parser.fault()->status;
  return parser.done() ? 200 : 0;
}

std::string WithLines(const std::vector<std::string>& lines, std::string_view start) {
  std::string text(start);
  text += "\r\n";
  for (const std::string& line : lines) text += line + "\r\n";
  return text + "\r\n";
}

std::string Get(const std::vector<std::string>& lines) {
  return WithLines(lines, "GET /v1/models HTTP/1.1");
}

std::string Post(std::vector<std::string> lines) {
  lines.insert(lines.begin(), "Host: a.test:8000");
  return WithLines(lines, "POST /v1/completions HTTP/1.1");
}

HttpRequestHead Parsed(const std::string& text) {
  HttpRequestParser parser{HttpWireLimits{}};
  EXPECT_EQ(parser.Feed(text), text.size());
  EXPECT_TRUE(parser.done()) << text;
  return parser.Take();
}

TEST(HttpRequestParser, ReadsAHead) {
  HttpRequestParser parser{HttpWireLimits{}};
  const std::string head =
      "POST /v1/x?a=b&c HTTP/1.1\r\nhOst: [::1]:8000\r\nX-A:\t a b \t\r\nX-Empty:\r\n"
      "Content-Length: 12\r\n\r\n";
  EXPECT_FALSE(parser.started());
  EXPECT_EQ(parser.Feed(head + "body and more"), head.size());
  ASSERT_TRUE(parser.done());
  const HttpRequestHead request = parser.Take();
  EXPECT_EQ(request.head.method, "POST");
  EXPECT_EQ(request.head.path, "/v1/x");
  EXPECT_EQ(request.head.query, "a=b&c");
  EXPECT_EQ(request.head.Header("HOST"), "[::1]:8000");
  EXPECT_EQ(request.head.Header("x-a"), "a b");
  EXPECT_EQ(request.head.Header("x-empty"), "");
  EXPECT_EQ(request.head.Header("x-none"), std::nullopt);
  EXPECT_EQ(request.content_length, 12U);
  EXPECT_TRUE(request.has_body());
  EXPECT_TRUE(request.keep_alive);
}

using Rows = std::vector<std::tuple<std::string, std::string, int>>;  // name, bytes, status

void ExpectStatuses(const Rows& rows) {
  for (const auto& [name, text, status] : rows) {
    EXPECT_EQ(Status(text), status) << name;
    EXPECT_EQ(Parse(text, 1), Parse(text, text.size())) << name;
    EXPECT_EQ(Parse(text, 7), Parse(text, text.size())) << name;
  }
}

TEST(HttpRequestParser, RefusesUnclearFraming) {  // H5, H6, H7
  ExpectStatuses({
      {"minus", Post({"Content-Length: -1"}), 400},
      {"plus", Post({"Content-Length: +5"}), 400},
      {"hex", Post({"Content-Length: 0x10"}), 400},
      {"list", Post({"Content-Length: 5, 6"}), 400},
      {"same-list", Post({"Content-Length: 5, 5"}), 400},
      {"empty", Post({"Content-Length: "}), 400},
      {"digits", Post({"Content-Length: " + std::string(30, '9')}), 400},
      {"2^64", Post({"Content-Length: 18446744073709551616"}), 400},
      {"2^64-1", Post({"Content-Length: 18446744073709551615"}), 200},
      {"space", Post({"Content-Length: 1 0"}), 400},
      {"float", Post({"Content-Length: 5.0"}), 400},
      {"two-lengths", Post({"Content-Length: 5", "Content-Length: 6"}), 400},
      {"one-length-twice", Post({"Content-Length: 5", "Content-Length: 5"}), 200},
      {"length-and-chunked", Post({"Content-Length: 5", "Transfer-Encoding: chunked"}), 400},
      {"chunked-and-length", Post({"Transfer-Encoding: chunked", "Content-Length: 5"}), 400},
      {"chunked", Post({"Transfer-Encoding: Chunked"}), 200},
      {"identity", Post({"Transfer-Encoding: chunked, identity"}), 400},
      {"unknown", Post({"Transfer-Encoding: xchunked"}), 501},
      {"gzip", Post({"Transfer-Encoding: gzip"}), 501},
      {"twice", Post({"Transfer-Encoding: chunked, chunked"}), 400},
      {"two-lines", Post({"Transfer-Encoding: chunked", "Transfer-Encoding: chunked"}), 400},
      {"empty-coding", Post({"Transfer-Encoding:"}), 400},
      {"quoted", Post({"Transfer-Encoding: \"chunked\""}), 400},
      {"vertical-tab",
       Post({"Transfer-Encoding: \x0b"
             "chunked"}),
       400},
      {"1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
  });
}

TEST(HttpRequestParser, RefusesUnclearHostsAndTargets) {  // H19, H20
  ExpectStatuses({
      {"path-in-host", Get({"Host: localhost/v1/models?"}), 400},
      {"two-hosts", Get({"Host: a.test", "Host: b.test"}), 400},
      {"same-host-twice", Get({"Host: a.test", "Host: a.test"}), 400},
      {"no-host", Get({}), 400},
      {"no-host-1.0", "GET / HTTP/1.0\r\n\r\n", 200},
      {"blank-in-host", Get({"Host: a b"}), 400},
      {"byte-in-host", Get({"Host: a\x01"}), 400},
      {"empty-host", Get({"Host:"}), 400},
      {"user-in-host", Get({"Host: me@a.test"}), 400},
      {"absolute", "GET http://evil.test/v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 200},
      {"absolute-ftp", "GET ftp://evil.test/v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"absolute-user", "GET http://u@evil.test/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"absolute-nobody", "GET http:///v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"relative", "GET v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"fragment", "GET /v1/models#a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"options-asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200},
      {"connect", "CONNECT a.test:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
  });
}

TEST(HttpRequestParser, RefusesMalformedHeadersAndStarts) {  // H21, H22
  ExpectStatuses({
      {"nul", Get({"Host: a", std::string("X-A: a\0b", 8)}), 400},
      {"bare-cr", Get({"Host: a", "X-A: a\rb"}), 400},
      {"fold", Get({"Host: a", "X-A: a\r\n b"}), 400},
      {"fold-tab", Get({"Host: a", "X-A: a\r\n\tb"}), 400},
      {"colon-space", Get({"Host: a", "X-A : a"}), 400},
      {"no-colon", Get({"Host: a", "X-A"}), 400},
      {"no-name", Get({"Host: a", ": a"}), 400},
      {"bad-name", Get({"Host: a", "X(A): a"}), 400},
      {"bare-lf", Get({"Host: a", "X-A: a\nX-B: b"}), 400},
      {"eight-bit", Get({"Host: a", "X-A: \xc3\xa9"}), 400},
      {"del", Get({"Host: a", "X-A: \x7f"}), 400},
      {"http-0.9", "GET /v1/models\r\n\r\n", 400},
      {"http-1.2", "GET /v1/models HTTP/1.2\r\nHost: a\r\n\r\n", 505},
      {"http-2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"tls", std::string("\x16\x03\x01\x00", 4), 400},
      {"no-target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"lower-case", "get /v1/models http/1.1\r\nhost: a\r\n\r\n", 400},
      {"tab", "GET\t/health\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"two-spaces", "GET  /health HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"space-behind", "GET /health HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
      {"space-in-target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"bare-lf-line", "GET /health HTTP/1.1\nHost: a\n\n", 400},
      {"one-empty-line", "\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n", 200},
      {"two-empty-lines", "\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n", 400},
  });
}

TEST(HttpRequestParser, RoutesAnAbsoluteTargetByItsPath) {
  const auto at = [](const std::string& target) {
    return Parsed("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n").head;
  };
  EXPECT_EQ(at("http://evil.test:80/v1/models?x").path, "/v1/models");
  EXPECT_EQ(at("http://evil.test:80/v1/models?x").query, "x");
  EXPECT_EQ(at("HTTPS://[::1]").path, "/");
  EXPECT_EQ(at("http://a.test?b/c").path, "/");
  EXPECT_EQ(at("http://a.test?b/c").query, "b/c");
  EXPECT_EQ(at("//v1//models").path, "//v1//models");
  EXPECT_EQ(at("/v1/%2e%2e/admin").path, "/v1/%2e%2e/admin");
}

TEST(HttpRequestParser, Authority) {
  for (const char* good : {"a", "a.test", "a_b-c~", "127.0.0.1:8000", "[::1]", "[::1]:80",
                           "a:", "a%20b", "localhost:65535"}) {
    EXPECT_TRUE(IsHttpAuthority(good)) << good;
  }
  for (const char* bad : {"",     ":80",    "a:65536",  "a:8o", "a:80:80", "[::1",  "::1",
                          "[]",   "[::1]x", "[a.test]", "a]",   "a/b",     "a?b",   "a#b",
                          "a\\b", "a@b",    "a%2",      "a%zz", "a:-1",    "\"a\"", "a<b"}) {
    EXPECT_FALSE(IsHttpAuthority(bad)) << bad;
  }
}

TEST(HttpRequestParser, ConnectionAndExpect) {
  using Expectation = HttpRequestHead::Expectation;
  EXPECT_FALSE(Parsed(Post({"Connection: Close"})).keep_alive);
  EXPECT_FALSE(Parsed(Post({"Connection: foo , close,bar"})).keep_alive);
  EXPECT_FALSE(Parsed(Post({"Connection: Upgrade", "Connection: close"})).keep_alive);
  EXPECT_TRUE(Parsed(Post({"Connection: Upgrade, HTTP2-Settings"})).keep_alive);
  EXPECT_TRUE(Parsed(Post({"Connection: ,,closed,"})).keep_alive);
  EXPECT_FALSE(Parsed("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
  EXPECT_EQ(Parsed(Post({})).expectation, Expectation::kNone);
  EXPECT_EQ(Parsed(Post({"Expect: 100-Continue"})).expectation, Expectation::kContinue);
  EXPECT_EQ(Parsed(Post({"Expect: the-best"})).expectation, Expectation::kUnknown);
  EXPECT_EQ(Parsed(Post({"Expect: the-best", "Expect: 100-continue"})).expectation,
            Expectation::kUnknown);
  EXPECT_EQ(Parsed("GET / HTTP/1.0\r\nExpect: x\r\n\r\n").expectation, Expectation::kNone);
}

TEST(HttpRequestParser, Limits) {
  HttpWireLimits limits;
  limits.request_line_bytes = 30;
  limits.header_bytes = 20;
  limits.headers_bytes = 60;
  limits.num_headers = 4;
  const auto target = [](std::size_t n) {  // a request line of n bytes
    return "GET /" + std::string(n - 14, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n";
  };
  EXPECT_EQ(Status(target(30), limits), 200);
  EXPECT_EQ(Status(target(31), limits), 414);
  const std::string start = "GET / HTTP/1.1\r\nHost: a\r\n";  // 9 bytes of headers
  const auto line = [](std::size_t n) { return "X: " + std::string(n - 3, 'a') + "\r\n"; };
  EXPECT_EQ(Status(start + line(20) + "\r\n", limits), 200);
  EXPECT_EQ(Status(start + line(21) + "\r\n", limits), 431);
  EXPECT_EQ(Status(start + line(20) + line(20) + line(5) + "\r\n", limits), 200);
  EXPECT_EQ(Status(start + line(20) + line(20) + line(8) + "\r\n", limits), 431);
  EXPECT_EQ(Status(start + line(4) + line(4) + line(4) + "\r\n", limits), 200);
  EXPECT_EQ(Status(start + line(4) + line(4) + line(4) + line(4) + "\r\n", limits), 431);
}

TEST(HttpRequestParser, AnEndlessLineIsCutOffAtOnce) {
  HttpRequestParser parser{HttpWireLimits{}};
  const std::string piece(1 << 16, 'a');
  EXPECT_LE(parser.Feed(piece), (8U << 10) + 1);
  ASSERT_TRUE(parser.fault());
  EXPECT_EQ(parser.Feed(piece), 0U);
}

TEST(HttpRequestParser, MutationsAreTakenAlikeInOnePieceAndInMany) {
  std::mt19937 random(7);
  const std::string seeds[] = {Post({"Content-Length: 12", "Expect: 100-continue", "X-A: b"}),
                               Post({"Transfer-Encoding: chunked", "Connection: close, x"}),
                               "GET http://a.test:80/x?y HTTP/1.0\r\nHost: [::1]:1\r\n\r\n"};
  const std::string alphabet = std::string("\r\n\t :/?#%*,;AZaz09\x80\xff", 20) + '\0';
  for (int turn = 0; turn < 20'000; ++turn) {
    std::string text = seeds[random() % 3];
    for (auto change = 1 + random() % 3; change > 0; --change) {
      const std::size_t at = random() % text.size();
      const char c = alphabet[random() % alphabet.size()];
      switch (random() % 3) {
        case 0:
          text[at] = c;
          break;
        case 1:
          text.insert(at, 1, c);
          break;
        default:
          text.erase(at, 1);
      }
    }
    ASSERT_EQ(Parse(text, 1 + random() % 9), Parse(text, text.size())) << text;
  }
}

}  // namespace
}  // namespace quire
