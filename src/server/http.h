// The border between HTTP and the API: a request that was read whole, and the exchange that answers it.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quire {

struct HttpHeader {
  std::string name;  // as sent; compared without case
  std::string value;
};

// Request line and headers, checked (RFC 9112): exactly one valid Host, one framing, no folding.
struct HttpHead {
  std::string method;
  std::string path;   // the raw path of the target, not decoded, not normalised
  std::string query;  // behind '?', raw
  std::vector<HttpHeader> headers;

  // The value of the header; nothing where it is absent. Header() is of the first, Count() says how many.
  std::optional<std::string_view> Header(std::string_view name) const;
  int Count(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<HttpHeader> headers;  // further ones
  std::string body;
  bool close = false;  // end the connection behind it
};

// One request and its answer. Shared by the connection and whoever answers. All methods are
// thread-safe; calls after the client has gone do nothing.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual const HttpHead& head() const = 0;
  virtual const std::string& body() const = 0;
  virtual const std::string& request_id() const = 0;  // ours; sent as X-Request-Id with every answer

  // A whole answer.
  virtual void Respond(HttpResponse response) = 0;
  // A streamed one (chunked): head first, then pieces, then the end.
  virtual void StartStream(std::string content_type) = 0;
  virtual void Write(std::string piece) = 0;
  virtual void EndStream() = 0;

  virtual bool closed() const = 0;
  // Called once when the client goes away before the answer is complete (end of file, reset, a write that
  // stalls); at once where that has happened already. Never called after a complete answer.
  virtual void OnClosed(std::function<void()> callback) = 0;
};

struct HttpLimits {
  std::size_t request_line_bytes = 8 << 10;
  std::size_t header_bytes = 8 << 10;        // one header line
  std::size_t headers_bytes = 32 << 10;      // all of them
  int num_headers = 100;
  std::size_t body_bytes = 16 << 20;
  int num_chunks = 65536;
  int num_connections = 4096;
  std::size_t write_buffer_bytes = 4 << 20;  // of a stream whose client does not read; then it is closed
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
