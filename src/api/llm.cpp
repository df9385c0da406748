#include "quire/llm.h"

#include <fmt/core.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "base/exit_code.h"
#include "engine/load.h"
#include "text/chat_template.h"
#include "text/detokenizer.h"
#include "text/stop_strings.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

// One generation under way: what the engine's thread writes and the caller waits for.
class Call {
 public:
  Call(std::shared_ptr<const Tokenizer> tokenizer, const GenerateOptions& options)
      : on_text_(options.on_text),
        detokenizer_(std::move(tokenizer), /*skip_special_tokens=*/true),
        stops_(options.stop, /*include_in_output=*/false),
        start_(Now()) {}

  // On the engine's thread. True where the engine need not go on.
  bool Take(const RequestOutput& output) {
    if (done_) return false;
    if (result_.token_ids.empty()) result_.seconds_to_first_token = Seconds(Now() - start_);
    for (const TokenId token : output.tokens) {
      result_.token_ids.push_back(token);
      const bool last =
          output.finish_reason == FinishReason::kStop && &token == &output.tokens.back();
      if (!last) Show(stops_.Push(detokenizer_.Push(token)));
      if (stops_.matched() || stopped_by_caller_) {
        Finish(stops_.matched() ? "stop" : "abort", "");
        return output.finish_reason == FinishReason::kNone;
      }
    }
    if (output.finish_reason == FinishReason::kNone) return false;
    Show(stops_.Push(detokenizer_.Finish()));
    Show(stops_.Finish());
    static constexpr const char* kNames[] = {"", "stop", "length", "abort", "error"};
    Finish(kNames[static_cast<std::size_t>(output.finish_reason)], output.error);
    return false;
  }

  Generation Wait() {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return done_; });
    return std::move(result_);
  }

 private:
  void Show(const std::string& piece) {
    if (piece.empty() || stopped_by_caller_) return;
    result_.text += piece;
    if (on_text_ && !on_text_(piece)) stopped_by_caller_ = true;
  }

  void Finish(std::string reason, std::string error) {
    const std::lock_guard lock(mutex_);
    result_.finish_reason = std::move(reason);
    result_.error = std::move(error);
    result_.seconds = Seconds(Now() - start_);
    done_ = true;
    finished_.notify_all();
  }

  const std::function<bool(std::string_view)> on_text_;
  Detokenizer detokenizer_;
  StopStrings stops_;
  const TimePoint start_;
  bool stopped_by_caller_ = false;
  Generation result_;
  std::mutex mutex_;
  std::condition_variable finished_;
  bool done_ = false;  // written under the mutex, on the engine's thread alone
};

std::string BadOption(const GenerateOptions& options, std::size_t prompt, std::int32_t max_len) {
  if (!(options.temperature >= 0 && options.temperature <= 2)) return "temperature must be 0 … 2";
  if (!(options.top_p > 0 && options.top_p <= 1)) return "top_p must be above 0, at most 1";
  if (options.top_k < 0) return "top_k must be 0 (all) or more";
  if (!(options.min_p >= 0 && options.min_p <= 1)) return "min_p must be 0 … 1";
  if (!(options.repetition_penalty > 0 && options.repetition_penalty <= 100))
    return "repetition_penalty must be above 0, at most 100";
  for (const float penalty : {options.presence_penalty, options.frequency_penalty})
    if (!(penalty >= -2 && penalty <= 2)) return "presence and frequency penalties must be -2 … 2";
  if (prompt == 0) return "the prompt is empty";
  if (options.max_tokens < 1) return "max_tokens must be at least 1";
  if (prompt >= static_cast<std::size_t>(max_len))
    return fmt::format("the prompt has {} tokens, the model's context {}", prompt, max_len);
  return "";
}

}  // namespace

// Owns the engine and hands its reports to the calls that wait for them.
class Llm::Impl {
 public:
  Status Load(const LlmOptions& options) {
    auto folder = FindModel(options.model);
    if (!folder) return folder.error();
    auto tokenizer = Tokenizer::Load(*folder);
    if (!tokenizer) return tokenizer.error();
    tokenizer_ = *tokenizer;
    if (tokenizer_->chat_template()) {
      auto parsed = ChatTemplate::Parse(*tokenizer_->chat_template());
      if (!parsed) return parsed.error();
      chat_template_ = *parsed;
    }
    EngineConfig config;
    config.model_folder = *folder;
    config.device = options.device;
    config.instruction_set = options.cpu_isa;
    config.num_threads = options.num_threads;
    config.dtype = options.dtype;
    config.load_format = options.load_dummy_weights ? LoadFormat::kDummy : LoadFormat::kSafetensors;
    config.seed = options.seed;
    config.max_model_len = options.max_model_len;
    config.max_num_seqs = options.max_num_seqs;
    config.max_num_batched_tokens = options.max_num_batched_tokens;
    config.block_size = options.block_size;
    config.num_blocks_override = options.num_gpu_blocks_override;
    config.kv_cache_memory_bytes = options.kv_cache_memory_bytes;
    config.memory_utilization = options.gpu_memory_utilization;
    config.enable_prefix_caching = options.enable_prefix_caching;
    config.profile.num_steps = options.profile_steps;
    config.profile.first_step = options.profile_first;
    config.profile.file = options.profile_file;
    auto engine = LoadEngine(config, {}, [this](EngineReport report) { Take(report); });
    if (!engine) return engine.error();
    engine_ = std::move(engine).value();
    return {};
  }

  Generation Generate(const std::vector<TokenId>& prompt, const GenerateOptions& options);
  Generation Chat(const std::vector<ChatTurn>& turns, const GenerateOptions& options);

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const EngineInfo& info() const { return engine_->info(); }
  bool has_chat_template() const { return chat_template_ != nullptr; }

 private:
  void Take(const EngineReport& report) {
    for (const RequestOutput& output : report.outputs) {
      std::shared_ptr<Call> call;
      {
        const std::lock_guard lock(mutex_);
        const auto found = calls_.find(output.id);
        if (found == calls_.end()) continue;
        call = found->second;
        if (output.finish_reason != FinishReason::kNone) calls_.erase(found);
      }
      if (call->Take(output)) {
        engine_->Cancel(output.id);
        const std::lock_guard lock(mutex_);
        calls_.erase(output.id);
      }
    }
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const ChatTemplate> chat_template_;
  std::mutex mutex_;
  std::unordered_map<RequestId, std::shared_ptr<Call>> calls_;
  std::uint64_t next_id_ = 1;
  std::random_device random_;
  std::unique_ptr<Engine> engine_;  // last: its thread uses the calls
};

Generation Llm::Impl::Generate(const std::vector<TokenId>& prompt, const GenerateOptions& options) {
  Generation failed;
  failed.finish_reason = "error";
  failed.error = BadOption(options, prompt.size(), info().max_model_len);
  for (const TokenId id : prompt) {
    if (id < 0 || id >= info().vocab_size)
      failed.error = fmt::format("token id {} is outside of the vocabulary", id);
  }
  if (!failed.error.empty()) return failed;
  Request request;
  request.prompt = prompt;
  SamplingParams& sampling = request.sampling;
  sampling.temperature = options.temperature;
  sampling.top_p = options.top_p;
  sampling.top_k = options.top_k;
  sampling.min_p = options.min_p;
  sampling.repetition_penalty = options.repetition_penalty;
  sampling.presence_penalty = options.presence_penalty;
  sampling.frequency_penalty = options.frequency_penalty;
  sampling.max_tokens = std::min<std::int32_t>(
      options.max_tokens, info().max_model_len - static_cast<std::int32_t>(prompt.size()));
  sampling.ignore_eos = options.ignore_eos;
  auto call = std::make_shared<Call>(tokenizer_, options);
  {
    const std::lock_guard lock(mutex_);
    request.id = {next_id_++};
    sampling.seed = options.seed >= 0 ? static_cast<std::uint64_t>(options.seed)
                                      : (std::uint64_t{random_()} << 32) | random_();
    calls_.emplace(request.id, call);
  }
  engine_->Submit(std::move(request));
  Generation result = call->Wait();
  result.num_prompt_tokens = static_cast<std::int32_t>(prompt.size());
  return result;
}

Generation Llm::Impl::Chat(const std::vector<ChatTurn>& turns, const GenerateOptions& options) {
  Generation failed;
  failed.finish_reason = "error";
  if (chat_template_ == nullptr) {
    failed.error = "the model has no chat template";
    return failed;
  }
  ChatInput input;
  input.messages = Json::array();
  for (const ChatTurn& turn : turns)
    input.messages.push_back({{"role", turn.role}, {"content", turn.content}});
  input.special_tokens = tokenizer_->special_tokens();
  auto prompt = chat_template_->Render(input);
  if (!prompt) {
    failed.error = prompt.error().message;
    return failed;
  }
  return Generate(tokenizer_->Encode(*prompt, /*add_special_tokens=*/false), options);
}

LlmResult Llm::Load(const LlmOptions& options) {
  auto impl = std::make_unique<Impl>();
  if (const Status status = impl->Load(options); !status.ok())
    return {nullptr, status.error().message, ExitCodeOf(status.error().kind)};
  return {std::unique_ptr<Llm>(new Llm(std::move(impl))), "", 0};
}

Llm::Llm(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Llm::~Llm() = default;

Generation Llm::Generate(std::string_view prompt, const GenerateOptions& options) {
  return impl_->Generate(impl_->tokenizer().Encode(prompt, /*add_special_tokens=*/true), options);
}

Generation Llm::Generate(const std::vector<std::int32_t>& prompt, const GenerateOptions& options) {
  return impl_->Generate(prompt, options);
}

Generation Llm::Chat(const std::vector<ChatTurn>& turns, const GenerateOptions& options) {
  return impl_->Chat(turns, options);
}

bool Llm::has_chat_template() const { return impl_->has_chat_template(); }

std::int32_t Llm::max_model_len() const { return impl_->info().max_model_len; }

std::string Llm::Describe() const {
  const EngineInfo& info = impl_->info();
  return fmt::format("{}, {}, {}, KV cache of {} tokens", info.architecture, info.dtype,
                     info.device, info.num_blocks * info.block_size);
}

}  // namespace quire
