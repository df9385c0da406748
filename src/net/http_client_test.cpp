#include "net/http_client.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "base/clock.h"
#include "net/http_test_kit.h"

namespace quire {
namespace {

using Call = ScriptedServer::Call;
constexpr std::chrono::milliseconds kLong{20000};

TEST(WriteHttpRequest, WritesHeadAndBody) {
  const Url base{"::1", 8000, "/base"};
  EXPECT_EQ(WriteHttpRequest("GET", base, "/v1/models", {{"A", "b"}}, ""),
            "GET /base/v1/models HTTP/1.1\r\nHost: [::1]:8000\r\nA: b\r\n\r\n");
  EXPECT_EQ(WriteHttpRequest("POST", base, "/x", {{"Authorization", "Bearer key\r\n"}}, "{}"),
            "POST /base/x HTTP/1.1\r\nHost: [::1]:8000\r\nAuthorization: Bearer key\r\n"
            "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(WriteHttpRequest("POST", base, "/x", {{"content-type", "text/plain"}}, ""),
            "POST /base/x HTTP/1.1\r\nHost: [::1]:8000\r\ncontent-type: text/plain\r\n"
            "Content-Length: 0\r\n\r\n");
}

TEST(HttpClient, KeepsItsConnection) {
  ScriptedServer server([](const Call& call) {
    call.Write(PlainAnswer("200 OK", std::to_string(call.request) + call.body));
    return true;
  });
  HttpClient client(server.url(), {}, kLong);
  EXPECT_EQ(client.Get("/a")->body, "0");
  EXPECT_EQ(client.PostJson("/b", "{}")->body, "1{}");
  EXPECT_EQ(client.Get("/a")->body, "2");
  EXPECT_EQ(server.num_connections(), 1);
}

TEST(HttpClient, AnyStatusIsAnAnswer) {
  ScriptedServer server([](const Call& call) {
    call.Write("HTTP/1.1 503 Loading\r\nRetry-After: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    call.Write("3\r\nabc\r\n0\r\n\r\n");
    return true;
  });
  HttpClient client(server.url(), {}, kLong);
  const auto reply = client.Get("/");
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->status, 503);
  EXPECT_EQ(reply->body, "abc");
  EXPECT_EQ(reply->headers.front().value, "1");
}

TEST(HttpClient, ReadsUpToTheEndOfTheConnection) {
  ScriptedServer server([](const Call& call) {
    call.Write("HTTP/1.1 200 OK\r\n\r\nold style");
    return false;
  });
  HttpClient client(server.url(), {}, kLong);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(client.Get("/")->body, "old style");
  EXPECT_EQ(server.num_connections(), 2);
}

TEST(HttpClient, ConnectsAgainWhenAKeptConnectionWasClosed) {
  // Each connection answers once and then closes without having said so.
  ScriptedServer server([](const Call& call) {
    call.Write(PlainAnswer("200 OK", std::to_string(call.connection)));
    return false;
  });
  HttpClient client(server.url(), {}, kLong);
  for (int i = 0; i < 4; ++i) {
    const auto reply = client.Get("/");
    ASSERT_TRUE(reply) << reply.error().message;
    EXPECT_EQ(reply->body, std::to_string(i));
  }
}

TEST(HttpClient, DoesNotRepeatWhatWasHalfAnswered) {
  ScriptedServer server([](const Call& call) {
    if (call.request == 0) {
      call.Write(PlainAnswer("200 OK", "x"));
      return true;
    }
    call.Write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    return false;
  });
  HttpClient client(server.url(), {}, kLong);
  EXPECT_TRUE(client.Get("/"));
  const auto reply = client.Get("/");
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(reply.error().message.find("in the middle"), std::string::npos)
      << reply.error().message;
  EXPECT_EQ(server.num_connections(), 1);
  EXPECT_TRUE(client.Get("/"));  // a new connection, a new start
}

TEST(HttpClient, SaysWhatIsWrong) {
  int port = 0;
  {
    ScriptedServer gone([](const Call&) { return false; });
    port = gone.port();
    HttpClient client(gone.url(), {}, kLong);
    EXPECT_NE(client.Get("/").error().message.find("closed without an answer"), std::string::npos);
  }
  HttpClient refused(Url{"127.0.0.1", port, ""}, {}, kLong);
  EXPECT_EQ(refused.Get("/").error().message,
            "http://127.0.0.1:" + std::to_string(port) + ": connection refused");
  HttpClient unknown(Url{"no-such-host.invalid", 1, ""}, {}, kLong);
  EXPECT_EQ(unknown.Get("/").error().kind, ErrorKind::kUnavailable);
  ScriptedServer other([](const Call& call) {
    call.Write("SSH-2.0-OpenSSH\r\n");
    return true;
  });
  HttpClient client(other.url(), {}, kLong);
  EXPECT_NE(client.Get("/").error().message.find("not HTTP/1.1"), std::string::npos);
}

TEST(HttpClient, WaitsNoLongerThanItsTime) {
  ScriptedServer server([](const Call& call) {
    if (call.message.find("/slow") != std::string::npos) {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
    call.Write(PlainAnswer("200 OK", "x"));
    return true;
  });
  HttpClient client(server.url(), {}, std::chrono::milliseconds(100));
  const TimePoint start = Now();
  const auto late = client.Get("/slow");
  ASSERT_FALSE(late);
  EXPECT_NE(late.error().message.find("no answer in time"), std::string::npos);
  EXPECT_LT(Seconds(Now() - start), 0.45);
  EXPECT_TRUE(client.Get("/"));  // not on the connection on which the late answer will come
}

TEST(HttpClient, SendsWhatTheSocketDoesNotTakeAtOnce) {
  ScriptedServer server([](const Call& call) {
    call.Write(PlainAnswer("200 OK", std::to_string(call.body.size())));
    return true;
  });
  HttpClient client(server.url(), {}, kLong);
  EXPECT_EQ(client.PostJson("/", std::string(20 << 20, 'x'))->body, std::to_string(20 << 20));
}

}  // namespace
}  // namespace quire
