// What the tests of HttpServer share: a client on a real socket, and a server whose requests the
// test answers.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "server/http_server.h"

namespace quire::http_test {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

// Owns a client's socket.
class Client {
 public:
  explicit Client(int port, int receive_buffer = 0) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Client() { Close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void HalfClose() { shutdown(fd_, SHUT_WR); }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void Reset() {
    const linger none{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    Close();
  }

  // Reads until the text has come, the end, or time is over.
  std::string ReadTo(std::string_view text,
                     std::chrono::milliseconds within = std::chrono::seconds(5)) {
    const auto deadline = SteadyClock::now() + within;
    while (data_.find(text) == std::string::npos && More(deadline)) {
    }
    const auto at = data_.find(text);
    const auto end = at == std::string::npos ? data_.size() : at + text.size();
    std::string got = data_.substr(0, end);
    data_.erase(0, end);
    return got;
  }
  std::string ReadToEnd(std::chrono::milliseconds within = std::chrono::seconds(5)) {
    const auto deadline = SteadyClock::now() + within;
    while (More(deadline)) {
    }
    return std::exchange(data_, std::string());
  }
  bool ended() const { return ended_; }

  // One whole answer: head and a body of its Content-Length.
  std::string ReadAnswer() {
    std::string answer = ReadTo("\r\n\r\n");
    const auto at = answer.find("Content-Length: ");
    if (at == std::string::npos) return answer;
    const std::size_t length = std::stoul(answer.substr(at + 16));
    const auto deadline = SteadyClock::now() + milliseconds(5000);
    while (data_.size() < length && More(deadline)) {
    }
    answer += data_.substr(0, length);
    data_.erase(0, length);
    return answer;
  }

 private:
  bool More(SteadyClock::time_point deadline) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - SteadyClock::now());
    pollfd waiting{fd_, POLLIN, 0};
    if (left.count() <= 0 || poll(&waiting, 1, static_cast<int>(left.count())) <= 0) return false;
    char buffer[4096];
    const ssize_t got = recv(fd_, buffer, sizeof(buffer), 0);
    ended_ = got <= 0;
    if (got > 0) data_.append(buffer, static_cast<std::size_t>(got));
    return got > 0;
  }

  int fd_;
  bool connected_ = false;
  bool ended_ = false;
  std::string data_;
};

// Hands requests from the handler to the test.
class Inbox {
 public:
  void Put(std::shared_ptr<HttpExchange> exchange) {
    const std::lock_guard lock(mutex_);
    exchanges_.push_back(std::move(exchange));
    come_.notify_all();
  }
  std::shared_ptr<HttpExchange> Take() {
    std::unique_lock lock(mutex_);
    if (!come_.wait_for(lock, std::chrono::seconds(5), [this] { return !exchanges_.empty(); })) {
      return nullptr;
    }
    auto exchange = std::move(exchanges_.front());
    exchanges_.pop_front();
    return exchange;
  }
  bool empty() {
    const std::lock_guard lock(mutex_);
    return exchanges_.empty();
  }

 private:
  std::mutex mutex_;
  std::condition_variable come_;
  std::deque<std::shared_ptr<HttpExchange>> exchanges_;
};

inline HttpResponse Text(std::string body, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain";
  response.body = std::move(body);
  return response;
}

inline bool Eventually(const std::function<bool()>& holds) {
  const auto deadline = SteadyClock::now() + std::chrono::seconds(5);
  while (!holds()) {
    if (SteadyClock::now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return true;
}

// /echo and /throw and /drop are answered at once, the others by the test.
class HttpServerTest : public testing::Test {
 protected:
  void StartServer() {
    options_.port = 0;
    auto server = HttpServer::Start(
        options_,
        [](const HttpHead& head) -> std::optional<HttpResponse> {
          if (head.path == "/forbidden") return Text("no", 401);
          return std::nullopt;
        },
        [this](std::shared_ptr<HttpExchange> exchange) { Handle(std::move(exchange)); },
        [](int status, std::string_view message) {
          return "{\"error\":" + std::to_string(status) + ",\"m\":\"" + std::string(message) +
                 "\"}";
        });
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(*server);
  }
  void Handle(std::shared_ptr<HttpExchange> exchange) {
    const std::string& path = exchange->head().path;
    if (path == "/throw") throw std::runtime_error("a bug");
    if (path == "/drop") return;
    if (path != "/echo") return inbox_.Put(std::move(exchange));
    exchange->Respond(Text(exchange->head().query + ":" + exchange->body()));
  }
  int port() const { return server_->port(); }

  // The status of the only answer to the bytes; the connection must end behind it.
  void ExpectRefused(const std::string& bytes, int status) {
    Client client(port());
    client.Send(bytes);
    const std::string answer = client.ReadToEnd();
    EXPECT_EQ(answer.substr(0, 13), "HTTP/1.1 " + std::to_string(status) + " ") << bytes;
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
    EXPECT_NE(answer.find("X-Request-Id: req-"), std::string::npos);
    EXPECT_NE(answer.find("{\"error\":" + std::to_string(status)), std::string::npos);
    EXPECT_TRUE(client.ended());
  }

  HttpServerOptions options_;
  Inbox inbox_;
  std::unique_ptr<HttpServer> server_;
};

inline std::string Get(const std::string& target, const std::string& lines = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n";
}

inline std::string Post(const std::string& target, const std::string& body,
                        const std::string& lines = "") {
  return "POST " + target + " HTTP/1.1\r\nHost: a\r\n" + lines +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace quire::http_test
