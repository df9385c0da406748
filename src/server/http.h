// The border between HTTP and the API: a request that was read whole, and the exchange that answers
// it.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "net/http_message.h"

namespace quire {

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<HttpHeader> headers;  // further ones
  std::string body;
  bool close = false;  // end the connection behind it
};

// One request and its answer. Held by whoever answers; dropped without an answer, the client gets a
// 500 (or, in mid-stream, a broken connection). All methods are thread-safe; calls after the client
// has gone do nothing. An answer to HEAD is given like that to GET: its body is not sent.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual const HttpHead& head() const = 0;
  virtual const std::string& body() const = 0;
  // The client's X-Request-Id where it is 1 to 64 of [A-Za-z0-9._-], else ours; sent with every
  // answer.
  virtual const std::string& request_id() const = 0;

  // A whole answer.
  virtual void Respond(HttpResponse response) = 0;
  // A streamed one (chunked): head first, then pieces, then the end.
  virtual void StartStream(std::string content_type) = 0;
  virtual void Write(std::string piece) = 0;
  virtual void EndStream() = 0;

  virtual bool closed() const = 0;
  // Called once when the client goes away before the answer is complete (end of file, reset, a
  // write that stalls); at once where that has happened already. Never called once Respond or
  // EndStream was. Runs on an I/O thread: must not block.
  virtual void OnClosed(std::function<void()> callback) = 0;
};

struct HttpLimits : HttpWireLimits {
  int num_connections = 4096;
  std::size_t write_buffer_bytes =
      4 << 20;  // of a stream whose client does not read; then it is closed
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{30'000};
  std::chrono::milliseconds keep_alive_timeout{75'000};
  std::chrono::milliseconds write_timeout{30'000};
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 8000;  // 0: any free one
  int num_threads = 2;
  HttpLimits limits;
};

}  // namespace quire
