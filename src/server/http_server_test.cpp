#include "server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "server/http_server_test_kit.h"

namespace quire::http_test {
namespace {

TEST_F(HttpServerTest, KeepsTheConnection) {
  StartServer();
  Client client(port());
  for (int turn = 0; turn < 3; ++turn) {
    client.Send(Post("/echo?" + std::to_string(turn), "hello"));
    const std::string answer = client.ReadAnswer();
    EXPECT_EQ(answer.find("HTTP/1.1 200 OK\r\nDate: "), 0U) << answer;
    EXPECT_NE(answer.find("\r\nServer: quire\r\n"), std::string::npos);
    EXPECT_EQ(answer.find("Connection:"), std::string::npos);
    EXPECT_EQ(answer.substr(answer.size() - 7), std::to_string(turn) + ":hello");
  }
  EXPECT_EQ(server_->num_connections(), 1);
  client.Close();
  EXPECT_TRUE(Eventually([&] { return server_->num_connections() == 0; }));
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrderOneAtATime) {
  StartServer();
  Client client(port());
  std::string all;
  for (int i = 0; i < 200; ++i) all += Post(i % 50 == 0 ? "/wait" : "/echo?", std::to_string(i));
  client.Send(all);
  for (int i = 0; i < 200; ++i) {
    if (i % 50 == 0) {
      const auto exchange = inbox_.Take();
      ASSERT_TRUE(exchange);
      EXPECT_TRUE(inbox_.empty());
      exchange->Respond(Text(":" + exchange->body()));
    }
    const std::string answer = client.ReadAnswer();
    EXPECT_EQ(answer.substr(answer.rfind(':') + 1), std::to_string(i));
  }
}

TEST_F(HttpServerTest, ReadsNoFurtherAheadThanItsBound) {
  StartServer();
  Client client(port());
  client.Send(Get("/wait"));
  const auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  const std::string big(8 << 20, 'x');
  std::thread sender([&] { EXPECT_TRUE(client.Send(Post("/echo", big))); });
  std::this_thread::sleep_for(milliseconds(50));
  exchange->Respond(Text("first"));
  sender.join();
  EXPECT_NE(client.ReadAnswer().find("first"), std::string::npos);
  EXPECT_GT(client.ReadAnswer().size(), big.size());
}

TEST_F(HttpServerTest, NoticesAResetBehindAFullBacklog) {
  StartServer();
  Client client(port());
  client.Send(Get("/wait") + Post("/echo", std::string(100'000, 'x')));
  const auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  std::atomic<bool> gone{false};
  exchange->OnClosed([&] { gone = true; });
  std::this_thread::sleep_for(milliseconds(30));
  EXPECT_FALSE(gone);
  client.Reset();
  EXPECT_TRUE(Eventually([&] { return gone.load(); }));
}

TEST_F(HttpServerTest, TakesBodiesInAnyPieces) {
  StartServer();
  const std::string chunked =
      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n";
  for (const std::string& request :
       {chunked, Post("/echo", "abcde"), "\r\n" + Get("/echo?abcde")}) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{13}, request.size()}) {
      Client client(port());
      for (std::size_t at = 0; at < request.size(); at += step) {
        client.Send(std::string_view(request).substr(at, step));
      }
      EXPECT_NE(client.ReadAnswer().find("abcde"), std::string::npos);
    }
  }
}

TEST_F(HttpServerTest, Continues) {
  StartServer();
  Client client(port());
  const std::string request = Post("/echo", "hello", "Expect: 100-continue\r\n");
  client.Send(request.substr(0, request.size() - 5));
  EXPECT_EQ(client.ReadTo("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("hello");
  EXPECT_EQ(client.ReadAnswer().find("HTTP/1.1 200 OK\r\n"), 0U);
  client.Send(request);  // who does not wait is not told to go on
  EXPECT_EQ(client.ReadAnswer().find("HTTP/1.1 200 OK\r\n"), 0U);
}

TEST_F(HttpServerTest, RefusesAndCloses) {
  options_.limits.body_bytes = 1000;
  StartServer();
  const std::string smuggled = Get("/echo?smuggled");
  ExpectRefused("GARBAGE\r\n" + smuggled, 400);
  ExpectRefused("GET / HTTP/1.1\r\n\r\n" + smuggled, 400);
  ExpectRefused("GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n\r\n", 414);
  ExpectRefused(Get("/echo", "X: " + std::string(300'000, 'a') + "\r\n"), 431);
  ExpectRefused("GET / HTTP/1.2\r\n\r\n", 505);
  ExpectRefused(Get("/echo", "Transfer-Encoding: gzip\r\n"), 501);
  ExpectRefused(Get("/echo", "Content-Length: 1001\r\n"), 413);
  ExpectRefused(Get("/echo", "Content-Length: 1001\r\nExpect: 100-continue\r\n"), 413);
  ExpectRefused(Post("/echo", std::string(5 << 20, 'a')), 413);
  ExpectRefused(Post("/echo", "a", "Expect: the-best\r\n"), 417);
  ExpectRefused(Post("/echo", "a", "Content-Encoding: gzip\r\n") + smuggled, 415);
  ExpectRefused(Get("/echo", "Transfer-Encoding: chunked\r\n") + "3\r\nabcd\r\n" + smuggled, 400);
  std::string chunks = Get("/echo", "Transfer-Encoding: chunked\r\n");
  for (int i = 0; i < 11; ++i) chunks += "64\r\n" + std::string(100, 'a') + "\r\n";
  ExpectRefused(chunks, 413);
  EXPECT_TRUE(inbox_.empty());
}

TEST_F(HttpServerTest, TheHeadCheckAnswersBeforeTheBody) {
  StartServer();
  Client client(port());
  client.Send(Get("/forbidden") + Get("/echo?next"));
  EXPECT_EQ(client.ReadAnswer().find("HTTP/1.1 401 "), 0U);
  EXPECT_NE(client.ReadAnswer().find("next"), std::string::npos);
  client.Send("POST /forbidden HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n");
  EXPECT_NE(client.ReadAnswer().find("Connection: close"), std::string::npos);
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpServerTest, RequestIds) {
  StartServer();
  Client client(port());
  const auto id = [&](const std::string& lines) {
    client.Send(Get("/echo", lines));
    const std::string answer = client.ReadAnswer();
    const auto at = answer.find("X-Request-Id: ") + 14;
    return answer.substr(at, answer.find('\r', at) - at);
  };
  EXPECT_EQ(id("X-Request-Id: ok-1.2_3\r\n"), "ok-1.2_3");
  EXPECT_EQ(id("X-Request-Id: " + std::string(64, 'a') + "\r\n"), std::string(64, 'a'));
  const std::string ours = id("");
  EXPECT_EQ(ours.size(), 36U);
  EXPECT_EQ(ours.substr(0, 4), "req-");
  EXPECT_NE(id(""), ours);
  EXPECT_EQ(id("X-Request-Id: " + std::string(65, 'a') + "\r\n").substr(0, 4), "req-");
  EXPECT_EQ(id("X-Request-Id: a b\r\n").substr(0, 4), "req-");
  EXPECT_EQ(id("X-Request-Id: a\r\nX-Request-Id: a\r\n").substr(0, 4), "req-");
}

TEST_F(HttpServerTest, Streams) {
  StartServer();
  Client client(port());
  client.Send(Get("/stream"));
  auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  exchange->StartStream("text/event-stream");
  const std::string head = client.ReadTo("\r\n\r\n");
  EXPECT_NE(head.find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_NE(head.find("Content-Type: text/event-stream"), std::string::npos);
  exchange->Write("data: 1\n\n");
  EXPECT_EQ(client.ReadTo("1\n\n\r\n"), "9\r\ndata: 1\n\n\r\n");
  exchange->Write("");
  exchange->Respond(Text("too late"));
  exchange->EndStream();
  exchange->Write("too late");
  EXPECT_EQ(client.ReadTo("0\r\n\r\n"), "0\r\n\r\n");
  exchange.reset();
  client.Send(Get("/echo?again"));
  EXPECT_NE(client.ReadAnswer().find("again"), std::string::npos);
}

TEST_F(HttpServerTest, StreamsFromManyThreadsComeWholeAndInOrder) {
  options_.num_threads = 4;
  StartServer();
  constexpr int kStreams = 8;
  constexpr int kPieces = 2000;
  std::vector<std::thread> threads;
  for (int i = 0; i < kStreams; ++i) {
    threads.emplace_back([&] {
      Client client(port());
      client.Send("GET /stream HTTP/1.0\r\n\r\n");
      const std::string got = client.ReadToEnd();
      std::string want;
      for (int piece = 0; piece < kPieces; ++piece) want += std::to_string(piece) + " ";
      EXPECT_EQ(got.substr(got.find("\r\n\r\n") + 4), want);
    });
    threads.emplace_back([&] {
      const auto exchange = inbox_.Take();
      ASSERT_TRUE(exchange);
      exchange->StartStream("text/plain");
      for (int piece = 0; piece < kPieces; ++piece) exchange->Write(std::to_string(piece) + " ");
      exchange->EndStream();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(HttpServerTest, HeadHasNoBody) {
  StartServer();
  Client client(port());
  client.Send("HEAD /echo?x HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_NE(client.ReadTo("\r\n\r\n").find("Content-Length: 2\r\n"), std::string::npos);
  client.Send("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  exchange->StartStream("text/plain");
  exchange->Write("not sent");
  exchange->EndStream();
  client.ReadTo("\r\n\r\n");
  client.Send(Get("/echo?next"));
  EXPECT_EQ(client.ReadAnswer().find("HTTP/1.1 200 OK"), 0U);
}

TEST_F(HttpServerTest, Http10AndConnectionCloseEndTheConnection) {
  StartServer();
  for (const std::string& request :
       {std::string("GET /echo?x HTTP/1.0\r\n\r\n"), Get("/echo?x", "Connection: close\r\n")}) {
    Client client(port());
    client.Send(request + Get("/echo?second"));
    const std::string answer = client.ReadToEnd();
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
    EXPECT_EQ(answer.substr(answer.find("\r\n\r\n")), "\r\n\r\nx:");
    EXPECT_TRUE(client.ended());
  }
}

TEST_F(HttpServerTest, AnAnswerCannotSplitItsHead) {
  StartServer();
  Client client(port());
  client.Send(Get("/wait"));
  const auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  HttpResponse response = Text("x");
  response.headers = {{"X-A", "a\r\nX-Evil: 1"}};
  exchange->Respond(std::move(response));
  EXPECT_NE(client.ReadAnswer().find("X-A: a  X-Evil: 1\r\n"), std::string::npos);
}

}  // namespace
}  // namespace quire::http_test
