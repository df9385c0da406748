#include "net/url.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

std::string Parts(std::string_view text) {
  const auto url = ParseUrl(text);
  if (!url) return "error";
  return url->host + " " + std::to_string(url->port) + " '" + url->path + "' " + url->Authority();
}

TEST(Url, ReadsItsParts) {
  EXPECT_EQ(Parts("http://127.0.0.1:8000"), "127.0.0.1 8000 '' 127.0.0.1:8000");
  EXPECT_EQ(Parts("HTTP://gpu-1.test/"), "gpu-1.test 80 '' gpu-1.test");
  EXPECT_EQ(Parts("http://a:80/v/prefix//"), "a 80 '/v/prefix' a");
  EXPECT_EQ(Parts("http://[::1]:9/x"), "::1 9 '/x' [::1]:9");
  EXPECT_EQ(Parts("http://[fe80::1]"), "fe80::1 80 '' [fe80::1]");
  EXPECT_EQ(Parts("http://a:"), "a 80 '' a");
}

TEST(Url, RefusesWhatItCannotReach) {
  for (const char* text :
       {"", "localhost:8000", "ftp://a", "http://", "http:///x", "http://a:0", "http://a:65536",
        "http://a:b", "http://u@a", "http://a?x", "http://a/b#c", "http://a/b c", "http://[::1",
        "http://::1", "http://a b", "http://a\r\nHost: b"}) {
    EXPECT_EQ(Parts(text), "error") << text;
  }
}

TEST(Url, NamesHttps) {
  const auto url = ParseUrl("https://a");
  ASSERT_FALSE(url);
  EXPECT_EQ(url.error().kind, ErrorKind::kConfig);
  EXPECT_NE(url.error().message.find("https is not supported"), std::string::npos);
}

}  // namespace
}  // namespace quire
