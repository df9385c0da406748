#include "server/api_server.h"

#include <utility>

#include "server/api_error.h"

namespace quire {

ApiServer::ApiServer(const ServerOptions& options, EngineGateway& gateway)
    : api_(options, gateway) {}

Result<std::unique_ptr<ApiServer>> ApiServer::Start(const ServerOptions& options,
                                                    EngineGateway& gateway) {
  std::unique_ptr<ApiServer> server(new ApiServer(options, gateway));
  Api& api = server->api_;
  auto http = HttpServer::Start(
      options.http, [&api](const HttpHead& head) { return api.CheckHead(head); },
      [&api](std::shared_ptr<HttpExchange> exchange) { api.Handle(std::move(exchange)); },
      HttpErrorBody);
  if (!http) return http.error();
  server->http_ = std::move(*http);
  return server;
}

ApiServer::~ApiServer() { Stop(std::chrono::milliseconds(0)); }

void ApiServer::SetModel(ServedModel model) { api_.SetModel(std::move(model)); }

int ApiServer::port() const { return http_->port(); }

void ApiServer::Stop(std::chrono::milliseconds grace) {
  if (http_ != nullptr) http_->Stop(grace);
  api_.Stop();
}

}  // namespace quire
