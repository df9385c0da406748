#include "bench/startup_bench.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "bench/flag_texts.h"
#include "bench/page_cache.h"
#include "bench/printable.h"
#include "bench/server_facts.h"
#include "net/http_client.h"

namespace quire {
namespace {

constexpr std::chrono::milliseconds kPoll{5};
constexpr std::chrono::milliseconds kHealthTimeout{2000};
constexpr std::chrono::milliseconds kDying{500};
constexpr std::string_view kPortMark = "{port}";

Error Away(std::string message) {
  return Error{ErrorKind::kUnavailable, std::move(message), "", ""};
}

// True where a word had the mark.
bool ReplacePort(std::vector<std::string>& words, int port) {
  bool found = false;
  for (std::string& word : words) {
    for (std::size_t at = word.find(kPortMark); at != std::string::npos;
         at = word.find(kPortMark, at)) {
      word.replace(at, kPortMark.size(), std::to_string(port));
      found = true;
    }
  }
  return found;
}

struct Spread {
  double mean = 0, median = 0, low = 0, high = 0;
};

Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return {std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(n),
          (values[(n - 1) / 2] + values[n / 2]) / 2, values.front(), values.back()};
}

std::vector<double> HealthTimes(const std::vector<StartupTimes>& times) {
  std::vector<double> values;
  values.reserve(times.size());
  for (const StartupTimes& one : times) values.push_back(one.health_s);
  return values;
}

std::vector<double> FirstTokenTimes(const std::vector<StartupTimes>& times) {
  std::vector<double> values;
  values.reserve(times.size());
  for (const StartupTimes& one : times) values.push_back(one.first_token_s);
  return values;
}

double Mean(const std::vector<double>& values) { return SpreadOf(values).mean; }

}  // namespace

int FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool bound = ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  ::close(fd);
  return bound ? ntohs(address.sin_port) : 0;
}

StartupBench::StartupBench(StartupOptions options, std::function<void(const std::string& line)> say)
    : options_(std::move(options)), say_(std::move(say)) {}

void StartupBench::Interrupt() {
  stop_ = true;
  std::shared_ptr<ServerGroup> server;
  {
    const std::lock_guard lock(mutex_);
    server = current_;
  }
  if (server != nullptr) server->End();
}

Result<std::shared_ptr<ServerGroup>> StartupBench::Launch(std::vector<std::string> words) {
  const std::lock_guard lock(mutex_);
  if (stop_) return Away("interrupted");
  start_s_ = Seconds(Now().time_since_epoch());
  auto server = ServerGroup::Start(std::move(words));
  if (!server) return server.error();
  current_ = std::move(*server);
  return current_;
}

Status StartupBench::AwaitHealth(ServerGroup& server, const Url& base, double* health_s) {
  HttpClient client(base, {}, kHealthTimeout);
  while (true) {
    const auto reply = client.Get("/health");
    *health_s = Seconds(Now().time_since_epoch()) - start_s_;
    if (reply && reply->status == 200) return {};
    if (!server.Running())
      return stop_ ? Away("interrupted") : Away("the server " + server.Epitaph());
    if (*health_s > options_.timeout_s) {
      return Away(fmt::format("{}/health does not answer 200 within {:g} s", UrlText(base),
                              options_.timeout_s));
    }
    std::this_thread::sleep_for(kPoll);
  }
}

Status StartupBench::FirstToken(ServerGroup& server, const Url& base, double* first_token_s,
                                std::string* model) {
  const auto left = std::chrono::duration<double>(
      std::max(1.0, options_.timeout_s - (Seconds(Now().time_since_epoch()) - start_s_)));
  HttpClient client(base, options_.headers, std::chrono::ceil<std::chrono::milliseconds>(left));
  if (model->empty()) {
    auto models = AwaitModels(client, base, 0, &stop_);
    if (!models) return models.error();
    const auto chosen = ChooseModel(*models, "");
    if (!chosen) return chosen.error();
    *model = chosen->id;
  }
  const Json body = {{"model", *model}, {"prompt", "Hello"}, {"max_tokens", 1}, {"temperature", 0}};
  const auto reply = client.PostJson("/v1/completions", WriteJson(body));
  *first_token_s = Seconds(Now().time_since_epoch()) - start_s_;
  if (stop_) return Away("interrupted");
  if (!reply) {
    const TimePoint deadline = Now() + kDying;  // its end explains more than its silence
    while (server.Running() && Now() < deadline) std::this_thread::sleep_for(kPoll);
    return server.Running() ? reply.error() : Away("the server " + server.Epitaph());
  }
  if (reply->status != 200) {
    return Away(fmt::format("the completion of one token was answered {}: {}", reply->status,
                            PrintableText(reply->body, 300)));
  }
  return {};
}

Result<StartupTimes> StartupBench::StartOnce(std::string* model) {
  std::vector<std::string> words = options_.command;
  Url base = options_.base;
  const int port = FreePort();
  if (ReplacePort(words, port)) base.port = port;
  {
    HttpClient client(base, {}, kHealthTimeout);
    if (client.Get("/health"))
      return ConfigFault(fmt::format("{} has a server already", UrlText(base)));
  }
  auto server = Launch(std::move(words));
  if (!server) return server.error();
  StartupTimes times;
  Status status = AwaitHealth(**server, base, &times.health_s);
  if (status.ok()) status = FirstToken(**server, base, &times.first_token_s, model);
  (*server)->End();
  const std::lock_guard lock(mutex_);
  current_ = nullptr;
  if (!status.ok()) return status.error();
  return times;
}

Status StartupBench::Series(const char* name, bool cold, StartupResult& result,
                            std::vector<StartupTimes>& times) {
  for (int i = 0; i < options_.num_iters && !stop_; ++i) {
    if (cold)
      result.still_cached = std::max(result.still_cached, DropFromPageCache(options_.files));
    const auto one = StartOnce(&result.model);
    if (stop_) break;
    if (!one) return one.error();
    times.push_back(*one);
    say_(fmt::format("{} start {} of {}: total_startup_time {:.3f} s, first token after {:.3f} s",
                     name, i + 1, options_.num_iters, one->health_s, one->first_token_s));
  }
  return {};
}

Result<StartupResult> StartupBench::Measure() {
  StartupResult result;
  result.model = options_.model;
  result.command = CommandText(options_.command);
  const bool cold = options_.cold && !options_.files.empty();
  if (cold) {
    QUIRE_RETURN_IF_ERROR(Series("cold", true, result, result.cold));
  } else if (options_.warm) {
    say_("a first start, which is not counted");
    if (const auto first = StartOnce(&result.model); !first && !stop_) return first.error();
  }
  if (options_.warm) QUIRE_RETURN_IF_ERROR(Series("warm", false, result, result.warm));
  result.interrupted = stop_;
  return result;
}

Json ToJson(const StartupResult& result) {
  Json json = Json::object();
  Json ours = Json::object();
  ours["command"] = result.command;
  ours["model"] = result.model;
  ours["interrupted"] = result.interrupted;
  ours["still_cached"] = result.still_cached;
  for (const auto& [name, times] :
       {std::pair<std::string, const std::vector<StartupTimes>*>{"cold", &result.cold},
        {"warm", &result.warm}}) {
    if (times->empty()) continue;
    json["avg_" + name + "_startup_time"] = Mean(HealthTimes(*times));
    json[name + "_startup_times"] = HealthTimes(*times);
    ours["avg_" + name + "_first_token_time"] = Mean(FirstTokenTimes(*times));
    ours[name + "_first_token_times"] = FirstTokenTimes(*times);
  }
  json["quire"] = std::move(ours);
  return json;
}

std::string StartupTable(const StartupResult& result) {
  std::string out = fmt::format("{:=^66}\n", " Startup Benchmark Result ");
  out += fmt::format("{:<26}{:>9}{:>9}{:>9}{:>9}{:>4}\n", "seconds", "mean", "median", "min", "max",
                     "n");
  for (const auto& [name, times] :
       {std::pair<const char*, const std::vector<StartupTimes>*>{"cold", &result.cold},
        {"warm", &result.warm}}) {
    if (times->empty()) continue;
    for (const auto& [what, values] :
         {std::pair<const char*, std::vector<double>>{"total_startup_time", HealthTimes(*times)},
          {"first_token_time", FirstTokenTimes(*times)}}) {
      const Spread spread = SpreadOf(values);
      out += fmt::format("{:<26}{:>9.3f}{:>9.3f}{:>9.3f}{:>9.3f}{:>4}\n",
                         fmt::format("{} {}", name, what), spread.mean, spread.median, spread.low,
                         spread.high, times->size());
    }
  }
  return out + std::string(66, '=') + "\n";
}

}  // namespace quire
