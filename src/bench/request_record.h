// RequestRecord: what the client saw of one request. All times are seconds on the client's
// monotonic clock.
#pragma once

#include <string>
#include <vector>

namespace quire {

struct RequestRecord {
  int conversation = 0;
  int turn = 0;
  double planned_s = 0;  // when the load profile wanted it sent, from the run's start
  // The reference of all latencies: planned_s, or when a slot of --max-concurrency came free if
  // that was later. A generator that is late makes latencies longer, never shorter.
  double start_s = 0;
  double sent_s = 0;       // when its first byte was given to the socket
  double ttft_s = 0;       // first event with choices - start_s
  double latency_s = 0;    // last event with choices - start_s
  std::vector<float> itl;  // gaps between successive such events, seconds
  // How many tokens each event carried is not on the wire; events are what vLLM counts too.
  int input_tokens = 0;   // usage.prompt_tokens, or the dataset's count where the server says none
  int output_tokens = 0;  // usage.completion_tokens, or the number of events
  int cached_tokens = 0;  // usage.prompt_tokens_details.cached_tokens
  int status = 0;         // HTTP; 0 where there was no answer
  std::string error;      // empty: it succeeded
  std::string finish_reason;
  std::string text;  // the answer; kept for conversations and --save-detailed

  bool ok() const { return error.empty(); }
  // Mean gap of the tokens after the first; 0 where there is only one.
  double tpot_s() const {
    return output_tokens > 1 ? (latency_s - ttft_s) / (output_tokens - 1) : 0;
  }
};

}  // namespace quire
