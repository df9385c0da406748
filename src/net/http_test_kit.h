// A server for tests of HTTP clients, which answers with the bytes that a test wants.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "net/http_client.h"
#include "net/http_lines.h"

namespace quire {

// Owns the listening socket on a port of 127.0.0.1 and one thread for each connection.
class ScriptedServer {
 public:
  // What a handler sees of a request, and how it answers.
  struct Call {
    int fd = -1;
    int connection = 0;   // counted from 0
    int request = 0;      // on that connection
    std::string message;  // head and body
    std::string body;

    void Write(std::string_view bytes) const {
      while (!bytes.empty()) {
        const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) return;
        bytes.remove_prefix(static_cast<std::size_t>(n));
      }
    }
  };
  using Handler = std::function<bool(const Call&)>;  // false: close the connection

  explicit ScriptedServer(Handler handler) : handler_(std::move(handler)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    QUIRE_CHECK(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    QUIRE_CHECK(::listen(fd_, 256) == 0);
    socklen_t size = sizeof address;
    QUIRE_CHECK(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~ScriptedServer() {
    ::shutdown(fd_, SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    ::close(fd_);
  }

  int port() const { return port_; }
  Url url() const { return Url{"127.0.0.1", port_, ""}; }
  int num_connections() const {
    const std::lock_guard lock(mutex_);
    return num_connections_;
  }

 private:
  void Accept() {
    while (true) {
      const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      const std::lock_guard lock(mutex_);
      open_.push_back(fd);
      threads_.emplace_back([this, fd, connection = num_connections_++] { Serve(fd, connection); });
    }
  }

  void Serve(int fd, int connection) {
    std::string input;
    for (int request = 0;; ++request) {
      Call call{fd, connection, request, "", ""};
      if (!ReadRequest(fd, &input, &call) || !handler_(call)) break;
    }
    const std::lock_guard lock(mutex_);
    std::erase(open_, fd);
    ::close(fd);
  }

  static bool ReadRequest(int fd, std::string* input, Call* call) {
    while (true) {
      const auto end = input->find("\r\n\r\n");
      if (end != std::string::npos) {
        const std::string_view name = "Content-Length: ";
        const auto field = input->find(name);
        const std::size_t length =
            field < end ? std::stoul(input->substr(field + name.size(), 20)) : std::size_t{0};
        if (input->size() >= end + 4 + length) {
          call->message = input->substr(0, end + 4 + length);
          call->body = input->substr(end + 4, length);
          input->erase(0, end + 4 + length);
          return true;
        }
      }
      char buffer[65536];
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) return false;
      input->append(buffer, static_cast<std::size_t>(n));
    }
  }

  Handler handler_;
  int fd_ = -1;
  int port_ = 0;
  std::thread acceptor_;
  mutable std::mutex mutex_;
  int num_connections_ = 0;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
};

inline std::string PlainAnswer(std::string_view status, std::string_view body,
                               std::string_view headers = "") {
  std::string text = "HTTP/1.1 ";
  text.append(status).append("\r\n").append(headers);
  text.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n\r\n");
  return text.append(body);
}

}  // namespace quire
