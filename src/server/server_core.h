// ServerCore: what all requests of a front end share. Kept alive by them, too, so that a late word
// of the gateway finds it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <utility>
#include <vector>

#include "fleet/engine_gateway.h"
#include "server/admission.h"
#include "server/metrics.h"
#include "server/server_options.h"
#include "server/worker_pool.h"

namespace quire {

class ServerCore {
 public:
  ServerCore(ServerOptions server_options, EngineGateway& engine_gateway);

  const ServerOptions options;
  EngineGateway& gateway;  // outlives every request
  Metrics metrics;
  Admission admission;
  WorkerPool pool;

  // Null until the first model is loaded.
  std::shared_ptr<const ServedModel> model() const;
  void SetModel(ServedModel model);

  Gauges gauges() const;
  RequestId NewRequestId() { return {next_request_id_.fetch_add(1)}; }

  // Engine requests that the gateway may still report on.
  void AddActive(RequestId id);
  void RemoveActive(RequestId id);
  std::vector<RequestId> active() const;

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const ServedModel> model_;
  std::unordered_set<RequestId> active_;
  std::atomic<std::uint64_t> next_request_id_{1};
};

}  // namespace quire
