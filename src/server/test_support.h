// For the tests of this folder: a gateway without an engine, an exchange without a socket, a
// tokenizer of bytes.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/utf8.h"
#include "fleet/engine_gateway.h"
#include "server/api.h"
#include "server/http.h"
#include "text/tokenizer.h"

namespace quire::test {

// Owns the handlers of the requests that it was given; the test says what the engine reports.
class FakeGateway : public EngineGateway {
 public:
  Status Submit(Request request, OutputHandler on_output) override {
    const RequestId id = request.id;
    {
      const std::lock_guard lock(mutex_);
      if (state_ != EngineState::kReady)
        return Error{ErrorKind::kUnavailable, "the engine is away", "", "engine_restarting"};
      handlers_[id.value] = std::move(on_output);
      requests_.push_back(request);
    }
    changed_.notify_all();
    if (on_submit) on_submit(request);
    return {};
  }
  void Cancel(RequestId id) override {
    {
      const std::lock_guard lock(mutex_);
      if (handlers_.erase(id.value) > 0) cancelled_.push_back(id);
    }
    changed_.notify_all();
  }
  EngineState state() const override { return state_; }
  EngineInfo info() const override { return {}; }
  EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  void OnStats(StatsHandler handler) override { on_stats_ = std::move(handler); }

  void Report(const EngineStats& stats) {
    {
      const std::lock_guard lock(mutex_);
      stats_ = stats;
    }
    on_stats_(stats);
  }
  void SetState(EngineState state) { state_ = state; }
  void Emit(RequestOutput output) {
    OutputHandler handler;
    {
      const std::lock_guard lock(mutex_);
      const auto found = handlers_.find(output.id.value);
      if (found == handlers_.end()) return;
      handler = found->second;
      if (output.finish_reason != FinishReason::kNone) handlers_.erase(found);
    }
    handler(std::move(output));
  }
  // One token a report, the last with the reason.
  void EmitTokens(RequestId id, const std::vector<TokenId>& tokens,
                  FinishReason reason = FinishReason::kLength, TokenId stop_token = -1) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      RequestOutput output;
      output.id = id;
      output.output_index = static_cast<std::int32_t>(i);
      output.tokens = {tokens[i]};
      if (i + 1 == tokens.size()) {
        output.finish_reason = reason;
        output.stop_token = stop_token;
      }
      Emit(std::move(output));
    }
  }
  std::vector<Request> WaitForRequests(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return requests_.size() >= count; });
    return requests_;
  }
  std::vector<RequestId> WaitForCancels(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return cancelled_.size() >= count; });
    return cancelled_;
  }

  std::function<void(const Request&)> on_submit;  // on the submitting thread

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, OutputHandler> handlers_;
  std::vector<Request> requests_;
  std::vector<RequestId> cancelled_;
  EngineStats stats_;
  StatsHandler on_stats_;
  std::atomic<EngineState> state_{EngineState::kReady};
};

// Owns what was answered.
class FakeExchange : public HttpExchange {
 public:
  FakeExchange(std::string method, std::string path, std::string body,
               std::vector<HttpHeader> headers = {})
      : body_(std::move(body)) {
    head_.method = std::move(method);
    head_.path = std::move(path);
    head_.headers = std::move(headers);
  }
  const HttpHead& head() const override { return head_; }
  const std::string& body() const override { return body_; }
  const std::string& request_id() const override { return request_id_; }
  void Respond(HttpResponse response) override {
    const std::lock_guard lock(mutex_);
    if (closed_ || done_) return;
    response_ = std::move(response);
    End();
  }
  void StartStream(std::string) override {
    const std::lock_guard lock(mutex_);
    streaming_ = true;
  }
  void Write(std::string piece) override {
    const std::lock_guard lock(mutex_);
    if (!closed_ && !done_) stream_ += piece;
    changed_.notify_all();
  }
  void EndStream() override {
    const std::lock_guard lock(mutex_);
    End();
  }
  bool closed() const override { return closed_; }
  void OnClosed(std::function<void()> callback) override {
    {
      const std::lock_guard lock(mutex_);
      if (done_) return;
      if (!closed_) {
        on_closed_ = std::move(callback);
        return;
      }
    }
    callback();
  }

  void Close() {
    std::function<void()> callback;
    {
      const std::lock_guard lock(mutex_);
      if (done_ || closed_) return;
      closed_ = true;
      callback = std::move(on_closed_);
    }
    if (callback) callback();
  }
  bool Wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return done_; });
  }
  bool WaitForText(const std::string& text) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10),
                             [&] { return stream_.find(text) != std::string::npos; });
  }
  HttpResponse response() {
    const std::lock_guard lock(mutex_);
    return response_;
  }
  bool streamed() {
    const std::lock_guard lock(mutex_);
    return streaming_;
  }
  bool done() {
    const std::lock_guard lock(mutex_);
    return done_;
  }
  // The data of the stream's events; the last should be "[DONE]".
  std::vector<std::string> Events() {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> events;
    std::size_t at = 0;
    while (at < stream_.size()) {
      const std::size_t end = stream_.find("\n\n", at);
      if (end == std::string::npos || stream_.compare(at, 6, "data: ") != 0) {
        events.push_back("malformed");
        return events;
      }
      events.push_back(stream_.substr(at + 6, end - at - 6));
      at = end + 2;
    }
    return events;
  }

 private:
  void End() {
    done_ = true;
    on_closed_ = nullptr;
    changed_.notify_all();
  }

  HttpHead head_;
  std::string body_;
  std::string request_id_ = "req-1";
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> on_closed_;
  HttpResponse response_;
  std::string stream_;
  bool streaming_ = false;
  bool done_ = false;
  std::atomic<bool> closed_{false};
};

// A byte-level tokenizer without merges: token b is the byte b, 256 is <s>, 257 </s>. Null where it
// can not be loaded.
inline std::shared_ptr<const Tokenizer> ByteTokenizer() {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("quire-bytes-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  Json vocab = Json::object();
  char32_t next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool plain = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
                       (byte >= 0xAE && byte <= 0xFF);
    std::string spelled;
    AppendUtf8(spelled, plain ? static_cast<char32_t>(byte) : next++);
    vocab[spelled] = byte;
  }
  vocab["<s>"] = 256;
  vocab["</s>"] = 257;
  auto added = [](int id, const char* content) {
    return Json{{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", false},
                           {"use_regex", false}};
  const Json tokenizer = {
      {"version", "1.0"},
      {"added_tokens", Json::array({added(256, "<s>"), added(257, "</s>")})},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level},
      {"post_processor", nullptr},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"}, {"unk_token", nullptr}, {"vocab", vocab}, {"merges", Json::array()}}}};
  std::ofstream(folder / "tokenizer.json") << WriteJson(tokenizer);
  auto loaded = Tokenizer::Load(folder);
  std::filesystem::remove_all(folder);
  return loaded ? *loaded : nullptr;
}

inline ServedModel TestModel() {
  ServedModel model;
  model.info.vocab_size = 512;
  model.info.max_model_len = 256;
  model.info.block_size = 16;
  model.info.num_blocks = 64;
  model.info.max_num_seqs = 4;
  model.info.eos_token_ids = {257};
  model.created = 1'700'000'000;
  return model;
}

inline ServerOptions TestOptions() {
  ServerOptions options;
  options.served_model_names = {"m", "alias/m"};
  options.num_worker_threads = 2;
  options.disable_log_stats = true;
  return options;
}

// An Api on a fake gateway.
class TestServer {
 public:
  explicit TestServer(ServerOptions options = TestOptions(), ServedModel model = TestModel())
      : api(std::move(options), gateway) {
    api.SetModel(std::move(model));
  }
  std::shared_ptr<FakeExchange> Send(const std::string& path, const Json& body) {
    auto exchange = std::make_shared<FakeExchange>("POST", path, WriteJson(body));
    api.Handle(exchange);
    return exchange;
  }
  std::shared_ptr<FakeExchange> Get(const std::string& path) {
    auto exchange = std::make_shared<FakeExchange>("GET", path, "");
    api.Handle(exchange);
    return exchange;
  }
  // Sends, waits, and gives the JSON of a plain answer.
  Json Ask(const std::string& path, const Json& body) {
    auto exchange = Send(path, body);
    if (!exchange->Wait()) return nullptr;
    auto parsed = ParseJson(exchange->response().body);
    return parsed ? *parsed : Json();
  }
  // The engine answers each request at once with its prompt's tokens, in turn, up to max_tokens.
  void EchoPrompts() {
    gateway.on_submit = [this](const Request& request) {
      std::vector<TokenId> tokens;
      for (int i = 0; i < request.sampling.max_tokens; ++i)
        tokens.push_back(request.prompt[static_cast<std::size_t>(i) % request.prompt.size()]);
      gateway.EmitTokens(request.id, tokens);
    };
  }
  double Sample(const std::string& name_and_labels);

  FakeGateway gateway;
  Api api;
};

// The value of the one sample of /metrics whose line starts so (but for the labels model_name and
// engine).
inline double TestServer::Sample(const std::string& start) {
  auto exchange = Get("/metrics");
  const std::string text = exchange->response().body;
  double sum = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    if (line.rfind(start, 0) == 0) sum += std::stod(line.substr(line.rfind(' ') + 1));
    at = end + 1;
  }
  return sum;
}

inline Json CompletionBody(const Json& more = Json::object()) {
  Json body = {{"model", "m"}, {"prompt", {5, 6, 7}}, {"max_tokens", 8}, {"temperature", 0}};
  for (const auto& [key, value] : more.items()) body[key] = value;
  return body;
}

inline Json ChatBody(const Json& more = Json::object()) {
  Json body = {{"model", "m"},
               {"messages", Json::array({{{"role", "user"}, {"content", "Hi"}}})},
               {"max_tokens", 8},
               {"temperature", 0}};
  for (const auto& [key, value] : more.items()) body[key] = value;
  return body;
}

}  // namespace quire::test
