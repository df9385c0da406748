// ApiServer: the API on a socket. Owns the HttpServer and the Api behind it.
#pragma once

#include <chrono>
#include <memory>

#include "base/result.h"
#include "fleet/engine_gateway.h"
#include "server/api.h"
#include "server/http_server.h"
#include "server/server_options.h"

namespace quire {

class ApiServer {
 public:
  // Listens at once, before the engine is loaded: until SetModel and a ready gateway, routes that
  // need them answer 503. The gateway must outlive the server.
  static Result<std::unique_ptr<ApiServer>> Start(const ServerOptions& options,
                                                  EngineGateway& gateway);
  ~ApiServer();  // Stop without grace

  void SetModel(ServedModel model);  // thread-safe
  int port() const;
  // Answers under way may finish until the deadline; then connections are closed and engine
  // requests cancelled.
  void Stop(std::chrono::milliseconds grace);

 private:
  ApiServer(const ServerOptions& options, EngineGateway& gateway);

  Api api_;
  std::unique_ptr<HttpServer> http_;  // dies first: its threads call the Api
};

}  // namespace quire
