// What the operator chose for the front end (vLLM's flag names), and what it serves.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "sched/output.h"
#include "server/http.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace quire {

struct ServerOptions {
  HttpServerOptions http;
  std::vector<std::string>
      served_model_names;               // at least one; the first is the one that answers name
  std::vector<std::string> api_keys;    // empty: no key is asked for
  std::int32_t num_worker_threads = 0;  // parse, tokenize, write answers; 0: one a core, at least 2
  // Engine requests (n counts n times) that may wait beyond those that run; none: four times what
  // runs, at least 256.
  std::optional<std::int64_t> max_num_queued_reqs;
  std::int32_t max_logprobs = 20;  // −1: the whole vocabulary
  bool trust_request_chat_template = false;
  bool return_tokens_as_token_ids = false;
  bool enable_prompt_tokens_details = false;
  bool enable_force_include_usage = false;
  bool enable_auto_tool_choice = false;
  std::string tool_call_parser;
  std::string reasoning_parser;
  std::string response_role = "assistant";
  Json default_chat_template_kwargs;  // object or null
  bool disable_log_stats = false;
  std::chrono::milliseconds stats_interval{10'000};
};

// Sampling values of the model's generation_config.json, for requests that do not say.
struct DefaultSampling {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<std::int32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<std::int32_t> max_tokens;  // max_new_tokens
};

// The loaded model as the front end sees it. Immutable; shared by the requests that use it.
struct ServedModel {
  EngineInfo info;
  std::shared_ptr<const Tokenizer> tokenizer;         // null: --skip-tokenizer-init
  std::shared_ptr<const ChatTemplate> chat_template;  // null: the model has none
  DefaultSampling defaults;
  std::int64_t created = 0;         // Unix seconds
  std::size_t max_token_bytes = 0;  // of the longest token; set by ApiServer::SetModel

  // The longest prompt and answer together that the engine can hold.
  std::int64_t MaxTokens() const {
    const std::int64_t blocks = info.num_blocks * info.block_size;
    return blocks > 0 && blocks < info.max_model_len ? blocks : info.max_model_len;
  }
};

}  // namespace quire
