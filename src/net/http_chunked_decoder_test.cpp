#include "net/http_chunked_decoder.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace quire {
namespace {

struct Decoded {
  int status = 0;  // 200: whole, 0: more to come, else of the fault
  std::string body;
  std::size_t taken = 0;
  bool operator==(const Decoded& other) const {
    return std::tie(status, body, taken) == std::tie(other.status, other.body, other.taken);
  }
};

Decoded Decode(std::string_view bytes, std::size_t step, const HttpWireLimits& limits = {}) {
  HttpChunkedDecoder decoder(limits);
  Decoded result;
  while (result.taken < bytes.size() && !decoder.done() && !decoder.fault()) {
    result.taken += decoder.Feed(bytes.substr(result.taken, step), &result.body);
  }
  result.status = decoder.fault() ? decoder.fault()->status : decoder.done() ? 200 : 0;
  return result;
}

Decoded Decode(std::string_view bytes) { return Decode(bytes, bytes.size()); }

TEST(HttpChunkedDecoder, DecodesUpToItsEnd) {
  const std::string coded = "4\r\nquir\r\n00A;x=\"y\";z\r\ne is read.\r\n0\r\nX-T: 1\r\n\r\n";
  const Decoded got = Decode(coded + "GET / HTTP/1.1\r\n");
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.body, "quire is read.");
  EXPECT_EQ(got.taken, coded.size());
  EXPECT_EQ(Decode("0\r\n\r\n").status, 200);
  EXPECT_EQ(Decode("000\r\n\r\n").status, 200);
  EXPECT_EQ(Decode("1\r\na\r\n0\r\n").status, 0);
}

TEST(HttpChunkedDecoder, RefusesWhatTheCatalogueNames) {
  const std::vector<std::tuple<std::string, std::string, int>> rows = {
      {"overflow", "FFFFFFFFFFFFFFFF5\r\nabcde\r\n0\r\n\r\n", 400},
      {"2^64-1", "FFFFFFFFFFFFFFFF\r\nabcde\r\n0\r\n\r\n", 413},
      {"zeros", "00000000000000005\r\nabcde\r\n0\r\n\r\n", 400},
      {"minus", "-5\r\nabcde\r\n0\r\n\r\n", 400},
      {"no-hex", "5zz\r\nabcde\r\n0\r\n\r\n", 400},
      {"no-crlf", "5\r\nabcdeX0\r\n\r\n", 400},
      {"cr-only", "5\r\nabcde\rX0\r\n\r\n", 400},
      {"too-short", "6\r\nabcde\r\n0\r\n\r\n", 400},
      {"empty-size", "\r\n5\r\nabcde\r\n0\r\n\r\n", 400},
      {"prefix", "0x5\r\nabcde\r\n0\r\n\r\n", 400},
      {"space", " 5\r\nabcde\r\n0\r\n\r\n", 400},
      {"space-behind", "5 \r\nabcde\r\n0\r\n\r\n", 400},
      {"bare-lf", "5\nabcde\r\n0\r\n\r\n", 400},
      {"bare-lf-in-extension", "5;a\nabcde\r\n0\r\n\r\n", 400},
      {"extension", "5;" + std::string(9000, 'x') + "\r\nabcde\r\n0\r\n\r\n", 400},
      {"trailer", "5\r\nabcde\r\n0\r\nX: " + std::string(9000, 'y') + "\r\n\r\n", 431},
      {"trailer-fold", "5\r\nabcde\r\n0\r\nX: y\r\n z\r\n\r\n", 400},
      {"trailer-no-colon", "0\r\nX\r\n\r\n", 400},
      {"good", "5\r\nabcde\r\n0\r\n\r\n", 200},
  };
  for (const auto& [name, text, status] : rows) {
    EXPECT_EQ(Decode(text).status, status) << name;
    EXPECT_TRUE(Decode(text, 1) == Decode(text)) << name;
  }
}

TEST(HttpChunkedDecoder, Limits) {
  HttpWireLimits limits;
  limits.body_bytes = 10;
  limits.num_chunks = 3;
  limits.headers_bytes = 20;
  const auto status = [&limits](const std::string& text) {
    return Decode(text, text.size(), limits).status;
  };
  const std::string end = "0\r\n\r\n";
  EXPECT_EQ(status("5\r\nabcde\r\n5\r\nabcde\r\n" + end), 200);
  EXPECT_EQ(status("5\r\nabcde\r\n6\r\n"), 413) << "before its data is sent";
  EXPECT_EQ(status("1\r\na\r\n1\r\na\r\n1\r\na\r\n" + end), 200);
  EXPECT_EQ(status("1\r\na\r\n1\r\na\r\n1\r\na\r\n1\r\na\r\n" + end), 413);
  EXPECT_EQ(status("1;123456789\r\na\r\n1;123456789\r\na\r\n" + end), 200);
  EXPECT_EQ(status("1;123456789\r\na\r\n1;1234567890\r\na\r\n" + end), 400);
}

TEST(HttpChunkedDecoder, MutationsAreTakenAlikeInOnePieceAndInMany) {
  std::mt19937 random(11);
  const std::string seed = "4\r\nquir\r\nA;x=y\r\ne is read.\r\n0\r\nX-T: 1\r\n\r\n";
  const std::string alphabet = std::string("\r\n\t :;0159afAFxX-\x80", 18) + '\0';
  for (int turn = 0; turn < 20'000; ++turn) {
    std::string text = seed;
    for (auto change = 1 + random() % 3; change > 0; --change) {
      const std::size_t at = random() % text.size();
      const char c = alphabet[random() % alphabet.size()];
      if (random() % 2 == 0) {
        text[at] = c;
      } else {
        text.insert(at, 1, c);
      }
    }
    ASSERT_TRUE(Decode(text, 1 + random() % 5) == Decode(text)) << text;
  }
}

}  // namespace
}  // namespace quire
