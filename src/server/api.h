// Api: what each URL does. Owns no socket: it is given requests that were read whole.
#pragma once

#include <memory>
#include <optional>

#include "base/clock.h"
#include "fleet/engine_gateway.h"
#include "server/answer_job.h"
#include "server/api_keys.h"
#include "server/http.h"
#include "server/routes.h"
#include "server/server_core.h"
#include "server/server_options.h"

namespace quire {

class Api {
 public:
  // The gateway must outlive the Api. Routes that need the model answer 503 until SetModel.
  Api(ServerOptions options, EngineGateway& gateway);
  ~Api();

  void SetModel(ServedModel model);  // thread-safe

  // HttpServer's HeadCheck: key, URL, method and media type, in that order.
  std::optional<HttpResponse> CheckHead(const HttpHead& head) const;
  // HttpServer's Handler: answers at once what is quick, and hands the rest to the workers.
  void Handle(std::shared_ptr<HttpExchange> exchange);
  // No further answers: ends the workers and cancels what the engine still does.
  void Stop();

  const ServerCore& core() const { return *core_; }

 private:
  void Health(HttpExchange& exchange) const;
  void Version(HttpExchange& exchange) const;
  void Models(HttpExchange& exchange) const;
  void Model(HttpExchange& exchange) const;
  // 503 or 429 before anything is parsed; nothing where the request may go on.
  std::optional<Error> Refuse(Route route);

  std::shared_ptr<ServerCore> core_;
  ApiKeys keys_;
};

}  // namespace quire
