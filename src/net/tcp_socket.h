// TcpSocket: a client's non-blocking TCP connection, for those that wait by themselves.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace quire {

struct TcpAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

// The addresses of a name, IPv4 ones first, as that is where servers told 'localhost' listen. An
// error where the name is not known.
Result<std::vector<TcpAddress>> ResolveTcp(const std::string& host, int port);

// A system error as a phrase within a sentence: "connection refused".
std::string SystemErrorText(int error);

// Owns one file descriptor.
class TcpSocket {
 public:
  enum class State : unsigned char { kDone, kWouldBlock, kEnd, kError };
  struct Transfer {
    State state = State::kDone;
    std::size_t num_bytes = 0;
    int error = 0;
  };

  TcpSocket() = default;
  TcpSocket(TcpSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  TcpSocket& operator=(TcpSocket&& other) noexcept;
  ~TcpSocket() { Close(); }

  // Begins to connect and returns 0 or a system error; the socket becomes writable when it is done.
  int StartConnect(const TcpAddress& address);
  int ConnectError() const;  // once writable: 0 where it is connected

  Transfer Read(std::span<char> buffer);   // kEnd: the peer closed
  Transfer Write(std::string_view bytes);  // never raises SIGPIPE

  int fd() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void Close();

 private:
  int fd_ = -1;
};

}  // namespace quire
