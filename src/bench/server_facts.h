// Who a server is, asked in small requests before it is measured.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bench/run_summary.h"
#include "net/http_client.h"

namespace quire {

// One entry of /v1/models.
struct ServerModel {
  std::string id;
  std::string root;  // where the server has it from; empty: it does not say
  std::string owned_by;
  std::int64_t max_model_len = 0;  // 0: it does not say
};

struct ServerFacts {
  std::string name;         // "Quire 0.1.0", "vLLM 0.23.0", "llama.cpp b6700", or what it said
  bool needs_gpu = false;   // it runs on GPUs where there are some
  bool has_gauges = false;  // /metrics has what ParseGauges knows
  std::string device;       // what it runs on, as it says itself
  std::string dtype;
  double weights_gb = 0;
  HostFacts lines;  // for people
};

// http://host:port/prefix, as errors and reports name it.
std::string UrlText(const Url& url);

// localhost or an address of this machine's own loop.
bool IsLoopback(const Url& url);

// The models of a /v1/models answer. Entries that are malformed are an error.
Result<std::vector<ServerModel>> ModelsFromText(std::string_view json);

// Asks for /v1/models until there is an answer with status 200 or the time is over; 0 s: once.
// 401, 403 and 404 (kNotFound) end it at once.
Result<std::vector<ServerModel>> AwaitModels(HttpClient& client, const Url& base, double timeout_s,
                                             const std::atomic<bool>* stop);

// Of `models` the one that is called `wanted`, the first where that is empty.
Result<ServerModel> ChooseModel(const std::vector<ServerModel>& models, const std::string& wanted);

// /version, /metrics and what else tells servers apart. Never fails: what is not said stays empty.
ServerFacts AskServer(HttpClient& client, const ServerModel& model);

}  // namespace quire
