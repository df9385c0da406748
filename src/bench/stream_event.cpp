#include "bench/stream_event.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace quire {
namespace {

constexpr std::size_t kErrorBytes = 300;

bool IsJsonBlank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Owns the place in the text.
class StreamEventScan {
 public:
  explicit StreamEventScan(std::string_view json) : json_(json) {}

  StreamEventLook Run() {
    SkipBlanks();
    bool whole = at_ < json_.size() && json_[at_] == '{';
    int depth = 0;
    while (whole && at_ < json_.size()) {
      const char c = json_[at_++];
      if (c == '"') {
        const std::size_t start = at_;
        whole = SkipString();
        if (whole && depth <= 3) OnString(json_.substr(start, at_ - start - 1), depth);
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if (c == '}' || c == ']') {
        if (--depth <= 0) break;
      }
    }
    whole = whole && depth == 0;
    SkipBlanks();
    return {whole && has_choices_, whole && has_choices_ && !special_ && at_ == json_.size()};
  }

 private:
  void SkipBlanks() {
    while (at_ < json_.size() && IsJsonBlank(json_[at_])) ++at_;
  }

  // Behind the opening quote; false where the string has no end.
  bool SkipString() {
    while (at_ < json_.size()) {
      const char c = json_[at_++];
      if (c == '"') return true;
      if (c == '\\') ++at_;
    }
    return false;
  }

  // Behind a string, which is a key where a colon follows.
  void OnString(std::string_view text, int depth) {
    const std::size_t place = at_;
    SkipBlanks();
    if (at_ == json_.size() || json_[at_] != ':') {
      at_ = place;
      return;
    }
    ++at_;
    SkipBlanks();
    const char first = at_ < json_.size() ? json_[at_] : '\0';
    if (depth == 1 && text == "choices" && first == '[') {
      const std::size_t bracket = at_++;
      SkipBlanks();
      has_choices_ = at_ < json_.size() && json_[at_] != ']';
      at_ = bracket;
    } else if ((depth == 1 && (text == "usage" || text == "error")) ||
               (depth == 3 && text == "finish_reason")) {
      special_ = special_ || first != 'n';
    }
  }

  std::string_view json_;
  std::size_t at_ = 0;
  bool has_choices_ = false;
  bool special_ = false;
};

const Json* Member(const Json& json, const char* name) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(name);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

std::string Text(const Json* json) {
  return json != nullptr && json->is_string() ? json->get<std::string>() : std::string();
}

int Count(const Json* json) {
  if (json == nullptr || !json->is_number_integer()) return 0;
  if (json->is_number_unsigned() &&
      json->get<std::uint64_t>() > std::uint64_t{std::numeric_limits<int>::max()}) {
    return std::numeric_limits<int>::max();
  }
  return static_cast<int>(std::max<std::int64_t>(0, json->get<std::int64_t>()));
}

std::string OneLine(std::string_view text) {
  std::size_t size = std::min(text.size(), kErrorBytes);
  if (size < text.size()) {
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0U) == 0x80U) --size;
  }
  std::string line(text.substr(0, size));
  for (char& c : line) {
    if ((c >= '\0' && c < ' ') || c == '\x7f') c = ' ';
  }
  if (size < text.size()) line += "...";
  return line;
}

// The sentence in {"error": {"message": …}}, {"error": …}, {"message": …} or {"detail": …}.
std::string ErrorSentence(const Json& json) {
  if (const Json* error = Member(json, "error")) {
    std::string message = Text(error);
    if (message.empty()) message = Text(Member(*error, "message"));
    return message.empty() ? WriteJson(*error) : message;
  }
  for (const char* name : {"message", "detail"}) {
    if (std::string message = Text(Member(json, name)); !message.empty()) return message;
  }
  return "";
}

}  // namespace

StreamEventLook LookAtStreamEvent(std::string_view json) { return StreamEventScan(json).Run(); }

Result<StreamEvent> ReadStreamEvent(std::string_view text) {
  auto json = ParseJson(text);
  if (!json) return json.error();
  if (!json->is_object()) return InvalidRequest("an event is not a JSON object", "");
  StreamEvent event;
  const Json* choices = Member(*json, "choices");
  event.has_choices = choices != nullptr && choices->is_array() && !choices->empty();
  if (event.has_choices) {
    const Json& choice = choices->front();
    event.finish_reason = Text(Member(choice, "finish_reason"));
    const Json* delta = Member(choice, "delta");
    event.text = delta != nullptr ? Text(Member(*delta, "content")) : Text(Member(choice, "text"));
  }
  const bool error_object = Text(Member(*json, "object")) == "error";
  if (Member(*json, "error") != nullptr || error_object) {
    event.error = OneLine(ErrorSentence(*json));
    if (event.error.empty()) event.error = "the server sent an error event";
  }
  if (const Json* usage = Member(*json, "usage")) {
    event.has_usage = usage->is_object();
    event.prompt_tokens = Count(Member(*usage, "prompt_tokens"));
    event.completion_tokens = Count(Member(*usage, "completion_tokens"));
    if (const Json* details = Member(*usage, "prompt_tokens_details")) {
      event.cached_tokens = Count(Member(*details, "cached_tokens"));
    }
  }
  return event;
}

std::string ErrorTextOf(std::string_view body) {
  if (const auto json = ParseJson(body)) {
    if (std::string sentence = ErrorSentence(*json); !sentence.empty()) return OneLine(sentence);
  }
  return OneLine(body);
}

}  // namespace quire
