// JSON in (the variables of a template) and out (Hugging Face's tojson filter).
#pragma once

#include <string>

#include "base/json.h"
#include "text/jinja_value.h"

namespace quire::jinja {

// Ill-formed UTF-8 becomes U+FFFD. Throws where the document is nested too deeply or is too large.
Value FromJson(Heap& heap, const Json& json, int depth = 0);

struct JsonStyle {
  bool ascii_only = false;
  bool sort_keys = false;
  bool has_indent = false;
  std::string indent;  // one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// As Python's json.dumps().
std::string ToJson(Heap& heap, const Value& value, const JsonStyle& style);

}  // namespace quire::jinja
