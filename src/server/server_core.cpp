#include "server/server_core.h"

#include <algorithm>

namespace quire {

ServerCore::ServerCore(ServerOptions server_options, EngineGateway& engine_gateway)
    : options(std::move(server_options)),
      gateway(engine_gateway),
      metrics(options.served_model_names.empty() ? "" : options.served_model_names.front()),
      admission(metrics, options.max_num_queued_reqs),
      pool(options.num_worker_threads) {}

std::shared_ptr<const ServedModel> ServerCore::model() const {
  const std::lock_guard lock(mutex_);
  return model_;
}

void ServerCore::SetModel(ServedModel model) {
  if (model.tokenizer != nullptr)
    for (std::int64_t id = 0; id < model.tokenizer->vocab_size(); ++id)
      model.max_token_bytes = std::max(
          model.max_token_bytes, model.tokenizer->TokenBytes(static_cast<TokenId>(id)).size());
  admission.SetModel(model.info);
  metrics.SetModel(model.info);
  auto shared = std::make_shared<const ServedModel>(std::move(model));
  const std::lock_guard lock(mutex_);
  model_ = std::move(shared);
}

Gauges ServerCore::gauges() const {
  Gauges gauges;
  gauges.engine = gateway.stats();
  gauges.num_sequences = admission.num_sequences();
  gauges.num_requests = admission.num_requests();
  return gauges;
}

void ServerCore::AddActive(RequestId id) {
  const std::lock_guard lock(mutex_);
  active_.insert(id);
}

void ServerCore::RemoveActive(RequestId id) {
  const std::lock_guard lock(mutex_);
  active_.erase(id);
}

std::vector<RequestId> ServerCore::active() const {
  const std::lock_guard lock(mutex_);
  return {active_.begin(), active_.end()};
}

}  // namespace quire
