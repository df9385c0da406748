// MeasureStartup: how long a server takes from its start to its first token.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "bench/server_group.h"
#include "net/http_message.h"
#include "net/url.h"

namespace quire {

struct StartupOptions {
  std::vector<std::string> command;  // program first; "{port}" is a free port, another each time
  Url base;                          // where it will listen; with "{port}" the port is replaced
  std::vector<HttpHeader> headers;
  std::string model;                         // empty: the first of /v1/models
  std::vector<std::filesystem::path> files;  // out of the page cache before a cold start
  bool cold = true;
  bool warm = true;
  int num_iters = 3;
  double timeout_s = 600;  // of one start
};

// Seconds from just before the program was executed.
struct StartupTimes {
  double health_s = 0;       // GET /health answered 200
  double first_token_s = 0;  // a completion of one token was there
};

struct StartupResult {
  std::string command;  // as a shell takes it, without secrets
  std::string model;
  std::vector<StartupTimes> cold;
  std::vector<StartupTimes> warm;
  double still_cached = 0;  // of the files' pages before cold starts, the largest share
  bool interrupted = false;
};

// Owns the server that is being started.
class StartupBench {
 public:
  StartupBench(StartupOptions options, std::function<void(const std::string& line)> say);

  // Starts that failed are an error, unless it was interrupted.
  Result<StartupResult> Measure();

  // Ends the run and the server; returns when the server is gone. From another thread, once.
  void Interrupt();

 private:
  Result<StartupTimes> StartOnce(std::string* model);
  Status Series(const char* name, bool cold, StartupResult& result,
                std::vector<StartupTimes>& times);
  Result<std::shared_ptr<ServerGroup>> Launch(std::vector<std::string> words);
  Status AwaitHealth(ServerGroup& server, const Url& base, double* health_s);
  Status FirstToken(ServerGroup& server, const Url& base, double* first_token_s,
                    std::string* model);

  StartupOptions options_;
  std::function<void(const std::string& line)> say_;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::shared_ptr<ServerGroup> current_;  // guarded by mutex_
  double start_s_ = 0;
};

// vLLM's names where it has them (avg_cold_startup_time, cold_startup_times, …), the rest under
// "quire".
Json ToJson(const StartupResult& result);
std::string StartupTable(const StartupResult& result);

// A port of this host's loop that is free now; 0: there is none.
int FreePort();

}  // namespace quire
