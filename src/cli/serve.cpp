// quire serve: the front end, with an engine process behind it.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <future>
#include <memory>
#include <string>

#include <utility>

#include "base/log.h"
#include "base/time_slice.h"
#include "cli/commands.h"
#include "cli/engine_options.h"
#include "cli/served_model.h"
#include "cli/shutdown.h"
#include "fleet/process_gateway.h"
#include "server/api_server.h"

namespace quire {
namespace {

constexpr std::chrono::seconds kEngineGrace{3};
constexpr std::chrono::microseconds kFrontEndSlice{100};

struct Flags {
  EngineFlags engine;
  ServedModelFlags model;
  ServerOptions server;
  std::int64_t max_num_queued_reqs = -1;
  std::int32_t shutdown_timeout = 0;
  std::string default_chat_template_kwargs;
};

void AddServerFlags(CLI::App& app, Flags& flags) {
  const char* group = "Server";
  ServerOptions& server = flags.server;
  app.add_option("--host", server.http.host, "Address to listen on")
      ->group(group)
      ->capture_default_str();
  app.add_option("--port", server.http.port, "0: any free one")
      ->check(Between(0, 65535))
      ->group(group)
      ->capture_default_str();
  app.add_option("--served-model-name", server.served_model_names,
                 "Names that requests may use (default: as given)")
      ->group(group);
  app.add_option("--api-key", server.api_keys, "Keys, one of which every request must carry")
      ->envname("VLLM_API_KEY")
      ->group(group);
  app.add_option("--max-num-queued-reqs", flags.max_num_queued_reqs,
                 "Requests that may wait; more are refused with 429 (default: 4 x --max-num-seqs, "
                 "at least 1024)")
      ->transform(HumanNumber())
      ->check(Between(std::int64_t{0}, std::int64_t{1} << 30))
      ->group(group);
  app.add_option("--shutdown-timeout", flags.shutdown_timeout,
                 "Seconds that answers under way may take after SIGTERM")
      ->check(Between(0, 86400))
      ->group(group)
      ->capture_default_str();
  app.add_flag("--disable-log-stats", server.disable_log_stats, "No line of statistics every 10 s")
      ->group(group);
}

void AddApiFlags(CLI::App& app, Flags& flags) {
  const char* group = "API";
  ServerOptions& server = flags.server;
  app.add_flag("--skip-tokenizer-init", flags.model.skip_tokenizer_init,
               "Token ids in and out, no text")
      ->group(group);
  app.add_option("--tokenizer", flags.model.tokenizer, "Another folder's tokenizer")->group(group);
  app.add_option("--chat-template", flags.model.chat_template, "A file, or the template itself")
      ->group(group);
  app.add_option("--default-chat-template-kwargs", flags.default_chat_template_kwargs,
                 "JSON object of template variables")
      ->group(group);
  app.add_flag("--trust-request-chat-template", server.trust_request_chat_template,
               "Requests may bring a chat_template")
      ->group(group);
  app.add_option("--generation-config", flags.model.generation_config,
                 "auto: default sampling as the model's generation_config.json; vllm: neutral")
      ->check(CLI::IsMember({"auto", "vllm"}))
      ->group(group)
      ->capture_default_str();
  app.add_option("--response-role", server.response_role, "Role of answers")
      ->group(group)
      ->capture_default_str();
  app.add_option("--max-logprobs", server.max_logprobs,
                 "Most log-probabilities a request may ask for; -1: all")
      ->check(Between(-1, 1 << 20))
      ->group(group)
      ->capture_default_str();
  app.add_flag("--return-tokens-as-token-ids", server.return_tokens_as_token_ids,
               "token_id:N in log-probabilities")
      ->group(group);
  app.add_flag("--enable-prompt-tokens-details", server.enable_prompt_tokens_details,
               "cached_tokens in usage")
      ->group(group);
  app.add_flag("--enable-force-include-usage", server.enable_force_include_usage,
               "Usage in every stream")
      ->group(group);
  app.add_flag("--enable-auto-tool-choice", server.enable_auto_tool_choice,
               "Accepted; tools come later")
      ->group(group);
  app.add_option("--tool-call-parser", server.tool_call_parser, "Accepted; tools come later")
      ->group(group);
  app.add_option("--reasoning-parser", server.reasoning_parser, "Accepted; reasoning comes later")
      ->group(group);
}

std::string ServedName(const EngineFlags& flags) {
  return flags.model.empty() ? kBuiltInModelName : flags.model;
}

Status FinishServerFlags(Flags& flags) {
  if (flags.server.served_model_names.empty())
    flags.server.served_model_names = {ServedName(flags.engine)};
  for (const std::string& name : flags.server.served_model_names) {
    if (name.empty() || name.size() > 256)
      return ConfigFault("--served-model-name must have 1 to 256 bytes");
  }
  for (const std::string& key : flags.server.api_keys) {
    if (key.empty()) return ConfigFault("--api-key: a key is empty");
  }
  if (flags.max_num_queued_reqs >= 0) flags.server.max_num_queued_reqs = flags.max_num_queued_reqs;
  if (!flags.default_chat_template_kwargs.empty()) {
    auto kwargs = ParseJson(flags.default_chat_template_kwargs);
    if (!kwargs || !kwargs->is_object())
      return ConfigFault("--default-chat-template-kwargs must be a JSON object");
    flags.server.default_chat_template_kwargs = *kwargs;
  }
  return {};
}

// A bar on a terminal, nothing elsewhere.
void ShowProgress(const LoadProgress& progress) {
  constexpr std::uint64_t kWidth = 40;
  if (::isatty(STDERR_FILENO) == 0 || progress.total_bytes == 0) return;
  const std::uint64_t filled =
      std::min(kWidth, kWidth * progress.done_bytes / progress.total_bytes);
  std::string bar(kWidth, ' ');
  bar.replace(0, filled, filled, '#');
  std::fprintf(stderr, "\rloading weights [%s] %3llu %%%s", bar.c_str(),
               static_cast<unsigned long long>(100 * progress.done_bytes / progress.total_bytes),
               progress.done_bytes >= progress.total_bytes ? "\r\033[K" : "");
}

void PrintSummary(const Flags& flags, const EngineInfo& info, int port, double seconds) {
  const ServerOptions& server = flags.server;
  LogInfo("model   {} ({}, {}, {:.1f} MiB of weights)", server.served_model_names[0],
          info.architecture, info.dtype, static_cast<double>(info.weight_bytes) / 1048576.0);
  LogInfo("device  {}", info.device);
  LogInfo("cache   {} tokens in {} blocks, {:.1f} MiB; context {}, {} sequences, {} tokens a step",
          info.num_blocks * info.block_size, info.num_blocks,
          static_cast<double>(info.kv_cache_bytes) / 1048576.0, info.max_model_len,
          info.max_num_seqs, info.max_num_batched_tokens);
  const bool local = server.http.host == "127.0.0.1" || server.http.host == "::1" ||
                     server.http.host == "localhost";
  LogInfo("ready   http://{}:{} after {:.2f} s{}", server.http.host, port, seconds,
          local ? ", for this machine only (--host opens it)" : "");
  if (!local && server.api_keys.empty())
    LogWarning("anyone who reaches {} can use this server: --api-key asks for a key",
               server.http.host);
}

void CheckVocabulary(const ServedModel& model) {
  if (model.tokenizer != nullptr && model.tokenizer->vocab_size() > model.info.vocab_size) {
    LogWarning(
        "tokenizer.json has {} entries, but config.json's vocab_size is {}: prompts with ids "
        "beyond it are refused",
        model.tokenizer->vocab_size(), model.info.vocab_size);
  }
}

int RunServe(Flags& flags) {
  const TimePoint start = Now();
  ApplyLogLevel(flags.engine.log_level, "");
  if (const Status status = FinishEngineFlags(flags.engine); !status.ok())
    return Fail(status.error());
  if (const Status status = FinishServerFlags(flags); !status.ok()) return Fail(status.error());
  SetTimeSlice(kFrontEndSlice);  // before any thread, which inherits it
  ShutdownSignals signals;       // and the signal mask

  std::atomic<bool> loaded = false;  // until then WaitReady tells how it failed
  ProcessGatewayOptions options;
  options.argv = {"quire", "engine"};
  for (std::string& word : EngineArguments(flags.engine)) options.argv.push_back(std::move(word));
  options.on_state = [&](EngineState state) {
    if (state == EngineState::kFailed && loaded) signals.Raise(/*exit_code=*/1);
  };
  ProcessGateway gateway(std::move(options));
  auto server = ApiServer::Start(flags.server, gateway);
  if (!server) return Fail(server.error());
  signals.WhileLoading([&] { gateway.Stop(kEngineGrace); });
  auto model = std::async(std::launch::async, [&] {
    return LoadServedModel(flags.engine.config.model_folder, flags.model);
  });
  auto info = gateway.WaitReady(ShowProgress);
  auto served = model.get();
  signals.WhileLoading({});
  if (signals.raised()) return signals.exit_code();
  if (!info) return Fail(info.error());
  if (!served) return Fail(served.error());
  loaded = true;
  served->info = *info;
  CheckVocabulary(*served);
  (*server)->SetModel(std::move(*served));
  PrintSummary(flags, *info, (*server)->port(), Seconds(Now() - start));

  signals.Wait();
  LogInfo("stopping");
  (*server)->Stop(std::chrono::seconds(flags.shutdown_timeout));
  gateway.Stop(kEngineGrace);
  return signals.exit_code();
}

}  // namespace

Command AddServeCommand(CLI::App& program) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = program.add_subcommand("serve", "Serve a model with OpenAI's API");
  AddServerFlags(*command, *flags);
  AddApiFlags(*command, *flags);
  AddEngineFlags(*command, flags->engine);
  return [flags] { return RunServe(*flags); };
}

}  // namespace quire
