#include "bench/server_facts.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/json.h"
#include "bench/metrics_scrape.h"
#include "bench/printable.h"

namespace quire {
namespace {

constexpr std::chrono::milliseconds kRetry{200};
constexpr std::size_t kMostModels = 10000;

std::string TextField(const Json& object, const char* name, std::size_t max_chars = 200) {
  const auto at = object.find(name);
  if (at == object.end() || !at->is_string()) return "";
  return PrintableText(at->get_ref<const std::string&>(), max_chars);
}

std::optional<Json> AskJson(HttpClient& client, std::string_view path) {
  const auto reply = client.Get(path);
  if (!reply || reply->status != 200) return std::nullopt;
  auto json = ParseJson(reply->body);
  if (!json || !json->is_object()) return std::nullopt;
  return std::move(*json);
}

std::string ServerHeader(const HttpReply& reply) {
  for (const HttpHeader& header : reply.headers) {
    if (EqualsIgnoringCase(header.name, "Server")) return PrintableText(header.value);
  }
  return "";
}

std::string WithVersion(const std::string& name, const std::string& version) {
  return version.empty() ? name : name + " " + version;
}

bool StartsWith(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// Whose metrics these are, by the prefix of their names.
std::string_view MetricsOwner(std::string_view text) {
  for (const auto& [mark, owner] :
       {std::pair<std::string_view, std::string_view>{"\nquire:", "quire"},
        {"\nsglang:", "sglang"},
        {"\nvllm:", "vllm"},
        {"\nllamacpp:", "llamacpp"}}) {
    if (text.find(mark) != std::string_view::npos || StartsWith(text, mark.substr(1))) return owner;
  }
  return "";
}

}  // namespace

std::string UrlText(const Url& url) { return "http://" + url.Authority() + url.path; }

bool IsLoopback(const Url& url) {
  if (url.host == "localhost" || url.host == "::1") return true;
  return StartsWith(url.host, "127.") &&
         url.host.find_first_not_of("0123456789.") == std::string::npos;
}

Result<std::vector<ServerModel>> ModelsFromText(std::string_view text) {
  const auto fault = [](const char* why) {
    return Error{ErrorKind::kUnavailable, fmt::format("/v1/models: {}", why), "", ""};
  };
  const auto json = ParseJson(text);
  if (!json || !json->is_object()) return fault("the answer is no JSON object");
  const auto data = json->find("data");
  if (data == json->end() || !data->is_array()) return fault("the answer has no list 'data'");
  std::vector<ServerModel> models;
  for (const Json& entry : *data) {
    if (models.size() == kMostModels) break;
    const auto id = entry.is_object() ? entry.find("id") : entry.end();
    if (!entry.is_object() || id == entry.end() || !id->is_string())
      return fault("a model of the answer has no 'id'");
    ServerModel model;
    model.id = id->get_ref<const std::string&>();  // requests must name it as it is
    model.root = TextField(entry, "root", 4096);
    model.owned_by = TextField(entry, "owned_by");
    const auto length = entry.find("max_model_len");
    if (length != entry.end() && length->is_number_integer())
      model.max_model_len = std::max<std::int64_t>(0, length->get<std::int64_t>());
    models.push_back(std::move(model));
  }
  return models;
}

Result<std::vector<ServerModel>> AwaitModels(HttpClient& client, const Url& base, double timeout_s,
                                             const std::atomic<bool>* stop) {
  const TimePoint start = Now();
  while (true) {
    const auto reply = client.Get("/v1/models");
    std::string why;
    if (!reply) {
      why = reply.error().message;
    } else if (reply->status == 200) {
      return ModelsFromText(reply->body);
    } else {
      why = fmt::format("{}/v1/models answers {}", UrlText(base), reply->status);
      if (reply->status == 404) return Error{ErrorKind::kNotFound, why, "", ""};
      if (reply->status == 401 || reply->status == 403) {
        return Error{ErrorKind::kUnavailable, why + ": --api-key gives the key it wants", "", ""};
      }
    }
    if (Seconds(Now() - start) >= timeout_s || (stop != nullptr && *stop))
      return Error{ErrorKind::kUnavailable, why, "", ""};
    std::this_thread::sleep_for(kRetry);
  }
}

Result<ServerModel> ChooseModel(const std::vector<ServerModel>& models, const std::string& wanted) {
  if (models.empty() && wanted.empty()) {
    return Error{ErrorKind::kUnavailable, "/v1/models lists no model: --model names one", "", ""};
  }
  if (wanted.empty()) return models.front();
  std::string names;
  for (const ServerModel& model : models) {
    if (model.id == wanted) return model;
    if (names.size() < 200) names += (names.empty() ? "" : ", ") + PrintableText(model.id);
  }
  return ConfigFault(fmt::format("--model: the server has no '{}'; it has {}",
                                 PrintableText(wanted), names.empty() ? "none" : names));
}

ServerFacts AskServer(HttpClient& client, const ServerModel& model) {
  ServerFacts facts;
  std::string header;
  std::string version;
  std::string owner = model.owned_by;
  if (const auto reply = client.Get("/version"); reply) {
    header = ServerHeader(*reply);
    if (const auto json = ParseJson(reply->body);
        reply->status == 200 && json && json->is_object()) {
      version = TextField(*json, "version", 60);
      facts.device = TextField(*json, "device", 100);
      facts.dtype = TextField(*json, "dtype", 40);
      const auto bytes = json->find("weight_bytes");
      if (bytes != json->end() && bytes->is_number())
        facts.weights_gb = 1e-9 * bytes->get<double>();
    }
  }
  if (const auto reply = client.Get("/metrics"); reply && reply->status == 200) {
    facts.has_gauges = ParseGauges(reply->body).any();
    const std::string_view by_metrics = MetricsOwner(reply->body);
    if (!by_metrics.empty()) owner = by_metrics;
  }
  facts.needs_gpu = owner == "vllm" || owner == "sglang";
  if (owner == "quire") {
    facts.name = WithVersion("Quire", version);
  } else if (owner == "sglang") {
    if (const auto info = AskJson(client, "/get_server_info"))
      version = TextField(*info, "version", 60);
    facts.name = WithVersion("SGLang", version);
  } else if (owner == "vllm") {
    facts.name = WithVersion("vLLM", version);
  } else if (owner == "llamacpp" || header == "llama.cpp") {
    if (const auto props = AskJson(client, "/props")) version = TextField(*props, "build_info", 60);
    facts.name = WithVersion("llama.cpp", version);
  } else if (header != "uvicorn") {  // which names the library, not the server
    facts.name = WithVersion(header, version);
  }
  if (!facts.name.empty()) facts.lines.emplace_back("Server", facts.name);
  facts.lines.emplace_back("Model", PrintableText(model.id));
  if (!facts.device.empty()) facts.lines.emplace_back("Device", facts.device);
  if (model.max_model_len > 0)
    facts.lines.emplace_back("Context (tokens)", std::to_string(model.max_model_len));
  return facts;
}

}  // namespace quire
