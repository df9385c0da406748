// HttpServer: HTTP/1.1 on a socket. Owns the connections; knows nothing of the API.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/http.h"

namespace quire {

class HttpServer {
 public:
  // Asked when the head is complete and before a byte of the body is read (or a 100 Continue is
  // sent): an answer refuses the request. Runs on an I/O thread: must not block.
  using HeadCheck = std::function<std::optional<HttpResponse>(const HttpHead&)>;
  // Takes a complete request on an I/O thread: must not block.
  using Handler = std::function<void(std::shared_ptr<HttpExchange>)>;
  // The body of an error that HTTP itself finds (400, 408, 413, 414, 415, 417, 431, 500, 501, 503,
  // 505). Called on any I/O thread.
  using ErrorBody = std::function<std::string(int status, std::string_view message)>;

  // Binds and listens; kConfig error that names host and port where that fails.
  static Result<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options,
                                                   HeadCheck check, Handler handler,
                                                   ErrorBody error_body);
  virtual ~HttpServer() = default;  // Stop, then joins the threads

  virtual int port() const = 0;
  virtual int num_connections() const = 0;
  // No new connections, idle ones are closed, answers under way may finish until the deadline; then
  // all is closed. Returns when no connection is left. A second call, from another thread, may
  // shorten the grace. Not to be called on an I/O thread.
  virtual void Stop(std::chrono::milliseconds grace) = 0;
};

}  // namespace quire
