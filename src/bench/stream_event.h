// One event of a completion stream: a cheap look that most events get, and a full reading.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace quire {

struct StreamEventLook {
  bool has_choices = false;  // "choices" is an array that is not empty
  bool is_plain = false;     // with choices, and without usage, error or finish_reason
};

// One pass over brackets, strings and the keys near the top; what is not JSON is not plain.
StreamEventLook LookAtStreamEvent(std::string_view json);

struct StreamEvent {
  bool has_choices = false;
  std::string text;           // of the first choice
  std::string finish_reason;  // empty: none yet
  std::string error;          // what the server says went wrong
  bool has_usage = false;
  int prompt_tokens = 0;
  int completion_tokens = 0;
  int cached_tokens = 0;
};

// An error where it is not a JSON object.
Result<StreamEvent> ReadStreamEvent(std::string_view json);

// What an answer that is not 200 says: OpenAI's error.message, FastAPI's detail, or its text; one
// line of at most 300 bytes.
std::string ErrorTextOf(std::string_view body);

}  // namespace quire
