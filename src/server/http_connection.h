// HttpConnection: one client's connection, from its first byte to its last.
#pragma once

#include <array>
#include <asio.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "net/http_chunked_decoder.h"
#include "net/http_request_parser.h"
#include "server/http_connection_answer.h"
#include "server/http_server.h"

namespace quire {

// What all connections of a server share; it does not change and outlives them.
struct HttpService {
  HttpLimits limits;
  HttpServer::HeadCheck check;
  HttpServer::Handler handler;
  HttpServer::ErrorBody error_body;
};

// Owns a socket, what was read from it and what is yet to be written. Requests are answered one at
// a time in their order; a read is always outstanding, so that a client that leaves is noticed at
// once. All but the public methods runs on the socket's strand. Pending reads and writes keep it
// alive, nothing else does.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Strand = asio::strand<asio::io_context::executor_type>;
  using Socket = asio::basic_stream_socket<asio::ip::tcp, Strand>;
  using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                           asio::wait_traits<std::chrono::steady_clock>, Strand>;

  // `on_end` is called when it ceases to be.
  HttpConnection(Socket socket, const HttpService& service, std::function<void()> on_end);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // Once, one of them:
  void Start();
  void Refuse();  // answers 503 and ends

  void Drain();  // ends when the answer under way is complete, at once where there is none
  void Kill();   // ends now

 private:
  enum class Phase : unsigned char {
    kHead,    // reads a request's head, or waits for one
    kBody,    // reads its body
    kAnswer,  // the handler has it
    kFinish,  // the answer is complete and being written
    kLinger,  // said its last; reads what still comes, so that the client can read what it was told
    kClosed,
  };

  // Input.
  void Read();
  void OnRead(const asio::error_code& error, std::size_t num_bytes);
  void OnInput(std::string_view bytes);
  void OnEndOfInput(const asio::error_code& error);
  void WatchForReset();
  bool backlog_full() const;
  std::size_t Consume(std::string_view bytes);
  std::size_t ConsumeHead(std::string_view bytes);
  std::size_t ConsumeBody(std::string_view bytes);

  // A request.
  void NextRequest();
  void OnHead(bool more_input);
  std::optional<HttpFault> UnacceptableBody() const;
  void Dispatch();
  void Fail(const HttpFault& fault);

  // Its answer.
  void Flush();
  void Answer(HttpResponse response);
  void Finish(std::string text, bool close);
  void Send(std::string text);
  void WriteSome();
  void OnWritten(const asio::error_code& error, std::size_t num_bytes);

  // The end, and time.
  void Linger();
  void Reset();  // breaks off: what was not sent is dropped
  void Close();
  void SetDeadline(std::chrono::milliseconds from_now);
  void ClearDeadline() { deadline_ = TimePoint::max(); }
  void ArmTimer();
  void OnDeadline();

  Socket socket_;
  Timer timer_;
  const HttpService& service_;
  std::function<void()> on_end_;
  Phase phase_ = Phase::kHead;
  bool draining_ = false;

  std::array<char, 16 << 10> read_buffer_;
  bool reading_ = false;
  bool watching_ = false;
  bool input_ended_ = false;
  std::string backlog_;          // what came behind the request that is being answered
  std::size_t backlog_at_ = 0;   // how much of it is consumed
  std::size_t num_dropped_ = 0;  // bytes that came behind the last request

  HttpRequestParser parser_;
  bool timing_head_ = false;
  HttpRequestHead request_;
  std::string request_id_;
  HttpChunkedDecoder decoder_;
  std::string body_;

  std::shared_ptr<HttpAnswer> answer_;
  bool keep_alive_ = true;
  bool is_head_ = false;  // the method: answered without a body
  bool chunked_answer_ = true;
  bool streaming_ = false;
  bool close_after_ = false;
  std::string writing_;  // in the write that is under way
  std::size_t written_ = 0;
  std::string unwritten_;  // behind it

  TimePoint deadline_ = TimePoint::max();
  TimePoint timer_at_ = TimePoint::max();  // when the timer fires; never later than the deadline
};

}  // namespace quire
