#include "server/api.h"

#include <exception>
#include <new>
#include <string>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "server/api_error.h"
#include "server/stats_log.h"
#include "server/tokenize_routes.h"

namespace quire {
namespace {

Error NotReady(EngineState state) {
  switch (state) {
    case EngineState::kLoading:
      return {ErrorKind::kUnavailable, "the model is loading: try again shortly", "",
              "model_loading"};
    case EngineState::kDraining:
      return {ErrorKind::kUnavailable, "the server is shutting down", "", "server_draining"};
    case EngineState::kFailed:
      return {ErrorKind::kUnavailable, "the engine failed and could not be started again", "",
              "engine_failed"};
    case EngineState::kReady:
    case EngineState::kRestarting:
      break;
  }
  return {ErrorKind::kUnavailable, "the engine is being started again: try again shortly", "",
          "engine_restarting"};
}

HttpResponse JsonResponse(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

// One entry of /v1/models.
void AppendModel(std::string& out, const std::string& name, const ServedModel& model) {
  out += R"({"id":)";
  AppendJsonString(out, name);
  out += R"(,"object":"model","created":)" + std::to_string(model.created);
  out += R"(,"owned_by":"quire","root":)";
  AppendJsonString(out, name);
  out += R"(,"parent":null,"max_model_len":)" + std::to_string(model.info.max_model_len) + "}";
}

Status AddPrompts(AnswerPlan& plan, std::vector<PromptInput> inputs, bool echo,
                  const ServedModel& model) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::string param = plan.chat ? "messages" : "prompt";
    if (inputs.size() > 1) param += "[" + std::to_string(i) + "]";
    auto prompt = PreparePrompt(std::move(inputs[i]), plan.fields, model, echo, param);
    if (!prompt) return prompt.error();
    auto max_tokens = MaxTokensBehind(prompt->ids.size(), plan.fields, model, param);
    if (!max_tokens) return max_tokens.error();
    plan.prompts.push_back(std::move(*prompt));
    plan.max_tokens.push_back(*max_tokens);
  }
  auto bad_words = BadWordTokens(plan.fields.bad_words, model);
  if (!bad_words) return bad_words.error();
  plan.bad_words = std::move(*bad_words);
  return {};
}

struct Planned {
  AnswerPlan plan;
  Admission::Ticket ticket;
};

Result<Planned> PlanCompletion(const Json& body, ServerCore& core, const ServedModel& model) {
  auto request = ParseCompletion(body, core.options, model);
  if (!request) return request.error();
  auto ticket = core.admission.Reserve(static_cast<std::int64_t>(request->prompts.size()) *
                                       request->fields.n);
  if (!ticket) return ticket.error();
  Planned planned;
  planned.ticket = std::move(*ticket);
  planned.plan.echo = request->echo;
  planned.plan.fields = std::move(request->fields);
  QUIRE_RETURN_IF_ERROR(
      AddPrompts(planned.plan, std::move(request->prompts), request->echo, model));
  return planned;
}

Result<Planned> PlanChat(const Json& body, ServerCore& core, const ServedModel& model) {
  auto request = ParseChat(body, core.options, model);
  if (!request) return request.error();
  auto ticket = core.admission.Reserve(request->fields.n);
  if (!ticket) return ticket.error();
  Planned planned;
  planned.ticket = std::move(*ticket);
  planned.plan.chat = true;
  planned.plan.fields = std::move(request->fields);
  auto text = RenderChat(request->prompt, model);
  if (!text) return text.error();
  std::vector<PromptInput> inputs(1);
  inputs[0].text = std::move(*text);
  inputs[0].is_text = true;
  QUIRE_RETURN_IF_ERROR(AddPrompts(planned.plan, std::move(inputs), false, model));
  const Json& last = request->prompt.messages.back();
  if (request->echo && last["role"] == core.options.response_role && last["content"].is_string())
    planned.plan.prompts[0].text = last["content"].get<std::string>();
  return planned;
}

// What a worker does with a request, once its body is JSON.
Status Serve(Route route, const Json& body, const std::shared_ptr<ServerCore>& core,
             const std::shared_ptr<HttpExchange>& exchange, TimePoint arrival) {
  const std::shared_ptr<const ServedModel> model = core->model();
  if (model == nullptr) return NotReady(core->gateway.state());
  if (route == Route::kTokenize || route == Route::kDetokenize) {
    auto text = route == Route::kTokenize ? Tokenize(body, core->options, *model)
                                          : Detokenize(body, core->options, *model);
    if (!text) return text.error();
    exchange->Respond(JsonResponse(std::move(*text)));
    return {};
  }
  auto planned =
      route == Route::kChat ? PlanChat(body, *core, *model) : PlanCompletion(body, *core, *model);
  if (!planned) return planned.error();
  if (exchange->closed()) return {};
  std::make_shared<AnswerJob>(core, model, exchange, std::move(planned->plan),
                              std::move(planned->ticket), arrival)
      ->Run();
  return {};
}

void Work(Route route, const std::shared_ptr<ServerCore>& core,
          const std::shared_ptr<HttpExchange>& exchange, TimePoint arrival) {
  Status status;
  try {
    auto body = ParseJson(exchange->body());
    status = body ? Serve(route, *body, core, exchange, arrival) : Status(body.error());
  } catch (const std::exception& error) {
    LogError("a request could not be served: {}", error.what());
    status = Error{ErrorKind::kInternal, "the request could not be served", "", "internal_error"};
  }
  if (status) return;
  if (status.error().kind == ErrorKind::kInvalidRequest ||
      status.error().kind == ErrorKind::kNotFound)
    core->metrics.OnInvalid();
  exchange->Respond(ErrorResponse(status.error()));
}

}  // namespace

Api::Api(ServerOptions options, EngineGateway& gateway)
    : core_(std::make_shared<ServerCore>(std::move(options), gateway)),
      keys_(core_->options.api_keys) {
  gateway.OnStats([weak = std::weak_ptr<ServerCore>(core_)](const EngineStats& stats) {
    if (auto core = weak.lock()) core->metrics.OnStats(stats);
  });
  if (core_->options.disable_log_stats) return;
  // The core owns the pool, which owns the log's timer: it may know the core only weakly.
  const std::weak_ptr<ServerCore> weak = core_;
  std::make_shared<StatsLog>(
      *core_->pool.executor(), core_->options.stats_interval,
      [weak] {
        const auto core = weak.lock();
        return core == nullptr ? Gauges() : core->gauges();
      },
      [weak] {
        const auto core = weak.lock();
        return core == nullptr ? Totals() : core->metrics.totals();
      })
      ->Start();
}

Api::~Api() { Stop(); }

void Api::Stop() {
  core_->pool.Stop();
  for (const RequestId id : core_->active()) core_->gateway.Cancel(id);
}

void Api::SetModel(ServedModel model) { core_->SetModel(std::move(model)); }

std::optional<HttpResponse> Api::CheckHead(const HttpHead& head) const {
  const std::optional<Route> route = FindRoute(head.path);
  if (!(route && IsOpenRoute(*route)) && !keys_.Allows(head))
    return ErrorResponse(401, "the API key is missing or wrong: send Authorization: Bearer KEY", "",
                         "invalid_api_key");
  if (!route) return ErrorResponse(404, "unknown URL", "", "unknown_url");
  return CheckRoute(*route, head);
}

void Api::Health(HttpExchange& exchange) const {
  const EngineState state = core_->gateway.state();
  if (state != EngineState::kReady || core_->model() == nullptr)
    return exchange.Respond(
        ErrorResponse(NotReady(state == EngineState::kReady ? EngineState::kLoading : state)));
  exchange.Respond(JsonResponse(R"({"status":"ok"})"));
}

void Api::Models(HttpExchange& exchange) const {
  const auto model = core_->model();
  if (model == nullptr) return exchange.Respond(ErrorResponse(NotReady(EngineState::kLoading)));
  std::string out = R"({"object":"list","data":[)";
  for (const std::string& name : core_->options.served_model_names) {
    if (out.back() != '[') out += ',';
    AppendModel(out, name, *model);
  }
  exchange.Respond(JsonResponse(out + "]}"));
}

void Api::Model(HttpExchange& exchange) const {
  const auto model = core_->model();
  if (model == nullptr) return exchange.Respond(ErrorResponse(NotReady(EngineState::kLoading)));
  const std::string id = ModelIdOfPath(exchange.head().path);
  for (const std::string& name : core_->options.served_model_names) {
    if (name != id) continue;
    std::string out;
    AppendModel(out, name, *model);
    return exchange.Respond(JsonResponse(std::move(out)));
  }
  exchange.Respond(ErrorResponse(404, "the model does not exist here", "model", "model_not_found"));
}

std::optional<Error> Api::Refuse(Route route) {
  const EngineState state = core_->gateway.state();
  const bool generates = route == Route::kCompletions || route == Route::kChat;
  const bool loaded = core_->model() != nullptr;
  if (loaded && (!generates || state == EngineState::kReady)) {
    if (generates && core_->admission.full()) return core_->admission.Refuse();
    return std::nullopt;
  }
  if (generates) core_->metrics.OnRefused(Refusal::kUnavailable);
  return NotReady(state == EngineState::kReady ? EngineState::kLoading : state);
}

// vLLM's field, and what a benchmark's table shows of a server.
void Api::Version(HttpExchange& exchange) const {
  std::string body = R"({"version":")" QUIRE_VERSION R"(")";
  if (const auto model = core_->model(); model != nullptr) {
    body += R"(,"device":)";
    AppendJsonString(body, model->info.device);
    body += R"(,"dtype":)";
    AppendJsonString(body, model->info.dtype);
    body += R"(,"weight_bytes":)" + std::to_string(model->info.weight_bytes);
  }
  exchange.Respond(JsonResponse(body + "}"));
}

void Api::Handle(std::shared_ptr<HttpExchange> exchange) {
  const TimePoint arrival = Now();
  const std::optional<Route> route = FindRoute(exchange->head().path);
  if (!route) return exchange->Respond(ErrorResponse(404, "unknown URL", "", "unknown_url"));
  switch (*route) {
    case Route::kHealth:
    case Route::kPing:
      return Health(*exchange);
    case Route::kVersion:
      return Version(*exchange);
    case Route::kLoad:
      return exchange->Respond(JsonResponse(R"({"server_load":)" +
                                            std::to_string(core_->admission.num_requests()) + "}"));
    case Route::kMetrics: {
      HttpResponse response;
      response.content_type = "text/plain; version=0.0.4; charset=utf-8";
      response.body = core_->metrics.Scrape(core_->gauges());
      return exchange->Respond(std::move(response));
    }
    case Route::kModels:
      return Models(*exchange);
    case Route::kModel:
      return Model(*exchange);
    case Route::kCompletions:
    case Route::kChat:
    case Route::kTokenize:
    case Route::kDetokenize:
      break;
  }
  if (auto error = Refuse(*route)) return exchange->Respond(ErrorResponse(*error));
  core_->pool.Post(
      [core = core_, exchange, route = *route, arrival] { Work(route, core, exchange, arrival); });
}

}  // namespace quire
