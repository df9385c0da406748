// How connections end: clients that leave or stall, time limits, the limit of connections, Stop.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "server/http_server_test_kit.h"

namespace quire::http_test {
namespace {

using HttpServerEndTest = HttpServerTest;

TEST_F(HttpServerEndTest, AnExchangeThatIsDroppedIsAnswered) {
  StartServer();
  ExpectRefused(Get("/drop"), 500);
  ExpectRefused(Get("/throw"), 500);
  Client client(port());
  client.Send(Get("/stream"));
  auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  exchange->StartStream("text/plain");
  exchange->Write("a");
  client.ReadTo("a\r\n");
  exchange.reset();
  EXPECT_EQ(client.ReadToEnd().find("0\r\n\r\n"), std::string::npos);
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpServerEndTest, TellsWhenTheClientLeaves) {
  StartServer();
  for (const bool stream : {false, true}) {
    for (const char how : {'c', 'r', 'h'}) {
      Client client(port());
      client.Send(Get("/wait"));
      const auto exchange = inbox_.Take();
      ASSERT_TRUE(exchange);
      std::atomic<int> calls{0};
      exchange->OnClosed([&] { ++calls; });
      if (stream) {
        exchange->StartStream("text/plain");
        exchange->Write("x");
        client.ReadTo("x\r\n");
      }
      EXPECT_FALSE(exchange->closed());
      EXPECT_EQ(calls, 0);
      if (how == 'c') client.Close();
      if (how == 'r') client.Reset();
      if (how == 'h') client.HalfClose();
      EXPECT_TRUE(Eventually([&] { return calls == 1; })) << stream << how;
      EXPECT_TRUE(exchange->closed());
      bool at_once = false;
      exchange->OnClosed([&] { at_once = true; });
      EXPECT_TRUE(at_once);
      exchange->Write("nothing happens");
      exchange->Respond(Text("nothing happens"));
    }
  }
  EXPECT_TRUE(Eventually([&] { return server_->num_connections() == 0; }));
}

TEST_F(HttpServerEndTest, DoesNotTellAfterACompleteAnswer) {
  StartServer();
  Client client(port());
  client.Send(Get("/wait"));
  const auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  bool told = false;
  exchange->OnClosed([&] { told = true; });
  exchange->Respond(Text("done"));
  client.ReadAnswer();
  client.Reset();
  EXPECT_TRUE(Eventually([&] { return server_->num_connections() == 0; }));
  EXPECT_FALSE(told);
}

TEST_F(HttpServerEndTest, ClosesAStreamWhoseClientDoesNotRead) {
  options_.limits.write_buffer_bytes = 1 << 20;
  StartServer();
  Client client(port(), 4096);
  client.Send(Get("/stream"));
  const auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  std::atomic<bool> gone{false};
  exchange->OnClosed([&] { gone = true; });
  exchange->StartStream("text/plain");
  // What the kernel buffers comes on top of the limit.
  const std::string piece(64 << 10, 'x');
  for (int i = 0; i < 1000 && !gone; ++i) {
    exchange->Write(piece);
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_TRUE(Eventually([&] { return gone.load(); }));
}

TEST_F(HttpServerEndTest, ClosesAClientThatStallsAWrite) {
  options_.limits.write_timeout = milliseconds(100);
  options_.limits.write_buffer_bytes = 64 << 20;
  StartServer();
  Client client(port(), 4096);
  client.Send(Get("/stream"));
  const auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  std::atomic<bool> gone{false};
  exchange->OnClosed([&] { gone = true; });
  exchange->StartStream("text/plain");
  exchange->Write(std::string(32 << 20, 'x'));
  EXPECT_TRUE(Eventually([&] { return gone.load(); }));
}

TEST_F(HttpServerEndTest, AQuietStreamDoesNotTimeOut) {
  options_.limits.write_timeout = options_.limits.keep_alive_timeout = milliseconds(50);
  options_.limits.header_timeout = options_.limits.body_timeout = milliseconds(50);
  StartServer();
  Client client(port());
  client.Send(Post("/stream", "x"));
  const auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  exchange->StartStream("text/plain");
  exchange->Write("a");
  std::this_thread::sleep_for(milliseconds(200));
  exchange->Write("b");
  exchange->EndStream();
  EXPECT_NE(client.ReadTo("0\r\n\r\n").find("1\r\nb\r\n"), std::string::npos);
}

TEST_F(HttpServerEndTest, Timeouts) {
  options_.limits.header_timeout = milliseconds(100);
  options_.limits.body_timeout = milliseconds(100);
  options_.limits.keep_alive_timeout = milliseconds(200);
  StartServer();
  Client slow_head(port());
  const auto start = SteadyClock::now();
  for (const char c : std::string("GET / HTTP")) {  // the time is for all of it
    slow_head.Send({&c, 1});
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(slow_head.ReadToEnd().find("HTTP/1.1 408 "), 0U);
  const auto took = SteadyClock::now() - start;
  EXPECT_GE(took, milliseconds(95));
  EXPECT_LT(took, milliseconds(1500));
  ExpectRefused("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", 408);
  Client idle(port());
  idle.Send(Get("/echo"));
  idle.ReadAnswer();
  EXPECT_EQ(idle.ReadToEnd(), "");
  EXPECT_TRUE(idle.ended());
  Client silent(port());
  EXPECT_EQ(silent.ReadToEnd(), "");
  EXPECT_TRUE(silent.ended());
}

TEST_F(HttpServerEndTest, RefusesConnectionsOverTheLimit) {
  options_.limits.num_connections = 2;
  StartServer();
  Client first(port());
  Client second(port());
  first.Send(Get("/echo"));
  first.ReadAnswer();
  second.Send(Get("/echo"));
  second.ReadAnswer();
  ExpectRefused(Get("/echo"), 503);
  second.Close();
  EXPECT_TRUE(Eventually([&] {
    Client third(port());
    third.Send(Get("/echo"));
    return third.ReadAnswer().find("HTTP/1.1 200") == 0;
  }));
}

TEST_F(HttpServerEndTest, StopLetsAnswersFinish) {
  StartServer();
  Client idle(port());
  idle.Send(Get("/echo"));
  idle.ReadAnswer();
  Client busy(port());
  busy.Send(Get("/wait"));
  const auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  std::thread stopper([&] { server_->Stop(std::chrono::seconds(10)); });
  EXPECT_EQ(idle.ReadToEnd(), "");
  EXPECT_TRUE(idle.ended());
  EXPECT_TRUE(Eventually([&] { return !Client(port()).connected(); }));
  exchange->Respond(Text("finished"));
  const std::string answer = busy.ReadToEnd();
  EXPECT_NE(answer.find("finished"), std::string::npos);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  busy.Close();
  stopper.join();
  EXPECT_EQ(server_->num_connections(), 0);
}

TEST_F(HttpServerEndTest, StopEndsWhatTakesTooLong) {
  StartServer();
  Client busy(port());
  busy.Send(Get("/wait"));
  const auto exchange = inbox_.Take();
  ASSERT_TRUE(exchange);
  std::atomic<bool> gone{false};
  exchange->OnClosed([&] { gone = true; });
  const auto start = SteadyClock::now();
  server_->Stop(milliseconds(50));
  EXPECT_GE(SteadyClock::now() - start, milliseconds(50));
  EXPECT_TRUE(gone);
  EXPECT_EQ(server_->num_connections(), 0);
  server_.reset();
  exchange->StartStream("text/plain");  // an exchange may outlive the server
  exchange->Write("x");
}

TEST(HttpServerStart, SaysWhatItCannotListenOn) {
  const auto start = [](const std::string& host, int port) {
    HttpServerOptions options;
    options.host = host;
    options.port = port;
    return HttpServer::Start(
        options, [](const HttpHead&) { return std::nullopt; }, [](std::shared_ptr<HttpExchange>) {},
        [](int, std::string_view) { return std::string(); });
  };
  auto first = start("127.0.0.1", 0);
  ASSERT_TRUE(first.ok());
  const int port = (*first)->port();
  auto second = start("127.0.0.1", port);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().kind, ErrorKind::kConfig);
  EXPECT_EQ(second.error().message, "--port: cannot listen on 127.0.0.1:" + std::to_string(port) +
                                        ": address already in use");
  EXPECT_EQ(start("192.0.2.1", 0).error().message,
            "--host: cannot listen on 192.0.2.1:0: cannot assign requested address");
  EXPECT_EQ(start("127.0.0.1", 65536).error().message, "--port: 65536 is not in [0, 65535]");
  EXPECT_EQ(start("", 0).error().message, "--host: cannot resolve ''");
  EXPECT_TRUE(start("localhost", 0).ok());
}

}  // namespace
}  // namespace quire::http_test
