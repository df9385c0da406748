// LoadConnection: one kept-alive connection of the load generator.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "bench/load_answer.h"
#include "net/http_response_parser.h"
#include "net/tcp_socket.h"

namespace quire {

// A request on its way and the answer that comes.
struct LoadExchange {
  LoadExchange(std::string bytes, RequestRecord record, bool keep_text)
      : request(std::move(bytes)), answer(std::move(record), keep_text) {}

  std::string request;
  LoadAnswer answer;
  bool retried = false;
  std::size_t num_addresses_failed = 0;
};

// Owns the socket, and the exchange while there is one. Waiting is its loop's.
class LoadConnection {
 public:
  enum class Step : unsigned char {
    kGoingOn,
    kAnswered,  // the answer is whole; the exchange can be taken
    kFailed,    // the exchange has failed; the connection is of no more use
    kLost,      // closed before a byte of an answer came, on a connection kept from an earlier one
  };

  int StartConnect(const TcpAddress& address) { return socket_.StartConnect(address); }
  int fd() const { return socket_.fd(); }
  void Close() { socket_.Close(); }
  int ConnectError() const {  // a failed write has taken the error away from the socket
    return send_error_ != 0 && !connected_ ? send_error_ : socket_.ConnectError();
  }

  void Assign(std::unique_ptr<LoadExchange> exchange);
  LoadExchange* exchange() const { return exchange_.get(); }
  std::unique_ptr<LoadExchange> TakeExchange() { return std::move(exchange_); }

  // Sends what the socket takes; `now_s` is called for the time of the first byte.
  template <class NowFn>
  void Send(const NowFn& now_s) {
    if (exchange_ && num_sent_ == 0) exchange_->answer.OnSent(now_s());
    SendMore();
  }
  bool has_unsent() const {
    return exchange_ && send_error_ == 0 && num_sent_ < exchange_->request.size();
  }

  // Once readable; `*num_tokens` grows by the events with choices.
  Step Receive(double now_s, std::span<char> buffer, std::string* body, int* num_tokens);
  bool connected() const { return connected_; }
  bool reusable() const { return reusable_; }  // after kAnswered

  bool wants_write = false;  // what epoll was told
  std::size_t index = 0;     // among the loop's connections
  bool dropped = false;      // the loop has let go of it

 private:
  void SendMore();
  Step OnBytes(std::string_view bytes, double now_s, std::string* body, int* num_tokens);
  Step OnClosed(const std::string& error);

  TcpSocket socket_;
  HttpResponseParser parser_;
  std::unique_ptr<LoadExchange> exchange_;
  std::size_t num_sent_ = 0;
  int send_error_ = 0;
  bool connected_ = false;
  bool kept_ = false;  // an earlier exchange went well on it
  bool reusable_ = false;
};

}  // namespace quire
