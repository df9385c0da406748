#include "bench/load_request.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"
#include "net/http_client.h"

namespace quire {
namespace {

constexpr std::size_t kBytesAhead = std::size_t{256} << 20;

void AppendField(std::string& body, std::string_view name) {
  if (body.back() != '{') body.push_back(',');
  AppendJsonString(body, name);
  body.push_back(':');
}

void AppendMessage(std::string& body, std::string_view role, std::string_view content) {
  if (body.back() != '[') body.push_back(',');
  body.append("{\"role\":\"").append(role).append("\",\"content\":");
  AppendJsonString(body, content);
  body.push_back('}');
}

}  // namespace

Result<LoadRequestWriter> LoadRequestWriter::Make(const LoadTarget& target) {
  LoadRequestWriter writer;
  writer.target_ = target;
  Json extra = Json::object();
  if (!target.extra_body.empty()) {
    auto parsed = ParseJson(target.extra_body);
    if (!parsed) return ConfigFault("--extra-body: " + parsed.error().message);
    if (!parsed->is_object()) return ConfigFault("--extra-body: not a JSON object");
    extra = std::move(*parsed);
  }
  for (const auto& item : extra.items()) writer.extra_names_.push_back(item.key());
  if (writer.IsExtra("stream") && extra["stream"] != true) {
    return ConfigFault("--extra-body: 'stream' must be true, as tokens are timed when they come");
  }
  std::string body = "{";
  if (!target.model.empty() && !writer.IsExtra("model")) {
    AppendField(body, "model");
    AppendJsonString(body, target.model);
  }
  const auto add = [&](const char* name, std::string_view json) {
    if (writer.IsExtra(name)) return;
    AppendField(body, name);
    body.append(json);
  };
  add("stream", "true");
  add("stream_options", "{\"include_usage\":true}");
  if (target.temperature >= 0) add("temperature", WriteJson(Json(target.temperature)));
  if (target.ignore_eos) add("ignore_eos", "true");
  for (const auto& item : extra.items()) {
    AppendField(body, item.key());
    body.append(WriteJson(item.value()));
  }
  writer.tail_ = body.substr(1) + "}";
  return writer;
}

bool LoadRequestWriter::IsExtra(const std::string& name) const {
  return std::find(extra_names_.begin(), extra_names_.end(), name) != extra_names_.end();
}

std::string LoadRequestWriter::Write(const BenchConversation& conversation, int turn,
                                     const std::vector<std::string>& answers) const {
  std::string body = "{";
  const char* prompt_name = target_.chat ? "messages" : "prompt";
  if (!IsExtra(prompt_name)) {
    AppendField(body, prompt_name);
    if (target_.chat) {
      AppendMessages(body, conversation, turn, answers);
    } else {
      AppendPrompt(body, conversation, turn, answers);
    }
  }
  const int length = conversation.turns[static_cast<std::size_t>(turn)].output_tokens;
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    if (length <= 0 || IsExtra(name) || (name[4] == 'c' && !target_.chat)) continue;
    AppendField(body, name);
    body.append(std::to_string(length));
  }
  if (body.back() != '{') body.push_back(',');
  body.append(tail_);
  return WriteHttpRequest("POST", target_.base, target_.endpoint, target_.headers, body);
}

void LoadRequestWriter::AppendMessages(std::string& body, const BenchConversation& conversation,
                                       int turn, const std::vector<std::string>& answers) const {
  body.push_back('[');
  for (std::size_t i = 0; i <= static_cast<std::size_t>(turn); ++i) {
    AppendMessage(body, "user", conversation.turns[i].text);
    if (i < answers.size() && i < static_cast<std::size_t>(turn)) {
      AppendMessage(body, "assistant", answers[i]);
    }
  }
  body.push_back(']');
}

void LoadRequestWriter::AppendPrompt(std::string& body, const BenchConversation& conversation,
                                     int turn, const std::vector<std::string>& answers) const {
  const auto last = static_cast<std::size_t>(turn);
  if (conversation.turns[last].token_ids.empty()) {
    if (turn == 0) return AppendJsonString(body, conversation.turns[0].text);
    std::string text;
    for (std::size_t i = 0; i <= last; ++i) {
      text += conversation.turns[i].text;
      if (i < answers.size() && i < last) text += answers[i];
    }
    return AppendJsonString(body, text);
  }
  body.push_back('[');
  for (std::size_t i = 0; i <= last; ++i) {
    for (const TokenId id : conversation.turns[i].token_ids) {
      if (body.back() != '[') body.push_back(',');
      body.append(std::to_string(id));
    }
  }
  body.push_back(']');
}

LoadPreparer::LoadPreparer(const LoadRequestWriter& writer, const BenchWorkload& workload,
                           std::vector<int> order)
    : writer_(writer),
      workload_(workload),
      order_(std::move(order)),
      entries_(std::make_unique<Entry[]>(workload.conversations.size())) {}

bool LoadPreparer::Fill() {
  while (next_ < order_.size() && num_bytes_ < kBytesAhead) {
    const auto index = static_cast<std::size_t>(order_[next_++]);
    Entry& entry = entries_[index];
    unsigned char state = kNone;
    if (!entry.state.compare_exchange_strong(state, kMaking)) continue;
    entry.bytes = writer_.Write(workload_.conversations[index], 0, {});
    const std::size_t size = entry.bytes.size();
    num_bytes_ += size;
    state = kMaking;
    if (entry.state.compare_exchange_strong(state, kMade)) continue;
    num_bytes_ -= size;  // its time came, and whoever took it made it too
    entry.bytes = {};
  }
  return next_ < order_.size();
}

std::string LoadPreparer::Take(int conversation) {
  const auto index = static_cast<std::size_t>(conversation);
  Entry& entry = entries_[index];
  if (entry.state.exchange(kTaken) != kMade) {
    return writer_.Write(workload_.conversations[index], 0, {});
  }
  num_bytes_ -= entry.bytes.size();
  return std::move(entry.bytes);
}

}  // namespace quire
