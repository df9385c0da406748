// RunLoad: sends a workload to an OpenAI-compatible server and records what comes back and when.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "bench/load_profile.h"
#include "bench/request_record.h"
#include "bench/workload.h"
#include "net/http_message.h"
#include "net/url.h"

namespace quire {

// Where and how the requests go.
struct LoadTarget {
  Url base;
  std::string endpoint = "/v1/completions";
  bool chat = false;  // endpoint takes messages, not a prompt
  std::string model;
  std::vector<HttpHeader> headers;  // Authorization among them
  bool ignore_eos = false;
  double temperature = -1;  // < 0: not sent
  std::string extra_body;   // JSON object merged into each body; empty: none
  double timeout_s = 6 * 3600;
  bool keep_text = false;
  // The body's names of the length: max_tokens, for chat max_completion_tokens too.
};

// What the run looks like from outside while it goes on; read by the progress bar at any time.
struct RunProgress {
  std::atomic<std::int64_t> output_tokens{0};  // events with choices so far
  std::atomic<int> sent{0};
  std::atomic<int> finished{0};  // failed ones too
  std::atomic<int> failed{0};
};

struct LoadOutcome {
  std::vector<RequestRecord> records;  // of all requests that were sent, by planned time
  double duration_s = 0;               // from the first planned start to the last event
  bool interrupted = false;
};

struct LoadRun {
  LoadTarget target;
  LoadProfile profile;
  int num_threads = 0;  // 0: one for each two cores, at most 8
  RunProgress* progress = nullptr;
  const std::atomic<bool>* stop = nullptr;  // set: end now with what there is
};

// Sends each conversation's first turn at its time (its own arrival where the workload has them,
// the profile's otherwise) on the given number of event-loop threads, each turn on a kept-alive
// connection. Times are taken when the socket becomes readable, before anything is parsed. An error
// only where nothing could be started (name not found, bad extra_body); failed requests are
// records.
Result<LoadOutcome> RunLoad(const LoadRun& run, const BenchWorkload& workload);

}  // namespace quire
