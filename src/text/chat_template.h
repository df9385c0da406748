// ChatTemplate: a model's Jinja template, parsed once, rendered for each chat. Thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace quire {

struct ChatInput {
  Json messages;  // array of objects; validated by the caller
  Json tools;     // array or null
  bool add_generation_prompt = true;
  Json kwargs;  // object: further variables (enable_thinking, …) or null
  std::map<std::string, std::string> special_tokens;  // bos_token, eos_token, …: variables too
  std::optional<std::chrono::system_clock::time_point>
      now;  // what strftime_now shows; else the present
};

class ChatTemplate {
 public:
  // kModel error with line and cause where it cannot be parsed or uses something that does not
  // exist.
  static Result<std::shared_ptr<const ChatTemplate>> Parse(std::string_view source);
  ~ChatTemplate();

  // The prompt text. kInvalidRequest with param "messages" where the template raises (its words are
  // the message, at most 256 characters), or where it exceeds a budget: 10⁶ steps, 16 MiB of
  // output, 64 MiB of memory, depth 100, 200 ms of the thread's processor time.
  Result<std::string> Render(const ChatInput& input) const;

  // True where the template iterates over a message's content as a list of parts; else text parts
  // are joined by line ends before rendering, as vLLM does.
  bool takes_content_parts() const;

 private:
  class Impl;
  explicit ChatTemplate(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace quire
